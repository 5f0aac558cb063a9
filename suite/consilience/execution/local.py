"""Tasks on this machine, some at a time: each waits for a worker process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from consilience.callbacks import Progress

from .executor import Result, Task, call, executor


@executor("local")
class LocalExecutor:
    """Runs up to `jobs` tasks at a time.

    Parameters
    ----------
    jobs
        Tasks at a time. Models use threads themselves: more than one shares the cores out among them.
    """

    def __init__(self, *, jobs: int = 1) -> None:
        if jobs < 1:
            raise ValueError(f"jobs: expected at least 1, found {jobs}")
        if jobs > 1:
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        self._pool = ThreadPoolExecutor(jobs)
        self._futures: list[Future[Result]] = []

    def submit(self, task: Task, *, progress: Progress | None = None) -> None:
        """Queue a task."""
        self._futures.append(self._pool.submit(call, task, progress))

    def as_completed(self) -> Iterator[Result]:
        """Yield results as tasks finish."""
        futures, self._futures = self._futures, []
        for future in as_completed(futures):
            yield future.result()

    def close(self) -> None:
        """Give up what waits in the queue."""
        self._pool.shutdown(wait=True, cancel_futures=True)
