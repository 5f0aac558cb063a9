"""Writing a board: Markdown and JSON from one function."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from consilience.callbacks import Tell
from consilience.files import write_atomically
from consilience.records.board import Board
from consilience.records.migrations import as_version, read_record
from consilience.records.pairs import AllPairs
from consilience.records.record import Record
from consilience.records.schema import to_json
from consilience.records.spec import Spec, read_spec
from consilience.scoring.gain import is_own_twin
from consilience.scoring.provenance import embedding_key

from .board import build_board, check_belongs, read_records, record_path
from .groups import has_stale, read_pairs, write_pairs
from .lock import Publication, publication
from .markdown import render
from .remarks import read_remarks
from .tolerance import is_unchanged, same_content

#: Scores all pairs of the targets of some records of a data set.
AllPairsOf = Callable[[str, Iterable[Record]], AllPairs]


def publish(
    folder: Path,
    records: Iterable[Record] = (),
    *,
    expected: Iterable[str] = (),
    all_pairs: AllPairsOf | None = None,
    tell: Tell = lambda line: None,
) -> Board:
    """Add records to a board's folder and rebuild ``leaderboard.json`` and ``leaderboard.md`` from all of them.

    A record, a pair or a page whose figures are the same, measured in the same way from the same embeddings, stays as
    it is, byte for byte: publishing again without a change of score changes no file. One publication at a time writes
    to a board. The next one makes anew what a stopped one left unfinished.

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
        Scores all pairs of a data set's targets, given by their records (`Runner.all_pairs`), for the data sets of the
        records. Without it the published pairs stay, but for those of another embedding than a record states.
    tell
        Called with a line for people where another publication has to be waited for.

    Returns
    -------
    Board
        What was written.
    """
    with publication(folder, tell=tell) as own:
        return publish_within(own, records, expected=expected, all_pairs=all_pairs)


def publish_within(
    own: Publication,
    records: Iterable[Record] = (),
    *,
    expected: Iterable[str] = (),
    all_pairs: AllPairsOf | None = None,
) -> Board:
    """Do what :func:`publish` does, by a caller that has the board's lock."""
    folder = own.folder
    spec = read_spec(folder / "spec.toml")
    remarks = read_remarks(folder, spec)
    records, results = list(records), folder / "results"
    for record in records:
        if any(entry.name == record.dataset for entry in spec.datasets):
            check_belongs(spec, record)  # before anything is written
    renewed: dict[str, set[str]] = {record.dataset: set() for record in records}
    for record in records:
        renewed[record.dataset] |= {record.target} if _is_another(record_path(results, record), record) else set()
    own.mark(renewed)
    for record in records:
        path = record_path(results, record)
        if not _is_published(path, record, spec.schema_version):
            write_atomically(path, to_json(as_version(record, spec.schema_version)))
    scored_records = read_records(results)
    _renew_pairs(own, spec, scored_records, all_pairs)
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
    own.finish()
    return board


def _renew_pairs(own: Publication, spec: Spec, records: Iterable[Record], all_pairs: AllPairsOf | None) -> None:
    """Score the pairs of the data sets that changed; those of another embedding than the record's go in any case."""
    scored: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in records:
        if record.state == "ok" and not is_own_twin(record.target):
            scored[record.dataset][record.target] = record
    for entry in spec.datasets:
        of_dataset = scored[entry.name]
        keys = {name: embedding_key(record) for name, record in of_dataset.items()}
        stale = own.stale.get(entry.name, set())
        stale = set(of_dataset) if "*" in stale else stale
        changed = entry.name in own.stale or (spec.schema_version > 1 and has_stale(own.folder, entry.name, keys))
        if changed and all_pairs is not None:
            write_pairs(own.folder, all_pairs(entry.name, of_dataset.values()), set(of_dataset), stale, keys)
        elif changed and (old := read_pairs(own.folder, entry.name)) is not None:
            none = old.model_copy(update={"pairs": []})
            write_pairs(own.folder, none, set(of_dataset), stale, keys)


def lacking_pairs(folder: Path, unpaired: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Targets whose embedding was not found and that lack a pair with any other scored target of the board.

    Parameters
    ----------
    folder
        The board's folder.
    unpaired
        Targets whose embedding was not found when the pairs were scored, by data set (`Scorer.unpaired`).

    Returns
    -------
    dict
        Names by data set. The others among them have all their pairs from earlier publications.
    """
    lacking: dict[str, list[str]] = {}
    for dataset, names in unpaired.items():
        published = read_pairs(folder, dataset)
        partners: dict[str, set[str]] = defaultdict(set)
        for pair in [] if published is None else published.pairs:
            partners[pair.first].add(pair.second)
            partners[pair.second].add(pair.first)
        paths = (folder / "results" / dataset).glob("*.json")
        scored = {record.target for record in map(read_record, paths) if record.state == "ok"}
        # Of what is found, all that can be paired is paired with something; what is not has no pair at all.
        paired = {name for name in scored if partners[name] or name in names}
        without = [name for name in names if paired - {name} - partners[name]]
        lacking |= {dataset: without} if without else {}
    return lacking


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
    records = read_records(folder / "results") if records is None else list(records)
    board = build_board(spec, records, expected=expected, pairs=pairs)
    return board if spec.schema_version == 1 else board.model_copy(update={"records_sha256": _digest(spec, records)})


def _digest(spec: Spec, records: Iterable[Record]) -> str:
    """SHA-256 over records as they are published: a page that states another was built from others."""
    digest = hashlib.sha256()
    for record in sorted(records, key=lambda one: (one.dataset, one.target)):
        digest.update(to_json(as_version(record, spec.schema_version)).encode())
    return digest.hexdigest()
