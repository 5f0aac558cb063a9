"""Running the cells of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consilience.records.record import Record
from consilience.scoring.scorer import Cell

from .runner import Runner


def run_all(
    runner: Runner, cells: Iterable[Cell], *, done: Callable[[Cell, Record], None] | None = None
) -> list[Record]:
    """Run cells one after another; `done` is called with each record as it comes."""
    records = []
    for cell in cells:
        record = runner.run(cell)
        records.append(record)
        if done is not None:
            done(cell, record)
    return records
