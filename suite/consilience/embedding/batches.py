"""Running a target's `embed` over items: batches, failures, and running out of memory.

This module runs inside the target's own environment and needs numpy alone.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.weights import Embedded, as_energies, as_features

#: This many items failing one after another, with none embedded, end the run: the target itself is broken.
MAX_LEADING_FAILURES = 16

_OUT_OF_MEMORY = ("out of memory", "cannot allocate memory", "alloc_failed", "not enough memory", "bad_alloc")


class ContractError(RuntimeError):
    """`embed` returned something that breaks the contract of a target."""


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


def run_batches(
    embed: Callable[[list[Any]], Embedded],
    items: Sequence[Any],
    *,
    batch_size: int,
    dimension: int | None = None,
) -> Iterator[Batch]:
    """Yield the rows of `items` in order, batch by batch.

    A batch that raises is repeated item by item, so that an item that can't be embedded affects only its own
    row, which gets a reason. A batch that runs out of memory is repeated with half the size.

    Parameters
    ----------
    embed
        What the target's `load` returned.
    items
        What `embed` receives, in order.
    batch_size
        Items per call at the start.
    dimension
        Declared number of columns; the first batch fixes it otherwise.

    Raises
    ------
    ContractError
        Wrong number of rows or columns, NaN or inf without a reason, or nothing could be embedded at all.
    """
    start, embedded, failures = 0, 0, 0
    reason: str | None = None
    while start < len(items):
        chunk = list(items[start : start + batch_size])
        try:
            batch = _checked(embed(chunk), len(chunk), dimension, start)
        except ContractError:
            raise
        except Exception as error:  # a model may fail in any way it likes
            if _is_out_of_memory(error) and len(chunk) > 1:
                batch_size = max(1, len(chunk) // 2)
                print(f"out of memory; going on with batches of {batch_size}", file=sys.stderr)
                continue
            traceback.print_exc(file=sys.stderr)
            if len(chunk) > 1:
                batch = _one_by_one(embed, chunk, dimension, start, hopeless=embedded == 0)
            elif dimension is None and embedded == 0:
                raise ContractError(f"item {start}: {_short(error)}") from error
            else:
                batch = _blank(1, dimension or 1, [_short(error)])
        good = sum(one is None for one in batch.reasons)
        reason = reason or next(filter(None, batch.reasons), None)
        embedded, failures = embedded + good, 0 if good else failures + len(chunk)
        if embedded == 0 and failures >= MAX_LEADING_FAILURES:
            raise ContractError(f"none of the first {failures} items could be embedded: {batch.reasons[0]}")
        if good:
            dimension = batch.features.shape[1]
        yield batch
        start += len(chunk)
    if len(items) and embedded == 0:
        raise ContractError(f"no item could be embedded: {reason}")


def _one_by_one(
    embed: Callable[[list[Any]], Embedded],
    chunk: list[Any],
    dimension: int | None,
    start: int,
    *,
    hopeless: bool,
) -> Batch:
    rows: list[Batch | str] = []
    for offset, item in enumerate(chunk):
        try:
            row = _checked(embed([item]), 1, dimension, start + offset)
        except ContractError:
            raise
        except Exception as error:
            rows.append(_short(error))
        else:
            rows.append(row)
            dimension = row.features.shape[1]
        if hopeless and len(rows) >= MAX_LEADING_FAILURES and all(isinstance(row, str) for row in rows):
            break
    if dimension is None or all(isinstance(row, str) for row in rows):
        if hopeless:
            first = next(row for row in rows if isinstance(row, str))
            raise ContractError(f"none of the first {len(rows)} items could be embedded: {first}")
        assert dimension is not None
    parts = [_blank(1, dimension, [row]) if isinstance(row, str) else row for row in rows]
    return Batch(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.energies for part in parts]),
        [reason for part in parts for reason in part.reasons],
        np.concatenate([part.truncated for part in parts]),
    )


def _blank(n: int, dimension: int, reasons: Sequence[str | None]) -> Batch:
    return Batch(
        np.full((n, dimension), np.nan, np.float32), np.full(n, np.nan), list(reasons), np.zeros(n, np.float32)
    )


def _checked(result: Any, n: int, dimension: int | None, start: int) -> Batch:
    if not isinstance(result, Embedded):
        raise ContractError(f"embed has to return consilience.Embedded, it returned {type(result).__name__}")
    features = as_features(result.features)
    if features.ndim != 2:
        raise ContractError(f"features have to be (n_items, dimension), embed returned shape {features.shape}")
    if len(features) != n:
        raise ContractError(f"embed returned {len(features)} rows for {n} items")
    if features.shape[1] == 0:
        raise ContractError("embed returned rows without columns")
    if dimension is not None and features.shape[1] != dimension:
        raise ContractError(f"embed returned {features.shape[1]} columns, expected {dimension}")
    reasons: list[str | None] = [None] * n if result.reasons is None else list(result.reasons)
    if len(reasons) != n:
        raise ContractError(f"embed returned {len(reasons)} reasons for {n} items")
    broken = ~np.isfinite(features).all(axis=1)
    unexplained = [start + i for i in np.flatnonzero(broken) if reasons[i] is None]
    if unexplained:
        kind = "NaN" if np.isnan(features[unexplained[0] - start]).any() else "inf"
        raise ContractError(
            f"embed returned {kind} for {len(unexplained)} of {n} items without a reason, first item {unexplained[0]}"
        )
    for i, reason in enumerate(reasons):
        if reason is not None:
            features[i] = np.nan
    energies = np.full(n, np.nan) if result.energies is None else as_energies(result.energies)
    if energies.shape != (n,):
        raise ContractError(f"energies have to be ({n},), embed returned shape {energies.shape}")
    whole = np.zeros(n, np.float32)
    truncated = whole if result.truncated is None else np.asarray(result.truncated, np.float32)
    if truncated.shape != (n,) or not ((truncated >= 0) & (truncated <= 1)).all():
        raise ContractError(f"truncated has to be ({n},) shares between 0 and 1, embed returned {truncated}")
    return Batch(features, energies, reasons, truncated)


def _is_out_of_memory(error: Exception) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or "outofmemory" in text or any(sign in text for sign in _OUT_OF_MEMORY)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
