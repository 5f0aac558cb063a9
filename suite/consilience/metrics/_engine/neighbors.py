"""Exact k-nearest lists: made once per model, used in every pair."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .arrays import TIE_TOLERANCE, FloatArray, IntArray, check_choice, check_k
from .engine import PROCESSOR, Engine
from .row_source import Source
from .tiles import row_reader

Similarity = Literal["inner_product", "euclidean"]

#: Up to this many items all inner products are made in float64; beyond it, candidates come from float32.
SMALL = 1024
#: Longer lists come from float64, too: sorting candidates would cost more than it saves.
LONG = 256
#: Candidates beyond the neighbours asked for: what float32 may have put in the wrong order.
SPARE = 8
_TILE = 1024
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

    Candidates come from matrix products in float32, each tile of them used for its rows and for its columns;
    their values are recomputed in float64. Where the float32 rounding bound leaves it open whether an item
    was missed, the item's row is searched in float64.

    Parameters
    ----------
    x : array_like of shape (n, d)
        Embedding; a memory-mapped float32 or float64 array is read in blocks.
    k : int
        Length of each list, below n.
    similarity : {"inner_product", "euclidean"}
        Largest inner product (of CKNNA and of mutual kNN) or smallest Euclidean distance.

    Returns
    -------
    Neighbors
        Ties keep the lower index. Inner products within 2^-42 of ``|x_i| max_j |x_j - mean|`` are ties, and
        so are squared distances that differ by a share of 2^-42.

    Raises
    ------
    ValueError
        `x` is no embedding (see :func:`~consilience.metrics._engine.arrays.as_embedding`), or k >= n.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import neighbors
    >>> x = np.array([[0.0], [1.0], [3.0]])
    >>> neighbors(x, 2, similarity="euclidean").indices
    array([[1, 2],
           [0, 2],
           [1, 0]], dtype=int32)
    """
    check_choice(similarity, get_args(Similarity), "similarity")
    source = Source(x, "x")
    check_k(k, len(source))
    by_product = similarity == "inner_product"
    inner, euclidean = search(source, inner_product=k * by_product, euclidean=k * (not by_product))
    lists = inner if by_product else euclidean
    assert lists is not None
    return lists


def search(
    source: Source, *, inner_product: int = 0, euclidean: int = 0, small: int = SMALL, engine: Engine = PROCESSOR
) -> tuple[Neighbors | None, Neighbors | None]:
    """Find nearest neighbours of one or both similarities from the same matrix products.

    Parameters
    ----------
    source : Source
        Embedding.
    inner_product, euclidean : int
        Length of the lists of each similarity, below n; 0: none.
    small : int
        Up to this many items everything is done in float64.
    engine : Engine
        Where candidates are computed; what is done in float64 is done by the processor.

    Returns
    -------
    inner, euclidean : Neighbors or None
    """
    n = len(source)
    searches = [_Search(source, "inner_product", inner_product), _Search(source, "euclidean", euclidean)]
    quick = [one for one in searches if 0 < one.k <= min(LONG, n - 2 - SPARE) and n > small]
    _search_tiles(source, quick, engine)
    for one in searches:
        if one.k and one not in quick:
            one.search_rows(np.arange(n))
    first, second = (one.lists() if one.k else None for one in searches)
    return first, second


class _Search:
    """Search for the lists of one similarity. Keys are larger for nearer items."""

    def __init__(self, source: Source, similarity: Similarity, k: int) -> None:
        self.source, self.similarity, self.k = source, similarity, k
        n = len(source)
        self.indices = np.empty((n, k), dtype=np.int32)
        self.values = np.empty((n, k))
        if not k:
            return
        self.euclidean = similarity == "euclidean"
        if self.euclidean:
            self.tolerance, self.relative = np.zeros(n), TIE_TOLERANCE
        else:
            self.tolerance = TIE_TOLERANCE * source.lengths * np.sqrt(source.squares.max()) / source.factors[0]
            self.relative = 0.0

    def lists(self) -> Neighbors:
        """Return the finished lists."""
        values = self.values
        if self.euclidean:
            values = np.sqrt(np.maximum(-values, 0.0)) / self.source.factors[0]
        return Neighbors(self.indices, values, self.similarity)

    def search_rows(self, rows: IntArray) -> None:
        """Search the given rows in float64, block by block."""
        source, n = self.source, len(self.source)
        for block in np.array_split(rows, max(1, ceil(8 * n * len(rows) / _BLOCK_BYTES))):
            keys = source.squared_distances(block) if self.euclidean else -source.inner_products(block)
            keys[np.arange(len(block)), block] = np.inf
            chosen = smallest(keys, self.k, self.tolerance[block], self.relative)
            self.indices[block] = chosen
            self.values[block] = -np.take_along_axis(keys, chosen, axis=1)

    def refine(self, x: npt.NDArray[Any], candidates: npt.NDArray[np.int32], cutoffs: FloatArray) -> None:
        """Recompute candidates in float64 and search the rows where one may be missing again.

        `cutoffs` (n,): no item that is not among the candidates has a larger key.
        """
        from . import compiled

        keys = np.empty(candidates.shape)
        if self.euclidean:
            compiled.exact_squared_distances(x, self.source.factors, candidates, keys)
        else:
            compiled.exact_inner_products(x, self.source.mean, candidates, keys)
        last = np.empty(len(keys))
        compiled.order_candidates(keys, candidates, self.tolerance, self.relative, self.k, last)
        self.indices[:] = candidates[:, : self.k]
        self.values[:] = keys[:, : self.k]
        # minus infinity: a tie goes on beyond the candidates
        allowed = self.tolerance + self.relative * np.where(np.isinf(last), 0.0, np.abs(last))
        self.search_rows(np.flatnonzero(last - allowed <= cutoffs))


