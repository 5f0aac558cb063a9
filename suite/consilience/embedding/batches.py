"""Running a target's `embed` over items: batches, failures, and running out of memory.

This module runs inside the target's own environment and needs numpy alone.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.circumstances import is_circumstance, is_out_of_memory, named, tells_of_circumstance
from consilience.weights import Embedded

from .batch_items import copies, reordered
from .returned import ContractError, energies_of, features_of, parts, reasons_of, truncated_of

#: This many items failing one after another, with none embedded, end the run: the target itself is broken.
MAX_LEADING_FAILURES = 16
#: After a batch was halved, so many batches in a row without a failure double the size again.
CALM_BATCHES = 4

#: Called with the place of a batch's first item, its items, and the list and the items that `embed` received.
Watch = Callable[[int, Sequence[Any], Sequence[Any], Sequence[Any]], None]

__all__ = ["MAX_LEADING_FAILURES", "Batch", "CircumstanceError", "ContractError", "joined", "run_batches"]


class CircumstanceError(RuntimeError):
    """Memory, time or a disk ended the embedding, not the target; the next run tries again."""


class Batch(NamedTuple):
    """Rows of consecutive items."""

    features: NDArray[np.float32]
    """(n, d); a row of NaN where the item could not be embedded."""
    energies: NDArray[np.float64]
    """(n,) eV; NaN where there is none."""
    reasons: list[str | None]
    """Why an item could not be embedded."""
    truncated: NDArray[np.float32]
    """(n,) share of an item that the model did not read."""
    again: tuple[int, ...] = ()
    """Rows whose reason is one of circumstance: the next run embeds these items again."""


def joined(batches: Sequence[Batch]) -> Batch:
    """Rows of consecutive batches as one."""
    starts = np.cumsum([0, *(len(batch.reasons) for batch in batches)])
    return Batch(
        np.concatenate([batch.features for batch in batches]),
        np.concatenate([batch.energies for batch in batches]),
        [reason for batch in batches for reason in batch.reasons],
        np.concatenate([batch.truncated for batch in batches]),
        tuple(int(start) + row for start, batch in zip(starts, batches, strict=False) for row in batch.again),
    )


def run_batches(
    embed: Callable[[list[Any]], Embedded],
    items: Sequence[Any],
    *,
    batch_size: int,
    dimension: int | None = None,
    watch: Watch | None = None,
) -> Iterator[Batch]:
    """Yield the rows of `items` in order, batch by batch.

    A batch that raises is repeated item by item, so that an item that can't be embedded affects only its own
    row, which gets a reason. A batch that runs out of memory is repeated with half the size; the size grows back
    once several batches have succeeded.

    Parameters
    ----------
    embed
        What the target's `load` returned.
    items
        What `embed` receives copies of, in order.
    batch_size
        Items per call, the most there are.
    dimension
        Declared number of columns; the first batch fixes it otherwise.
    watch
        Called after each call of `embed` that returned.

    Raises
    ------
    ContractError
        Wrong number of rows or columns, NaN or inf without a reason, the list of items in another order, or nothing
        could be embedded at all.
    CircumstanceError
        Nothing could be embedded at all, for want of memory or the like.
    """
    run = _Run(embed, batch_size, dimension, watch)
    start = 0
    while start < len(items):
        chunk = list(items[start : start + run.size])
        batch = run.batch(chunk, start)
        if batch is None:  # memory ended: once more, with fewer items
            continue
        start += len(chunk)
        yield from run.known(batch)
    run.finish()


class _Run:
    """State of one run over items: size of the batches, number of columns, failures so far."""

    def __init__(
        self,
        embed: Callable[[list[Any]], Embedded],
        batch_size: int,
        dimension: int | None,
        watch: Watch | None,
    ) -> None:
        self.embed, self.dimension, self.watch = embed, dimension, watch
        self.size = self.largest = max(1, batch_size)
        self.calm, self.patience, self.grown = 0, CALM_BATCHES, False
        self.embedded = 0
        self.failed: list[tuple[str, bool]] = []
        """Failures before the first success: reason, and whether it is one of circumstance."""
        self.waiting: list[Batch] = []
        """Rows whose number of columns is not known yet."""

    def batch(self, chunk: list[Any], start: int) -> Batch | None:
        """Rows of a chunk; None where it has to be repeated with a smaller size."""
        batch, memory_ended = None, False
        try:
            batch = self.call(chunk, start)
        except Exception as error:  # a model may fail in any way it likes
            if isinstance(error, ContractError) and not is_circumstance(error):
                raise
            memory_ended = is_out_of_memory(error) and len(chunk) > 1
            if not memory_ended:
                traceback.print_exc(file=sys.stderr)
                if len(chunk) == 1:
                    return self._failure(error)
        # Outside the handler: what the frames of the exception held is free again. Targets also catch exceptions
        # themselves and turn them into reasons.
        if memory_ended or (batch is not None and len(chunk) > 1 and _ended_memory(batch)):
            self.shrink(len(chunk))
            return None
        if batch is None:
            return self._one_by_one(chunk, start)
        self.grow()
        return batch

    def call(self, chunk: list[Any], start: int) -> Batch:
        """Rows of one call of `embed`, which receives items of its own: the next call's are as they were."""
        own = copies(chunk)
        received = list(own)
        result = self.embed(received)
        if self.watch is not None:
            self.watch(start, chunk, received, own)
        if reordered(own, received):
            raise ContractError("embed changed the order of the list that it received: sort a copy, as sorted() does")
        return _checked(result, len(chunk), self.dimension, start)

    def shrink(self, length: int) -> None:
        """Halve the size; where it had grown back in vain, the next attempt takes twice as long."""
        self.size, self.calm = max(1, length // 2), 0
        self.patience, self.grown = self.patience * (2 if self.grown else 1), False
        print(f"out of memory; going on with batches of {self.size}", file=sys.stderr)
        _free_memory()

    def grow(self) -> None:
        """Count a batch that succeeded; after several, double the size."""
        self.calm += 1
        if self.size < self.largest and self.calm >= self.patience:
            self.size, self.calm, self.grown = min(self.largest, self.size * 2), 0, True
            print(f"going on with batches of {self.size} again", file=sys.stderr)

    def known(self, batch: Batch) -> Iterator[Batch]:
        """Yield rows once their number of columns is known; end the run where nothing can be embedded."""
        good = sum(reason is None for reason in batch.reasons)
        if good and self.dimension is None:
            self.dimension = batch.features.shape[1]
        if not self.embedded:
            self.failed += [(one, i in batch.again) for i, one in enumerate(batch.reasons) if one is not None]
            if not good and len(self.failed) >= MAX_LEADING_FAILURES:
                self._give_up(f"none of the first {len(self.failed)} items could be embedded")
        self.embedded += good
        self.waiting.append(batch)
        if self.dimension is not None:
            waiting, self.waiting = self.waiting, []
            for one in waiting:
                yield one if one.features.shape[1] == self.dimension else _blank(self.dimension, one)

    def finish(self) -> None:
        """Refuse a run without a single row."""
        if self.failed and not self.embedded:
            self._give_up("no item could be embedded")

    def _give_up(self, what: str) -> None:
        reason = self.failed[0][0]
        if any(again for _, again in self.failed):
            raise CircumstanceError(f"{what}: {next(one for one, again in self.failed if again)}")
        raise ContractError(f"{what}: {reason}")

    def _failure(self, error: Exception) -> Batch:
        again = (0,) if is_circumstance(error) else ()
        if again:
            _free_memory()
        blank = Batch(np.zeros((1, 0), np.float32), np.zeros(0), [named(error)], np.zeros(0, np.float32), again)
        return _blank(self.dimension or 0, blank)

    def _one_by_one(self, chunk: list[Any], start: int) -> Batch:
        rows: list[Batch] = []
        for offset, item in enumerate(chunk):
            try:
                row = self.call([item], start + offset)
            except Exception as error:
                if isinstance(error, ContractError) and not is_circumstance(error):
                    raise
                row = self._failure(error)
            rows.append(row)
            if row.reasons[0] is None:
                self.dimension = row.features.shape[1]
            hopeless = not self.embedded and len(self.failed) + len(rows) >= MAX_LEADING_FAILURES
            if hopeless and all(row.reasons[0] is not None for row in rows):
                self.failed += [(str(row.reasons[0]), bool(row.again)) for row in rows]
                self._give_up(f"none of the first {len(self.failed)} items could be embedded")
        columns = self.dimension or 0
        return joined([row if row.features.shape[1] == columns else _blank(columns, row) for row in rows])


def _blank(dimension: int, batch: Batch) -> Batch:
    """Rows of NaN in place of those of a batch that failed as a whole."""
    n = len(batch.reasons)
    features = np.full((n, dimension), np.nan, np.float32)
    return Batch(features, np.full(n, np.nan), batch.reasons, np.zeros(n, np.float32), batch.again)


def _checked(result: Any, n: int, dimension: int | None, start: int) -> Batch:
    parts(result)
    features = features_of(result.features)
    if len(features) != n:
        raise ContractError(f"embed returned {len(features)} rows for {n} items")
    if features.shape[1] == 0:
        raise ContractError("embed returned rows without columns")
    if dimension is not None and features.shape[1] != dimension:
        raise ContractError(f"embed returned {features.shape[1]} columns, expected {dimension}")
    reasons = reasons_of(result.reasons, n)
    broken = ~np.isfinite(features).all(axis=1)
    unexplained = [start + i for i in np.flatnonzero(broken) if reasons[i] is None]
    if unexplained:
        kind = "NaN" if np.isnan(features[unexplained[0] - start]).any() else "inf"
        raise ContractError(
            f"embed returned {kind} for {len(unexplained)} of {n} items without a reason, first item {unexplained[0]}"
        )
    features[[reason is not None for reason in reasons]] = np.nan
    again = tuple(i for i, reason in enumerate(reasons) if reason is not None and tells_of_circumstance(reason))
    return Batch(features, energies_of(result.energies, n), reasons, truncated_of(result.truncated, n), again)


def _ended_memory(batch: Batch) -> bool:
    return any(is_out_of_memory(RuntimeError(batch.reasons[i])) for i in batch.again)


def _free_memory() -> None:
    """Give back what a failed batch held, on the device too."""
    gc.collect()
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_available() and cuda.is_initialized():
        cuda.empty_cache()
