"""Writing a board: Markdown and JSON, from one function, so that they can't disagree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from consilience.embedding.shards import write_atomically
from consilience.results import Board, Record, to_json
from consilience.spec import read_spec

from .board import build_board, read_records, record_path
from .markdown import render


def publish(folder: Path, records: Iterable[Record] = (), *, expected: Iterable[str] = ()) -> Board:
    """Add records to a board's folder and rebuild ``leaderboard.json`` and ``leaderboard.md`` from all of them.

    Parameters
    ----------
    folder
        Holds ``spec.toml`` and ``results/<dataset>/<target>.json``.
    records
        Records to add or replace.
    expected
        Targets that have to show even without a record.

    Returns
    -------
    Board
        What was written.
    """
    spec = read_spec(folder / "spec.toml")
    results = folder / "results"
    for record in records:
        write_atomically(record_path(results, record), to_json(record))
    board = build_board(spec, read_records(results), expected=expected)
    write_atomically(folder / "leaderboard.json", to_json(board))
    write_atomically(folder / "leaderboard.md", render(board))
    return board
