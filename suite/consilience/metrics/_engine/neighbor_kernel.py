"""The state that CKNNA keeps of one model: made once, used in every pair, every permutation, every subsample.

A pair then costs O(n k): the neighbours of the first model are looked up in the lists of the second.
Relabelling the items of the second model (a permutation null) or leaving items out (a subsample) changes
which entries are looked up, never the lists, so neither needs a new neighbour search.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import FloatArray, IntArray, check_k
from .neighbors import search
from .row_source import Source

#: Up to this many items the ranks are a dense table of n^2 bytes; beyond it, sorted edges are searched.
MAX_TABLE_ITEMS = 4096
#: Default depth of the lists in units of k. Half the items keep k/2 survivors of 3k neighbours in all but
#: one list out of many millions at k = 25; longer lists are made where that fails.
DEPTH_FACTOR = 3


class NeighborKernel:
    """Nearest neighbours of one model by inner product, with its centred kernel at those places.

    Parameters
    ----------
    x : array_like of shape (n, d), or Source
        Prepared embedding (see :func:`~consilience.metrics.prepare`).
    k : int
        Neighbours of the metric, below n.
    depth : int, optional
        Neighbours kept, ``k <= depth < n``; subsampling needs more than `k`. Default: ``min(3 k, n - 1)``.

    Attributes
    ----------
    k : int
        Neighbours of the metric.
    neighbors : Neighbors
        Lists of `depth` neighbours; ``values`` hold the kernel minus its row mean (the mean over all n
        columns, the diagonal included), ``x_i . (x_j - mean)``.
    degenerate : bool
        Whether all rows are equal: every score with this model is ``nan``.

    Raises
    ------
    ValueError
        `x` is no embedding, or k or depth do not fit its number of rows.
    """

    def __init__(self, x: npt.ArrayLike | Source, k: int = 25, depth: int | None = None) -> None:
        self.source = x if isinstance(x, Source) else Source(x, "x")
        n = len(self.source)
        self.k = check_k(k, n)
        depth = min(DEPTH_FACTOR * self.k, n - 1) if depth is None else check_k(depth, n, name="depth")
        if depth < self.k:
            raise ValueError(f"depth: expected at least k={self.k}, found {depth}")
        self.degenerate = not self.source.distinct
        lists, _ = search(self.source, inner_product=depth)
        assert lists is not None
        self.neighbors = lists
        self._last_subsampled: SubsampledKernel | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        return f"NeighborKernel(n={len(self)}, k={self.k}, depth={self.neighbors.depth})"

    @cached_property
    def self_term(self) -> float:
        """Sum of squares of the centred kernel over the k nearest of each item, ``Align(K, K)``."""
        return float(np.sum(np.square(self.kernel_values)))

    @cached_property
    def kernel_values(self) -> FloatArray:
        """Centred kernel at the k nearest of each item, (n, k)."""
        return np.ascontiguousarray(self.neighbors.values[:, : self.k])

    @cached_property
    def raw_values(self) -> FloatArray:
        """Kernel ``x_i . x_j``, not centred, at the k nearest of each item, (n, k)."""
        raw: FloatArray = self.kernel_values + self.source.products_with(self.source.mean[None]).T
        return raw

    @cached_property
    def columns(self) -> IntArray:
        """The k nearest of each item, (n, k), as the integers that indexing wants."""
        return np.ascontiguousarray(self.neighbors.indices[:, : self.k], dtype=np.intp)

    @cached_property
    def edges(self) -> IntArray:
        """Flat positions ``i n + j`` of the k nearest j of each item i, (n k,)."""
        n = len(self)
        return (np.arange(n)[:, None] * n + self.columns).ravel()

    def ranks_at(self, edges: IntArray) -> npt.NDArray[Any]:
        """Place of j in the list of i (0: nearest) at positions ``i n + j``; `depth` or more if absent."""
        if len(self) <= MAX_TABLE_ITEMS:
            return self._rank_table.take(edges)
        keys, ranks = self._sorted_edges
        place = np.minimum(np.searchsorted(keys, edges), len(keys) - 1)
        places: npt.NDArray[Any] = np.where(keys[place] == edges, ranks[place], self.neighbors.depth)
        return places

    @cached_property
    def _rank_table(self) -> npt.NDArray[Any]:
        n, depth = self.neighbors.indices.shape
        # one byte per entry where that suffices: the table is read in random order and has to stay in cache
        dtype = np.min_scalar_type(depth)
        table = np.full((n, n), np.iinfo(dtype).max, dtype=dtype)
        np.put_along_axis(table, self.neighbors.indices.astype(np.intp), np.arange(depth, dtype=dtype)[None], 1)
        return table.ravel()

    @cached_property
    def _sorted_edges(self) -> tuple[IntArray, IntArray]:
        n, depth = self.neighbors.indices.shape
        flat = (np.arange(n)[:, None] * n + self.neighbors.indices).ravel()
        order = np.argsort(flat)
        return flat[order], order % depth

    def subsampled(self, subsets: IntArray) -> SubsampledKernel:
        """Return this model restricted to each subset; kept until another array of subsets is asked for.

        Parameters
        ----------
        subsets : ndarray of shape (s, m)
            Rows of each subset, all distinct; halves from :func:`~consilience.metrics.draw_halves`.

        Raises
        ------
        ValueError
            A subset has too few rows for its own number of neighbours.
        """
        last = self._last_subsampled
        if last is None or last.subsets is not subsets:
            last = self._last_subsampled = _subsample(self, subsets)
        return last

    def at(self, k: int) -> NeighborKernel:
        """Return the same lists for another number of neighbours, at most their depth.

        Raises
        ------
        ValueError
            The lists are shorter than `k`.
        """
        if k == self.k:
            return self
        if check_k(k, len(self)) > self.neighbors.depth:
            raise ValueError(f"k: lists hold {self.neighbors.depth} neighbours, found k={k}")
        other = copy(self)
        for name in ("kernel_values", "raw_values", "columns", "edges", "self_term"):
            other.__dict__.pop(name, None)
        other.k, other._last_subsampled = k, None
        return other

    def deepened(self, depth: int) -> NeighborKernel:
        """Return the same model with longer lists."""
        return NeighborKernel(self.source, self.k, depth)

    def shifts(self, subsets: IntArray) -> FloatArray:
        """Mean of each row of the centred kernel over the columns of each subset, (s, n)."""
        means = [(self.source.x[rows].astype(np.float64) - self.source.mean).mean(axis=0) for rows in subsets]
        return self.source.products_with(np.stack(means))


@dataclass(frozen=True, eq=False)
class SubsampledKernel:
    """One model restricted to subsets of its items, everything as if it had been computed on each subset.

    Attributes
    ----------
    subsets : ndarray of shape (s, m)
        Rows of each subset.
    kernel : NeighborKernel
        The whole model, its lists deep enough that none runs short in a subset.
    k : int
        Neighbours within a subset, ``round(k m / n)``.
    edges : ndarray of shape (s, m k), int32 or int64
        Flat positions ``i n + j`` of the neighbours that survive.
    values : ndarray of shape (s, m k)
        Kernel there, centred over the columns of the subset.
    cutoffs : ndarray of shape (s, m)
        Place in the whole list of each item's last surviving neighbour.
    shifts : ndarray of shape (s, n)
        What the subset's own centring subtracts from the kernel of the whole.
    self_terms : ndarray of shape (s,)
        ``Align(K, K)`` within each subset.
    """

    subsets: IntArray
    kernel: NeighborKernel
    k: int
    edges: npt.NDArray[Any]
    values: FloatArray
    cutoffs: npt.NDArray[Any]
    shifts: FloatArray
    self_terms: FloatArray


def _subsample(kernel: NeighborKernel, subsets: IntArray) -> SubsampledKernel:
    n = len(kernel)
    count, m = subsets.shape
    k = max(1, round(kernel.k * m / n))
    if m <= k:
        raise ValueError(f"subsets: {k} neighbours need more than {k} rows per subset, found {m}")
    shifts = kernel.shifts(subsets)
    edges = np.empty((count, m * k), dtype=np.int32 if n * n < 2**31 else np.int64)
    values = np.empty((count, m * k))
    cutoffs = np.empty((count, m), dtype=np.min_scalar_type(n))
    member = np.zeros(n, dtype=bool)
    for s, rows in enumerate(subsets):
        lists = kernel.neighbors.indices[rows]
        member[:] = False
        member[rows] = True
        survives = member[lists]
        places = np.cumsum(survives, axis=1, dtype=np.int32)
        if int(places[:, -1].min()) < k:
            return _subsample(kernel.deepened(min(2 * kernel.neighbors.depth, n - 1)), subsets)
        item, place = np.nonzero(survives & (places <= k))  # k of them in every row, nearest first
        edges[s] = rows[item] * n + lists[item, place]
        values[s] = kernel.neighbors.values[rows[item], place] - shifts[s, rows[item]]
        cutoffs[s] = place.reshape(m, k)[:, -1]
    self_terms = np.einsum("se,se->s", values, values)
    return SubsampledKernel(subsets, kernel, k, edges, values, cutoffs, shifts, self_terms)
