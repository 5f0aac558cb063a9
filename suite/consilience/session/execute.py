"""Execution of a plan's cells: the one place through which every front end runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consilience.callbacks import Progress
    from consilience.records.record import Record
    from consilience.scoring.cell import Cell

    from .runner import Runner

#: Makes the progress callback of a cell (items done, items in all); None shows nothing.
CellProgress = Callable[["Cell"], "Progress | None"]


def embed_cells(
    cells: Iterable[Cell],
    runner: Runner,
    *,
    executor: str = "local",
    jobs: int = 1,
    progress: CellProgress | None = None,
) -> None:
    """Embed what cells need and the store lacks, several at a time; one at a time on this machine, scoring does it.

    Parameters
    ----------
    cells, runner, progress
        See :func:`run_cells`.
    executor
        Name of the back end (:mod:`consilience.execution`).
    jobs
        Embeddings made at the same time.
    """
    if executor == "local" and jobs == 1:
        return
    from consilience.execution.executor import get_executor
    from consilience.isolation.guarded import end_all

    machine = get_executor(executor, jobs=jobs)
    try:
        runner.embed_all(cells, machine, progress)
    except BaseException:  # Ctrl-C among them: closing waits for what runs
        end_all()
        raise
    finally:
        machine.close()


def run_cells(
    cells: Iterable[Cell],
    runner: Runner,
    *,
    executor: str = "local",
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
    executor
        Name of the back end that embeds.
    jobs
        Embeddings made at the same time; scoring takes cells one after another.
    progress
        Makes the progress callback of a cell.
    done
        Called with each cell and its record as soon as there is one.
    """
    cells, records = list(cells), []
    embed_cells(cells, runner, executor=executor, jobs=jobs, progress=progress)
    for cell in cells:
        record = runner.run(cell, progress(cell) if progress is not None else None)
        records.append(record)
        if done is not None:
            done(cell, record)
    return records
