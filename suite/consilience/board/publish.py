"""Writing a board: Markdown and JSON, from one function, so that they can't disagree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from consilience.files import write_atomically
from consilience.records.board import Board
from consilience.records.migrations import read_record
from consilience.records.pairs import AllPairs
from consilience.records.record import Record, to_json
from consilience.records.spec import read_spec

from .board import build_board, read_records, record_path
from .groups import read_pairs, write_pairs
from .markdown import render
from .remarks import read_remarks


def publish(
    folder: Path,
    records: Iterable[Record] = (),
    *,
    expected: Iterable[str] = (),
    all_pairs: Callable[[str, Iterable[str]], AllPairs] | None = None,
) -> Board:
    """Add records to a board's folder and rebuild ``leaderboard.json`` and ``leaderboard.md`` from all of them.

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
    remarks = read_remarks(folder, read_spec(folder / "spec.toml"))
    results = folder / "results"
    renewed: dict[str, set[str]] = defaultdict(set)
    for record in records:
        path = record_path(results, record)
        renewed[record.dataset] |= {record.target} if _is_another(path, record) else set()
        write_atomically(path, to_json(record))
    if all_pairs is not None and renewed:
        scored: dict[str, list[str]] = defaultdict(list)
        for record in read_records(results):
            if record.state == "ok":
                scored[record.dataset].append(record.target)
        for dataset, targets in sorted(renewed.items()):
            write_pairs(folder, all_pairs(dataset, scored[dataset]), set(scored[dataset]), targets)
    board = read_board(folder, expected=expected)
    write_atomically(folder / "leaderboard.json", to_json(board))
    write_atomically(folder / "leaderboard.md", render(board, remarks))
    return board


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


def read_board(folder: Path, *, expected: Iterable[str] = ()) -> Board:
    """Build the board of a folder from its spec, records and pairs; nothing is written."""
    spec = read_spec(folder / "spec.toml")
    pairs = {entry.name: found.pairs for entry in spec.datasets if (found := read_pairs(folder, entry.name))}
    return build_board(spec, read_records(folder / "results"), expected=expected, pairs=pairs)
