"""Columns of an embedding, read in blocks of rows: their means and deviations, and rows in standardized columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .arrays import MAX_MAGNITUDE, FloatArray, IntArray, as_embedding, float_precision

#: Numbers in a block of rows: 16 MB in float64, and up to three arrays of that size at a time.
BLOCK_ENTRIES = 2**21
#: Share of the rows that may be set aside as dominant; where more are, no estimate holds.
MOST_DOMINANT = 0.1


def blocks(n: int, width: int) -> Iterator[slice]:
    """Cut n rows of the given width into blocks."""
    step = max(1, BLOCK_ENTRIES // width)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


class Columns:
    """A checked embedding, read as float64 a block of rows at a time.

    Refuses what :func:`~consilience.metrics._engine.arrays.as_embedding` refuses, in the same words.
    """

    def __init__(self, x: npt.ArrayLike, name: str) -> None:
        self._array = np.asarray(x)
        self._name = name
        if self._array.ndim != 2 or self._array.shape[1] == 0 or len(self._array) < 2:
            as_embedding(self._array, name)  # says what is wrong
        self.n, self.width = self._array.shape
        self.precision = float_precision(self._array)
        with np.errstate(over="ignore", invalid="ignore"):
            self.mean, self.low, self.high = self.statistics(blocks(self.n, self.width), self.n)
        if not (np.isfinite(self.low) & np.isfinite(self.high)).all():
            raise ValueError(f"{name}: {self._describe_not_finite()}")
        largest = max(float(self.high.max()), -float(self.low.min()))
        if largest > MAX_MAGNITUDE:
            raise ValueError(f"{name}: found a magnitude of {largest:.3g}, above {MAX_MAGNITUDE:.0e}; rescale")

    def statistics(self, parts: Iterable[slice | IntArray], n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return mean, smallest and largest value of each column over some parts of the rows, n rows in all."""
        low, high = np.full(self.width, np.inf), np.full(self.width, -np.inf)
        total = np.zeros(self.width)
        for rows in parts:
            block = self.read(rows)
            low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
            total += block.sum(axis=0)
        return total / n, low, high

    def read(self, rows: slice | IntArray) -> FloatArray:
        """Return some rows as a float64 array of the caller's own, C order."""
        part = self._array[rows]
        try:
            return part.astype(np.float64, order="C", casting="unsafe" if part.dtype.kind != "c" else "safe")
        except (TypeError, ValueError):
            raise ValueError(f"{self._name}: expected real numbers, found dtype {part.dtype}") from None

    def _describe_not_finite(self) -> str:
        nans = infinities = 0
        first = ""
        for rows in blocks(self.n, self.width):
            block = self.read(rows)
            finite = np.isfinite(block)
            if not first and not finite.all():
                row, column = np.argwhere(~finite)[0]
                first = f"row {rows.start + row}, column {column}"
            nan = int(np.isnan(block).sum())
            nans, infinities = nans + nan, infinities + int((~finite).sum()) - nan
        return f"found {nans} NaN and {infinities} infinite values, the first in {first}"


class StandardizedColumns:
    """Columns of mean 0 and deviation 1 without the constant ones; one zero column if none is left.

    With `seen`, means and deviations are those of these rows.
    """

    def __init__(self, given: Columns, seen: IntArray | None = None) -> None:
        self._given = given
        parts: list[slice] | list[IntArray] = list(blocks(given.n, given.width))
        n, mean, low, high = given.n, given.mean, given.low, given.high
        if seen is not None:
            parts, n = [seen[part] for part in blocks(len(seen), given.width)], len(seen)
            mean, low, high = given.statistics(parts, n)
        largest = np.maximum(high - mean, mean - low)
        unit = np.where(largest > 0, largest, 1.0)  # squares neither overflow nor vanish
        total, squares = np.zeros(given.width), np.zeros(given.width)
        for rows in parts:
            block = given.read(rows)
            block -= mean
            block /= unit
            total += block.sum(axis=0)
            squares += np.einsum("ij,ij->j", block, block)
        # The mean of a column with a large offset has a rounding error of its own: here it is.
        rest = total / n
        deviation = unit * np.sqrt(np.maximum(squares / n - rest**2, 0))
        varying = deviation > 4 * given.precision * np.abs(mean)
        self._varying: slice | IntArray = slice(None) if varying.all() else np.flatnonzero(varying)
        self._mean, self._rest, self._deviation = mean[varying], (unit * rest)[varying], deviation[varying]
        self.width = max(1, len(self._mean))

    def read(self, rows: slice | IntArray) -> FloatArray:
        """Return some rows as an array of the caller's own."""
        block = self._given.read(rows)
        if not len(self._mean):
            return np.zeros((len(block), 1))
        block = block[:, self._varying]
        block -= self._mean
        block -= self._rest
        block /= self._deviation
        return block

    def squared_lengths(self) -> FloatArray:
        """(n,) squared length of every row."""
        result = np.empty(self._given.n)
        for rows in blocks(self._given.n, self._given.width):
            block = self.read(rows)
            result[rows] = np.einsum("ij,ij->i", block, block)
        return result


class Dominance(NamedTuple):
    """Rows of an embedding that would decide its scores, and columns that do without them."""

    columns: StandardizedColumns
    """Means and deviations are those of the other rows."""
    rows: IntArray
    """The dominant rows, in ascending order."""
    largest_share: float
    """Largest share of a row in the squared length of all rows, before any is set aside."""


def without_dominant_rows(given: Columns, dominance: float) -> Dominance:
    """Set aside the rows that dominate the standardized columns, the longest first.

    While the squared length of a row is more than `dominance` times the mean of the rows left, or more than a quarter
    of their sum, it is set aside, and means and deviations are estimated anew. At most `MOST_DOMINANT` of the rows are
    set aside, one at least.
    """
    columns = StandardizedColumns(given)
    squares = columns.squared_lengths()
    total = squares.sum()
    share = float(squares.max() / total) if total > 0 else 0.0
    kept = np.ones(given.n, np.bool_)
    most = max(1, int(MOST_DOMINANT * given.n))
    while given.n - kept.sum() < most:
        left = np.where(kept, squares, 0.0)
        limit = min(dominance * left.sum() / kept.sum(), left.sum() / 4)
        above = np.flatnonzero(left > limit)
        if not len(above):
            break
        # Without the longest the others only grow: all that are above the limit would follow one by one.
        longest_first = above[np.argsort(-left[above], kind="stable")]
        kept[longest_first[: most - int(given.n - kept.sum())]] = False
        columns = StandardizedColumns(given, np.flatnonzero(kept))
        squares = columns.squared_lengths()
    return Dominance(columns, np.flatnonzero(~kept), share)
