"""Exact k-nearest lists: made once per model, used in every pair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from .arrays import (
    FloatArray,
    IntArray,
    as_embedding,
    centered_columns,
    check_choice,
    check_k,
    symmetric_distances,
)

Similarity = Literal["inner_product", "euclidean"]

#: Inner products closer than this fraction of the largest possible one in a row are ties: matrix products
#: round at about 1e-15, differently for each library and each order of the rows.
TIE_TOLERANCE = 2.0**-42
_BLOCK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest items of each item, nearest first, the item itself left out.

    Attributes
    ----------
    indices : ndarray of shape (n, depth), int32
        Row numbers of the neighbours.
    values : ndarray of shape (n, depth), float64
        Similarity (``"inner_product"``) or distance (``"euclidean"``) to each of them. Inner products are
        those with the column-centred rows, ``x_i . (x_j - mean)``: the same order within a list as
        ``x_i . x_j``, without its loss of digits under an offset.
    similarity : {"inner_product", "euclidean"}
        What nearest means.
    """

    indices: npt.NDArray[np.int32] = field(repr=False)
    values: FloatArray = field(repr=False)
    similarity: Similarity

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.values.shape:
            raise ValueError(
                f"indices and values: expected one shape (n, depth), found {self.indices.shape} and {self.values.shape}"
            )
        self.indices.flags.writeable = False
        self.values.flags.writeable = False

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def depth(self) -> int:
        """Number of neighbours kept per item."""
        return int(self.indices.shape[1])

    def nearest(self, k: int) -> npt.NDArray[np.int32]:
        """Return the `k` nearest of each item, (n, k).

        Raises
        ------
        ValueError
            The lists are shorter than `k`.
        """
        if check_k(k, len(self)) > self.depth:
            raise ValueError(f"k: lists hold {self.depth} neighbours, found k={k}")
        return self.indices[:, :k]


def neighbors(x: npt.ArrayLike, k: int, *, similarity: Similarity = "inner_product") -> Neighbors:
    """Find the `k` nearest items of each item, exactly.

    Parameters
    ----------
    x : array_like of shape (n, d)
        Embedding.
    k : int
        Length of each list, below n.
    similarity : {"inner_product", "euclidean"}
        Largest inner product (of CKNNA and of mutual kNN) or smallest Euclidean distance.

    Returns
    -------
    Neighbors
        Ties keep the lower index. For inner products, values within 2^-42 of ``|x_i| max_j |x_j - mean|``
        are ties; for distances, only equal values are.

    Raises
    ------
    ValueError
        `x` is no embedding (see :func:`~consilience.metrics.arrays.as_embedding`), or k >= n.
    """
    check_choice(similarity, get_args(Similarity), "similarity")
    x = as_embedding(x, "x")
    k = check_k(k, len(x))
    if similarity == "inner_product":
        indices, values = largest_inner_products(x, centered_columns(x), k)
    else:
        keys = symmetric_distances(x)
        np.fill_diagonal(keys, np.inf)
        indices = smallest(keys, k)
        values = np.sqrt(np.take_along_axis(keys, indices, axis=1))
    return Neighbors(indices.astype(np.int32), values, similarity)


def largest_inner_products(x: FloatArray, centered: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Return indices and values, both (n, k), of the largest ``x_i . centered_j``, j != i, row by row."""
    n = len(x)
    scale = np.linalg.norm(x, axis=1) * np.linalg.norm(centered, axis=1).max()
    indices = np.empty((n, k), dtype=np.intp)
    values = np.empty((n, k))
    for start in range(0, n, step := max(1, _BLOCK_BYTES // (8 * n))):
        rows = slice(start, min(start + step, n))
        keys = x[rows] @ centered.T
        np.negative(keys, out=keys)
        own = np.arange(rows.start, rows.stop)
        keys[own - start, own] = np.inf
        indices[rows] = smallest(keys, k, TIE_TOLERANCE * scale[rows])
        values[rows] = -np.take_along_axis(keys, indices[rows], axis=1)
    return indices, values


def smallest(keys: FloatArray, k: int, tolerance: FloatArray | None = None) -> IntArray:
    """Return the columns of the `k` smallest entries of each row, (m, k).

    Entries whose gap in sorted order is at most the row's `tolerance` (none: 0) are ties, and ties keep the
    lower index. Entries never chosen are set to infinity by the caller (at least k are finite).
    """
    m, n = keys.shape
    allowed = np.zeros(m) if tolerance is None else tolerance
    spare = min(n, k + 8)
    order = _ascending(keys, spare)
    result, complete = _tie_groups(keys, order, k, allowed)
    # a tie that reaches the end of the spare entries may go on beyond them
    for row in np.flatnonzero(~complete) if spare < n else ():
        one = keys[row : row + 1]
        result[row] = _tie_groups(one, _ascending(one, n), k, allowed[row : row + 1])[0]
    return result


def _ascending(keys: FloatArray, count: int) -> IntArray:
    """Columns of the `count` smallest entries of each row, ascending."""
    if count == keys.shape[1]:
        return np.argsort(keys, axis=1)
    part = np.argpartition(keys, count - 1, axis=1)[:, :count]
    return np.take_along_axis(part, np.argsort(np.take_along_axis(keys, part, axis=1), axis=1), axis=1)


def _tie_groups(
    keys: FloatArray, order: IntArray, k: int, tolerance: FloatArray
) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Reorder ties by index; also say of each row whether the tie at place k ends within `order`."""
    ascending = np.take_along_axis(keys, order, axis=1)
    with np.errstate(invalid="ignore"):  # infinity minus infinity: excluded entries, never among the first k
        apart = np.diff(ascending, axis=1) > tolerance[:, None]
    group = np.concatenate([np.zeros((len(order), 1), dtype=np.intp), np.cumsum(apart, axis=1)], axis=1)
    chosen = np.sort(group * keys.shape[1] + order, axis=1)[:, :k] % keys.shape[1]
    return chosen, group[:, -1] > group[:, k - 1]
