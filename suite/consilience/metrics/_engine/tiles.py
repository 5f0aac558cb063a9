"""One pass over tiles of the distances between items, for all models together.

A metric computes what it needs from the tiles in a :class:`Consumer`; dCor and the information imbalance of all pairs
come from one pass, which makes no (n, n) array.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from .arrays import IntArray
from .engine import PROCESSOR, Array, Engine
from .row_source import Source

#: float32; a numpy array on the processor, a tensor on a device.
Tile = Array
Task = TypeVar("Task")

#: Largest side of a tile, and what the tiles of all models may take per thread, in bytes.
MAX_SIDE = 1024
STACK_BYTES = 2**27
#: Centred rows of all models are kept in memory up to this size, else made from the inputs for each tile.
RESIDENT_BYTES = 2**29
#: Squared distances below this share of the squared norms are computed from differences.
DOUBTFUL = 1e-3


@dataclass(frozen=True)
class TilePosition:
    """Where a tile lies: rows (i) and columns (j) of the matrices of distances, rows never below columns."""

    rows: slice
    columns: slice

    @property
    def diagonal(self) -> bool:
        """Whether rows and columns are the same items."""
        return self.rows == self.columns

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


class Consumer:
    """What a metric does with the tiles; it keeps sums over tiles, never the tiles.

    Each thread works on a tile of its own and calls the methods in the order below. `scratch` is a dict of
    the thread's own, empty at first, for buffers that are used again.
    """

    def begin(self, sources: Sequence[Source], scratch_size: int) -> None:
        """Prepare for these models and this largest number of entries in a tile; called once."""

    def products(self, model: int, tile: Tile, place: TilePosition, scratch: dict[str, Any]) -> None:
        """Receive the inner products of centred rows of one model. The tile must not be changed."""

    def distances(self, model: int, tile: Tile, place: TilePosition, scratch: dict[str, Any]) -> None:
        """Receive the squared distances of one model. The tile must not be changed."""

    def finish(self, place: TilePosition, scratch: dict[str, Any]) -> None:
        """Combine the models at this place; called after all of them."""


def sweep(
    sources: Sequence[Source],
    consumers: Sequence[Consumer],
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    engine: Engine = PROCESSOR,
) -> None:
    """Pass every tile of the upper triangle to all consumers.

    Parameters
    ----------
    sources : sequence of Source
        Models of the same n items.
    consumers : sequence of Consumer
        They keep their results.
    threads : int, optional
        Tiles worked on at a time; default: ``OMP_NUM_THREADS``, or the cores this process may use.
    progress : callable, optional
        Called with the tiles done and their number.
    engine : Engine
        Where the tiles are; the consumers must work there, too.
    """
    n, models = len(sources[0]), len(sources)
    tile_entries = STACK_BYTES * engine.scale / (4 * models)
    side = min(MAX_SIDE * engine.scale, max(64, int(tile_entries**0.5) // 64 * 64))
    blocks = [slice(start, min(start + side, n)) for start in range(0, n, side)]
    places = [TilePosition(rows, columns) for i, rows in enumerate(blocks) for columns in blocks[i:]]
    for consumer in consumers:
        consumer.begin(sources, side * side)
    rows_of = row_reader(sources, engine)
    squares = [engine.to_device(source.squares.astype(np.float32)) for source in sources]

    def work(place: TilePosition, scratch: dict[str, Any]) -> None:
        if "tile" not in scratch:
            scratch["tile"] = engine.buffer(side * side)
        if scratch.get("rows") != place.rows:  # places come row by row: one side is read once
            scratch["rows"] = place.rows
            scratch["first"] = [rows_of(model, place.rows) for model in range(models)]
        for model in range(models):
            first = scratch["first"][model]
            second = first if place.diagonal else rows_of(model, place.columns)
            height, width = place.shape
            tile = scratch["tile"][: height * width].reshape(height, width)
            engine.multiply(first, second, tile)
            for consumer in consumers:
                consumer.products(model, tile, place, scratch)
            own, other = squares[model][place.rows], squares[model][place.columns]
            engine.to_squared_distances(tile, own, other, first, second, DOUBTFUL)
            if place.diagonal:
                engine.fill_diagonal(tile, 0.0)
            for consumer in consumers:
                consumer.distances(model, tile, place, scratch)
        for consumer in consumers:
            consumer.finish(place, scratch)

    run(work, places, threads=engine.workers(threads), progress=progress, engine=engine)


def row_reader(
    sources: Sequence[Source], engine: Engine = PROCESSOR, *, free_bytes: float = RESIDENT_BYTES
) -> Callable[[int, slice | IntArray], Array]:
    """Return a function that reads centred rows of a model, held in memory if all fit, else computed each time."""
    if engine.resident or 4 * sum(source.x.size for source in sources) > free_bytes:
        return lambda model, part: engine.rows(sources[model], part)
    rows = [source.rows(slice(None)) for source in sources]
    return lambda model, part: rows[model][part]


def run(
    work: Callable[[Task, dict[str, Any]], None],
    tasks: Iterable[Task],
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    engine: Engine = PROCESSOR,
) -> None:
    """Do ``work(task, scratch)`` for all tasks, each of the threads with a `scratch` dict of its own.

    Meanwhile libraries use one thread each, as the tasks are independent.
    """
    todo = list(tasks)
    count = min(thread_count(threads), len(todo))
    lock, queue = Lock(), iter(todo)
    done = 0

    def worker() -> None:
        nonlocal done
        scratch: dict[str, Any] = {}
        while True:
            with lock:
                task = next(queue, None)
            if task is None:
                return
            work(task, scratch)
            with lock:
                done += 1
                if progress is not None:
                    progress(done, len(todo))

    with single_threaded(), engine.full_precision():
        if count <= 1:
            worker()
            return
        with ThreadPoolExecutor(count) as pool:
            for future in [pool.submit(worker) for _ in range(count)]:
                future.result()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Hold the libraries' own thread pools to one thread."""
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")  # takes a second to import; one that nobody has imported runs no threads
    if torch is None:
        with threadpool_limits(1):
            yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def thread_count(threads: int | None) -> int:
    """Return `threads`, or by default ``OMP_NUM_THREADS``, or the number of cores this process may use.

    Raises
    ------
    ValueError
        `threads` is below 1.
    """
    if threads is None:
        stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
        return int(stated) if stated.isdigit() and int(stated) > 0 else len(os.sched_getaffinity(0))
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, found {threads}")
    return threads
