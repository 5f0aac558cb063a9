"""Execution of a plan's cells: the one place through which every front end runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consilience.isolation.job import Progress
    from consilience.records.record import Record
    from consilience.scoring.scorer import Cell, Runner

#: Makes the progress callback of a cell (items done, items in all); None shows nothing.
CellProgress = Callable[["Cell"], "Progress | None"]


def run_cells(
    cells: Iterable[Cell],
    runner: Runner,
    *,
    jobs: int = 1,
    progress: CellProgress | None = None,
    done: Callable[[Cell, Record], None] | None = None,
) -> list[Record]:
    """Run cells and return their records, in the order of the cells.

    Parameters
    ----------
    cells
        Cells of a plan.
    runner
        Embeds and scores a cell.
    jobs
        Cells to embed at the same time. Cells run one after another for now, whatever it says.
    progress
        Makes the progress callback of a cell.
    done
        Called with each cell and its record as soon as there is one.
    """
    records = []
    for cell in cells:
        record = runner.run(cell, progress(cell) if progress is not None else None)
        records.append(record)
        if done is not None:
            done(cell, record)
    return records
