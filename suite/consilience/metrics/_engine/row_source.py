"""Embeddings read block by block, rows centred when asked for; memory-mapped arrays stay on disk."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import TIE_TOLERANCE, FloatArray, IntArray, as_embedding, check_finite

#: Rows read at a time, in bytes of float64.
BLOCK_BYTES = 2**24


class Source:
    """One embedding, read as centred and scaled rows.

    Parameters
    ----------
    x : array_like of shape (n, d)
        Embedding. float32 and float64 arrays are neither copied nor read as a whole.
    name : str
        Name in an error.
    standardize : bool
        Scale columns to unit deviation (ddof=1, 1e-9 added, constant ones zero), for I_dCor; otherwise by one
        power of two for all, which changes no metric.
    minimum : int
        Fewest rows allowed.

    Attributes
    ----------
    x : ndarray of shape (n, d), float32 or float64
        The rows as given.
    mean, factors : ndarray of shape (d,), float64
        Rows are read as ``(x - mean) * factors``.
    squares : ndarray of shape (n,), float64
        Squared length of each such row.
    distinct : bool
        Whether at least two rows differ.

    Raises
    ------
    ValueError
        `x` is no embedding, see :func:`~consilience.metrics._engine.arrays.as_embedding`.
    """

    def __init__(self, x: npt.ArrayLike, name: str, *, standardize: bool = False, minimum: int = 2) -> None:
        array = np.asarray(x)
        if array.dtype == np.float16 and array.ndim == 2:
            array = array.astype(np.float32)
        if array.ndim != 2 or array.shape[1] == 0 or array.dtype not in (np.float32, np.float64):
            array = as_embedding(array, name, minimum=minimum)
        if len(array) < minimum:
            raise ValueError(f"{name}: needs at least {minimum} rows, found {len(array)}")
        self.x: npt.NDArray[Any] = np.ascontiguousarray(array)
        self.name = name
        self._read(standardize)

    def _read(self, standardize: bool) -> None:
        n, d = self.x.shape
        total, self.distinct = np.zeros(d), False
        first = self.x[0]
        for start, block in self._blocks():
            check_finite(block, self.name, first_row=start)
            total += block.sum(axis=0)
            self.distinct = self.distinct or bool((self.x[start : start + len(block)] != first).any())
        # the first mean of a column with a large offset has a rounding error of its own
        mean, rest, largest = total / n, np.zeros(d), 0.0
        for _, block in self._blocks():
            block -= mean
            rest += block.sum(axis=0)
            largest = max(largest, float(np.einsum("ij,ij->i", block, block).max()))
        self.mean: FloatArray = mean + rest / n
        self.factors: FloatArray = np.full(d, 2.0 ** -np.ceil(np.log2(largest) / 2) if largest > 0 else 1.0)
        if standardize:
            spread = np.zeros(d)
            for _, block in self._blocks():
                spread += np.square(block - self.mean).sum(axis=0)
            deviation = np.sqrt(spread / (n - 1))
            constant = np.sqrt(spread / n) <= 4 * np.finfo(np.float64).eps * np.abs(self.mean)
            self.factors = np.where(constant, 0.0, 1 / (deviation + 1e-9))

    def _blocks(self) -> Iterator[tuple[int, FloatArray]]:
        for start in range(0, len(self), self._step):
            yield start, self.x[start : start + self._step].astype(np.float64)

    @property
    def _step(self) -> int:
        return max(1, BLOCK_BYTES // (8 * int(self.x.shape[1])))

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def squares(self) -> FloatArray:
        """Squared length of each centred and scaled row, (n,)."""
        squares = np.empty(len(self))
        start = 0
        for block in self.blocks():
            squares[start : start + len(block)] = np.einsum("ij,ij->i", block, block)
            start += len(block)
        return squares

    def blocks(self) -> Iterator[FloatArray]:
        """Yield the centred and scaled rows in float64, block by block."""
        for start in range(0, len(self), self._step):
            yield self.rows(slice(start, start + self._step), np.float64)

    def rows(self, index: slice | IntArray, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        """Return centred and scaled rows, C order."""
        block = self.x[index].astype(np.float64)
        block -= self.mean
        block *= self.factors
        return block.astype(dtype, copy=False)

    @cached_property
    def lengths(self) -> FloatArray:
        """Length of each row as given, (n,)."""
        lengths = [np.sqrt(np.einsum("ij,ij->i", block, block)) for _, block in self._blocks()]
        return np.concatenate(lengths)

    def products_with(self, vectors: FloatArray) -> FloatArray:
        """Return the inner products of some vectors (m, d) with all rows as given, (m, n)."""
        return np.hstack([vectors @ block.T for _, block in self._blocks()])

    def inner_products(self, index: IntArray) -> FloatArray:
        """Return ``x_i . (x_j - mean)`` for the items i in `index` and all j, (m, n)."""
        rows = self.x[index].astype(np.float64)
        return np.hstack([rows @ (block - self.mean).T for _, block in self._blocks()])

    def squared_distances(self, index: IntArray) -> FloatArray:
        """Return squared distances of the items in `index` to all, (m, n).

        Differences are taken before squaring, never norms minus products: duplicates are exactly 0 apart,
        equal distances of exactly represented data are exactly equal, and an offset common to all rows has
        no effect.
        """
        from scipy.spatial.distance import cdist

        rows = self.x[index] * self.factors
        return np.hstack([cdist(rows, block * self.factors, "sqeuclidean") for _, block in self._blocks()])

    def exact(self) -> tuple[npt.NDArray[Any], FloatArray, float]:
        """Rows as given, column factors, and by which share two squared distances may differ and count as equal."""
        return self.x, self.factors, TIE_TOLERANCE
