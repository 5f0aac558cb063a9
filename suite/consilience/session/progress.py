"""Progress on a terminal: shown once something takes longer than 3 s; nothing in CI or elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from consilience.escaping import one_line

if TYPE_CHECKING:
    from rich.progress import Progress

#: Shorter tasks show no progress.
DELAY_S = 3.0
#: Time between two changes of a line.
_INTERVAL_S = 0.2


def shows_progress(stream_is_terminal: bool) -> bool:
    """Whether to show progress: on a terminal outside CI."""
    return stream_is_terminal and not os.environ.get("CI")


class ItemRate:
    """Progress of a cell as text: items done, items/s and time left."""

    def __init__(self, name: str, delay_s: float = DELAY_S) -> None:
        self.name = name
        self._delay = delay_s
        self._first = time.monotonic()
        self._began: tuple[float, int] | None = None
        self._shown = 0.0

    def text(self, done: int, total: int) -> str | None:
        """Words to show now; None where it is too early for new ones."""
        now = time.monotonic()
        if done == 0 or self._began is None:  # the cell's own target begins, or a reference
            self._began, self._shown = (now, done), 0.0
        if now - self._first < self._delay or (now - self._shown < _INTERVAL_S and done < total):
            return None
        self._shown = now
        if done >= total:
            return f"{self.name} "
        began, start = self._began
        rate = (done - start) / max(now - began, 1e-6)
        left = f"  {rate:.3g} items/s, {(total - done) / rate:.0f} s left" if done and rate > 0 else ""
        return f"{self.name} {done}/{total}{left}"


@contextmanager
def progress_of(task: str, *, quiet: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on a terminal; elsewhere nothing. Called with what is done, what there is, and the next's name."""
    began = time.monotonic()
    enabled = not quiet and shows_progress(sys.stderr.isatty())
    bar: Progress | None = None

    def show(done: int, total: int, name: str) -> None:
        nonlocal bar
        if not enabled or (bar is None and time.monotonic() - began < DELAY_S):
            return
        if bar is None:
            bar = _bar()
            bar.add_task(task, total=None)
            bar.start()
        bar.update(bar.task_ids[0], completed=done, total=total, description=one_line(name))

    try:
        yield show
    finally:
        if bar is not None:
            bar.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