def _search_tiles(source: Source, searches: list[_Search], engine: Engine) -> None:
    if not searches:
        return
    n, d = source.x.shape
    squares = source.squares
    # x_i . (x_j - mean) ~ c_i . c_j + mean . c_j: the same products serve both similarities
    biases = {"inner_product": source.rows(slice(None), np.float64) @ (source.mean * source.factors)}
    biases["euclidean"] = -0.5 * squares
    largest = np.sqrt(squares.max())
    heaps = []
    for one in searches:
        length = one.k + SPARE
        heaps.append(
            (
                biases[one.similarity].astype(np.float32),
                np.full(n, -np.inf, dtype=np.float32),
                np.full((n, length), -np.inf, dtype=np.float32),
                np.zeros((n, length), dtype=np.int32),
            )
        )
    with engine.lock():
        here = [tuple(map(engine.to_device, heap)) for heap in heaps]
        read, step = row_reader([source], engine, free_bytes=inf), _TILE * engine.scale
        buffer = engine.buffer(step * step)
        for start in range(0, n, step):
            first = read(0, slice(start, start + step))
            for other in range(start, n, step):
                second = first if other == start else read(0, slice(other, other + step))
                products = buffer[: len(first) * len(second)].reshape(len(first), len(second))
                engine.multiply(first, second, products)
                for heap in here:
                    engine.keep_largest(products, start, other, *heap)
        results = [(engine.to_numpy(cutoffs), engine.to_numpy(indices)) for _, cutoffs, _, indices in here]
    for one, (bias, *_), (cutoffs, indices) in zip(searches, heaps, results, strict=True):
        # worst-case rounding of a float32 inner product, its inputs and its bias (Higham 2002, section 3.1)
        unit = 2.0**-24
        error = (d + 4) * unit * np.sqrt(squares) * largest + 4 * unit * np.abs(bias).max()
        keys = cutoffs + error
        # for distances c_i . c_j - |c_j|^2 / 2, from which follows minus the squared distance
        one.refine(source.x, indices, 2 * keys - squares if one.euclidean else keys / source.factors[0] ** 2)


def smallest(keys: FloatArray, k: int, tolerance: FloatArray, relative: float = 0.0) -> IntArray:
    """Return the columns of the `k` smallest entries of each row, (m, k).

    Entries whose gap in sorted order is at most the row's `tolerance` plus `relative` times the entry are ties,
    and ties keep the lower index. Entries never chosen are set to infinity by the caller (at least k are finite).
    """
    n = keys.shape[1]
    spare = min(n, k + SPARE)
    order = _ascending(keys, spare)
    result, complete = _tie_groups(keys, order, k, tolerance, relative)
    # a tie that reaches the end of the spare entries may go on beyond them
    for row in np.flatnonzero(~complete) if spare < n else ():
        one = keys[row : row + 1]
        result[row] = _tie_groups(one, _ascending(one, n), k, tolerance[row : row + 1], relative)[0]
    return result


def _ascending(keys: FloatArray, count: int) -> IntArray:
    """Columns of the `count` smallest entries of each row, ascending."""
    if count == keys.shape[1]:
        return np.argsort(keys, axis=1)
    part = np.argpartition(keys, count - 1, axis=1)[:, :count]
    return np.take_along_axis(part, np.argsort(np.take_along_axis(keys, part, axis=1), axis=1), axis=1)


def _tie_groups(
    keys: FloatArray, order: IntArray, k: int, tolerance: FloatArray, relative: float
) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Reorder ties by index; also say of each row whether the tie at place k ends within `order`."""
    ascending = np.take_along_axis(keys, order, axis=1)
    with np.errstate(invalid="ignore"):  # infinity minus infinity: excluded entries, never among the first k
        apart = np.diff(ascending, axis=1) > tolerance[:, None] + relative * np.abs(ascending[:, :-1])
    group = np.concatenate([np.zeros((len(order), 1), dtype=np.intp), np.cumsum(apart, axis=1)], axis=1)
    chosen = np.sort(group * keys.shape[1] + order, axis=1)[:, :k] % keys.shape[1]
    return chosen, group[:, -1] > group[:, k - 1]
