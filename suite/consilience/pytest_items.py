"""What ``pytest --benchmark`` collects: target files, their data sets, and one item per cell."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .escaping import one_line

if TYPE_CHECKING:
    from consilience.pytest_plugin import BenchmarkRun
    from consilience.records.record import Record
    from consilience.scoring.cell import Cell

#: Where the configuration holds the run.
run_key: pytest.StashKey[BenchmarkRun] = pytest.StashKey()


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """End pytest with one line and exit code 2 where the run can't be made."""
    from .circumstances import cut
    from .session.request import SessionError
    from .session.session import COULD_NOT_RUN, could_not_run

    try:
        with could_not_run():
            yield
    except SessionError as error:
        pytest.exit(cut(str(error), 2000), returncode=COULD_NOT_RUN)


class TargetFile(pytest.File):
    """A user's target file: every card of it on every data set."""

    def collect(self) -> Iterator[pytest.Collector]:
        """One collector per data set, so that the id of a cell works as an argument."""
        from .circumstances import in_words
        from .registry import load_target_file

        try:
            targets = load_target_file(self.path)
        except (ValueError, OSError) as error:
            raise self.CollectError(in_words(error)) from None
        run = self.config.stash[run_key]
        if run.session.request.checkpoint or run.session.request.adapter:
            return  # the file is there for its adapter
        cells: dict[str, list[Cell]] = {}
        for cell in run.plan(targets):
            cells.setdefault(cell.dataset, []).append(cell)
        for dataset, own in cells.items():
            yield DatasetCells.from_parent(self, name=dataset, cells=own)


class DatasetCells(pytest.Collector):
    """Cells of a user's target file on one data set."""

    def __init__(self, *, cells: list[Cell], **settings: Any) -> None:
        super().__init__(**settings)
        self.cells = cells

    def collect(self) -> Iterator[pytest.Item]:
        """One item per card."""
        for cell in self.cells:
            yield AlignmentItem.from_parent(self, name=cell.target.name, cell=cell)


class NoTests(pytest.File):
    """Replaces the test module of a target file, which has no tests."""

    def collect(self) -> Iterator[pytest.Item]:
        """Nothing."""
        return iter(())


class AlignmentItem(pytest.Item):
    """One cell: a target on a data set."""

    def __init__(self, *, cell: Cell, **settings: Any) -> None:
        super().__init__(**settings)
        self.cell = cell
        self.record: Record | None = None
        self.interrupted = False
        if any(self.config.getoption(name, False) for name in ("benchmark_only", "benchmark_skip", "codspeed")):
            self.fixturenames = ("benchmark",)  # how pytest-benchmark and pytest-codspeed know a benchmark

    def runtest(self) -> None:
        """Score the cell; fail or skip with the record's reason."""
        run = self.config.stash[run_key]
        with stopping():
            (self.record,) = run.session.run([self.cell], progress=lambda _: run.progress(self))
        cells = [one.cell for one in self.session.items if isinstance(one, AlignmentItem)]
        self.interrupted = self.cell.id in run.session.interrupted
        names = [cell.target.name for cell in cells if cell.dataset == self.cell.dataset]
        regressed = run.session.regression(self.cell, self.record, names)
        if regressed and self.record.state != "failed":
            raise RegressedError(regressed)
        if self.record.state == "skipped":
            pytest.skip(one_line(self.record.reason or ""))
        if self.record.state != "ok":
            raise CellFailedError(one_line(self.record.reason or ""))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return only the reason of a failed cell; a traceback of the suite does not help its author."""
        if isinstance(excinfo.value, CellFailedError):
            return f"{self.cell.id} failed: {excinfo.value}"
        if isinstance(excinfo.value, RegressedError):
            return f"{self.cell.id} regressed: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the item stands, and its headline (other than its id, whose dots pytest would rewrite)."""
        return self.cell.target.path, 0, f"{self.cell.target.name} on {self.cell.dataset}"


class CellFailedError(Exception):
    """A cell failed; the message is its reason."""


class RegressedError(Exception):
    """A cell regressed against the baseline; the message names the values."""
