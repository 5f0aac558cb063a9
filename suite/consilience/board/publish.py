"""Writing a board: Markdown and JSON from one function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from consilience.files import write_atomically
from consilience.records.board import Board
from consilience.records.migrations import as_version, read_record
from consilience.records.pairs import AllPairs
from consilience.records.record import Record
from consilience.records.schema import to_json
from consilience.records.spec import read_spec

from .board import build_board, check_belongs, read_records, record_path
from .groups import read_pairs, write_pairs
from .markdown import render
from .remarks import read_remarks
from .tolerance import is_unchanged, same_content


def publish(
    folder: Path,
    records: Iterable[Record] = (),
    *,
    expected: Iterable[str] = (),
    all_pairs: Callable[[str, Iterable[str]], AllPairs] | None = None,
) -> Board:
    """Add records to a board's folder and rebuild ``leaderboard.json`` and ``leaderboard.md`` from all of them.

    A record, a pair or a page whose figures are the same, measured in the same way from the same embeddings, stays as
    it is, byte for byte: publishing again without a change of score changes no file.

    Parameters
    ----------
    folder
        Holds ``spec.toml``, ``results/<dataset>/<target>.json``, ``pairs/<dataset>.json`` and, if there are any,
        ``remarks.md``.
    records
        Records to add or replace.
    expected
        Targets that have to show even without a record.
    all_pairs
        Scores all pairs of a data set's targets (`Runner.all_pairs`), for the data sets of the records; without it
        the published pairs stay.

    Returns
    -------
    Board
        What was written.
    """
    spec = read_spec(folder / "spec.toml")
    remarks = read_remarks(folder, spec)
    records, results = list(records), folder / "results"
    for record in records:
        if any(entry.name == record.dataset for entry in spec.datasets):
            check_belongs(spec, record)  # before anything is written
    renewed: dict[str, set[str]] = defaultdict(set)
    for record in records:
        path = record_path(results, record)
        renewed[record.dataset] |= {record.target} if _is_another(path, record) else set()
        if not _is_published(path, record, spec.schema_version):
            write_atomically(path, to_json(as_version(record, spec.schema_version)))
    if all_pairs is not None and renewed:
        scored: dict[str, list[str]] = defaultdict(list)
        for record in read_records(results):
            if record.state == "ok":
                scored[record.dataset].append(record.target)
        for dataset, targets in sorted(renewed.items()):
            write_pairs(folder, all_pairs(dataset, scored[dataset]), set(scored[dataset]), targets)
    scored_records = read_records(results)
    board = read_board(folder, expected=expected, records=scored_records)
    path = folder / "leaderboard.json"
    published = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    if same_content(published, to_json(board)):
        board = Board.model_validate_json(published)  # the page is made of the figures that stay
    else:
        write_atomically(path, to_json(board))
    page, path = render(board, remarks, scored_records), folder / "leaderboard.md"
    if not path.is_file() or path.read_text("utf-8", errors="replace") != page:
        write_atomically(path, page)
    return board


def _is_published(path: Path, record: Record, version: int) -> bool:
    """Whether a record stands there already, with the same figures: it stays as it is, byte for byte."""
    if not path.is_file():
        return False
    try:
        return is_unchanged(read_record(path), record, version)
    except ValueError:  # damaged
        return False


def _is_another(path: Path, record: Record) -> bool:
    """Whether a record is of another embedding than the one that it replaces: other weights, code or items."""
    if not path.is_file():
        return False
    try:
        old = read_record(path)
    except ValueError:  # damaged: nothing is known of what it was
        return True
    keys = [one.provenance and one.provenance.embedding.get("identity") for one in (old, record)]
    return keys[0] != keys[1]


def read_board(folder: Path, *, expected: Iterable[str] = (), records: Iterable[Record] | None = None) -> Board:
    """Build the board of a folder from its spec, pairs and records (read unless they are given); write nothing."""
    spec = read_spec(folder / "spec.toml")
    pairs = {entry.name: found.pairs for entry in spec.datasets if (found := read_pairs(folder, entry.name))}
    records = read_records(folder / "results") if records is None else records
    return build_board(spec, records, expected=expected, pairs=pairs)
