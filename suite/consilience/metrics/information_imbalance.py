"""Information imbalance: how well the neighbours in one embedding predict the ranks in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ._engine.arrays import (
    TIE_TOLERANCE,
    FloatArray,
    IntArray,
    as_pair,
    check_k,
    rows_equal,
    symmetric_distances,
    warn_undefined,
)
from ._engine.collection import Collection
from ._engine.neighbors import Neighbors
from ._engine.row_source import Source
from ._engine.tiles import Consumer, Tile, TilePosition, run
from .card import MetricCard, metric
from .matrices import is_large, score_pair
from .pairs import Null, Pairwise, check_dense, pairwise

#: Beyond this many nearest neighbours at the same distance a sample of them stands for all.
MAX_TIE = 32
_SPARE = 4


@metric(
    MetricCard(
        name="information_imbalance",
        title="II",
        inputs="pair",
        higher_is_more_alike=False,
        symmetric=False,
        invariances=("orthogonal", "isotropic_scaling", "translation", "permutation"),
        reference="Glielmo et al. 2022, PNAS Nexus 1, pgac039",
    )
)
def information_imbalance(x: npt.ArrayLike, y: npt.ArrayLike, *, k: int = 1) -> tuple[float, float]:
    """Mean rank in one embedding of the nearest neighbours in the other, both ways.

    From `x` to `y`: ``2 / n`` times the mean, over items i and the k nearest neighbours j of i in `x`, of the
    rank of j among all neighbours of i in `y` (the nearest has rank 1).

    Parameters
    ----------
    x, y : array_like of shape (n, d_x) and (n, d_y)
        Embeddings of the same items; neighbours by Euclidean distance.
    k : int
        Neighbours of each item.

    Returns
    -------
    x_to_y, y_to_x : float
        (k + 1)/n if the first embedding determines the neighbourhoods of the second, about 1 if the two are
        independent. Lower is more alike. Equal distances (to a share of 2^-42) share their mean
        rank, and where they make the nearest neighbours ambiguous the mean over all choices is returned. Both
        ``nan``, with a :class:`DegenerateInputWarning`, when all rows of one embedding are equal.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, or n <= k.

    References
    ----------
    A. Glielmo, C. Zeni, B. Cheng, G. Csanyi, A. Laio, PNAS Nexus 1, pgac039 (2022), equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import information_imbalance
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> x_to_y, y_to_x = information_imbalance(x, y)
    >>> round(x_to_y, 2), round(y_to_x, 2)
    (0.19, 0.33)
    """
    if is_large(x, y):
        check_k(k, len(np.asarray(x)))
        return score_pair("information_imbalance", x, y, k)
    x, y = as_pair(x, y)
    check_k(k, len(x))
    return _score(_neighborhoods(x, k), _neighborhoods(y, k))


@dataclass(frozen=True, eq=False)
class _Neighborhoods:
    """Ranks (n, n) of all items around each, and the chance of each to be among the k nearest (sparse)."""

    ranks: npt.NDArray[np.float32]  # multiples of 1/2, exact up to n = 2^23
    rows: IntArray
    columns: IntArray
    weights: FloatArray
    k: int
    distinct: bool


def _neighborhoods(x: FloatArray, k: int = 1) -> _Neighborhoods:
    distances = symmetric_distances(x)
    np.fill_diagonal(distances, -1.0)  # the item itself comes first, also before its duplicates: rank 0
    ranks = _mid_ranks(distances)
    np.fill_diagonal(distances, np.inf)
    boundary = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    tied = np.abs(distances - boundary) <= TIE_TOLERANCE * boundary
    closer = (distances < boundary) & ~tied
    share = (k - closer.sum(axis=1)) / tied.sum(axis=1)
    weights = closer + tied * share[:, None]
    rows, columns = np.nonzero(weights)
    return _Neighborhoods(ranks.astype(np.float32), rows, columns, weights[rows, columns], k, not rows_equal(x))


def _mid_ranks(distances: FloatArray) -> FloatArray:
    """Ranks from 0 in each row, (n, n); distances that differ by a share of 2^-42 share their mean rank."""
    n = len(distances)
    order = np.argsort(distances, axis=1)
    ascending = np.take_along_axis(distances, order, axis=1)
    apart = np.ones((n, n), dtype=np.bool_)
    apart[:, 1:] = np.diff(ascending, axis=1) > TIE_TOLERANCE * np.abs(ascending[:, 1:])
    starts = np.flatnonzero(apart)  # of groups of ties, none of which goes on in the next row
    lengths = np.diff(np.append(starts, n * n))
    middle = np.repeat(starts % n + (lengths - 1) / 2, lengths)
    ranks = np.empty_like(distances)
    np.put_along_axis(ranks, order, middle.reshape(n, n), axis=1)
    return ranks


def _imbalance(a: _Neighborhoods, ranks: npt.NDArray[np.float32]) -> float:
    return float(2.0 * (a.weights @ ranks) / (a.k * len(a.ranks) ** 2))


def _score(a: _Neighborhoods, b: _Neighborhoods) -> tuple[float, float]:
    if not (a.distinct and b.distinct):
        warn_undefined("information imbalance", "all rows of an embedding are equal")
        return float("nan"), float("nan")
    return _imbalance(a, b.ranks[a.rows, a.columns]), _imbalance(b, a.ranks[b.rows, b.columns])


def _permuted(a: _Neighborhoods, b: _Neighborhoods, permutation: IntArray) -> float:
    return _imbalance(a, b.ranks[permutation[a.rows], permutation[a.columns]])


class _Imbalances(Consumer):
    """Information imbalances of all pairs: the ranks of each model's nearest neighbours in every other model."""

    def __init__(self, collection: Collection, k: int) -> None:
        self.k = k
        self.threads, self.engine = collection.threads, collection.engine
        lists = collection.euclidean
        self.groups = [_nearest_groups(s, near, k) for s, near in zip(collection.sources, lists, strict=True)]

    def begin(self, sources: Sequence[Source], scratch_size: int) -> None:
        """Look up the distances, in every model, of all nearest neighbours."""
        self.sources, n = sources, len(sources[0])
        self.targets, self.owners, self.weights = _by_item(self.groups, n)
        del self.groups
        self.thresholds = np.empty((len(sources), *self.targets.shape), dtype=self.engine.threshold_type)
        self.bands = np.empty((len(sources), n), dtype=np.float32)
        self.sums = np.zeros((len(sources), len(sources)))
        self.lock = Lock()

        def look_up(model: int, scratch: dict[str, Any]) -> None:
            source = sources[model]
            self.engine.near_squared_distances(source, self.targets, self.thresholds[model])
            lengths = np.sqrt(source.squares)
            error = self.engine.rounding(source.x.shape[1]) * lengths * lengths.max()
            self.bands[model] = 2.0**-24 * (2 * error + 4 * (source.squares + source.squares.max()))

        run(look_up, range(len(sources)), threads=self.engine.workers(self.threads))

    def distances(self, model: int, tile: Tile, place: TilePosition, scratch: dict[str, Any]) -> None:
        """Count how many items are nearer than each nearest neighbour of the other models."""
        engine, source = self.engine, self.sources[model]
        if place.diagonal:
            tile = engine.copy(tile)
            engine.fill_diagonal(tile, np.inf)
        sums = engine.zeros((len(self.sources),), np.float64)
        ranking = (self.thresholds[model], self.targets, self.owners, self.weights, self.bands[model])
        engine.add_ranks(tile, place.rows, place.columns, ranking, source, sums)
        if not place.diagonal:
            engine.add_ranks(engine.transpose(tile), place.columns, place.rows, ranking, source, sums)
        with self.lock:
            self.sums[:, model] += engine.to_numpy(sums)

    def imbalances(self) -> FloatArray:
        """Return the imbalances, row to column, (M, M)."""
        n = self.thresholds.shape[1]
        result: FloatArray = 2 * (self.sums + n * self.k) / (n * n * self.k)
        return result


def _nearest_groups(source: Source, lists: Neighbors, k: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Items, their k nearest neighbours, and the chance of each to be one of the k where distances tie."""
    n = len(source)
    squared = np.square(lists.values * source.factors[0])
    boundary = squared[:, k - 1 : k]
    chosen = squared <= boundary * (1 + TIE_TOLERANCE)
    items, places = np.nonzero(chosen)
    neighbors = lists.indices[items, places].astype(np.intp)
    tied = np.abs(squared - boundary) <= boundary * TIE_TOLERANCE
    certain = (chosen & ~tied).sum(axis=1)
    share = (k - certain) / tied.sum(axis=1)
    weights = np.where(tied[items, places], share[items], 1.0)
    open_end = np.flatnonzero(chosen[:, -1]) if lists.depth < n - 1 else np.empty(0, dtype=np.intp)
    if len(open_end) == 0:
        return items, neighbors, weights
    certain = ~np.isin(items, open_end)
    parts = [(items[certain], neighbors[certain], weights[certain])]
    random = np.random.default_rng(0)
    for block in np.array_split(open_end, max(1, len(open_end) * n // 2**22)):
        for i, row in zip(block, source.squared_distances(block), strict=True):
            row[i] = np.inf
            edge = np.partition(row, k - 1)[k - 1]
            closer = np.flatnonzero(row < edge * (1 - TIE_TOLERANCE))
            equal = np.flatnonzero(np.abs(row - edge) <= edge * TIE_TOLERANCE)
            drawn = equal if len(equal) <= MAX_TIE else random.choice(equal, MAX_TIE, replace=False)
            weight = np.append(np.ones(len(closer)), np.full(len(drawn), (k - len(closer)) / len(drawn)))
            parts.append((np.full(len(weight), i), np.append(closer, drawn), weight))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def _by_item(groups: Sequence[tuple[IntArray, IntArray, FloatArray]], n: int) -> tuple[Any, Any, Any]:
    """Set the neighbours of all models side by side: targets, owning models and weights, (n, L) each."""
    items = np.concatenate([group[0] for group in groups])
    order = np.argsort(items, kind="stable")
    items = items[order]
    counts = np.bincount(items, minlength=n)
    places = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)
    targets = np.full((n, counts.max()), -1, dtype=np.int32)
    owners = np.zeros(targets.shape, dtype=np.int16)
    weights = np.zeros(targets.shape)
    targets[items, places] = np.concatenate([group[1] for group in groups])[order]
    owners[items, places] = np.repeat(np.arange(len(groups)), [len(group[0]) for group in groups])[order]
    weights[items, places] = np.concatenate([group[2] for group in groups])[order]
    return targets, owners, weights


def _null(collection: Collection, k: int, permutations: IntArray) -> Null:
    """Imbalances of all pairs under each permutation, from the ranks of all models."""
    from ._engine import compiled

    n, models = len(collection), len(collection.sources)
    check_dense("information imbalance", 4 * models * n * n)
    ranks = np.empty((models, n, n), dtype=np.uint32)
    hoods: list[_Neighborhoods | None] = [None] * models

    def one_model(model: int, scratch: dict[str, Any]) -> None:
        hood = _neighborhoods(collection.sources[model].x.astype(np.float64), k)
        ranks[model] = 2 * hood.ranks  # mid-ranks are halves
        hoods[model] = replace(hood, ranks=np.empty((0, 0), dtype=np.float32))

    collection.run("ranks", one_model, range(models))
    every = [hood for hood in hoods if hood is not None]
    rows, columns, weights = (np.concatenate([getattr(h, f) for h in every]) for f in ("rows", "columns", "weights"))
    starts = np.append(0, np.cumsum([len(hood.rows) for hood in every]))
    sums = np.full((len(permutations), models, models), np.nan)

    def one(draw: int, scratch: dict[str, Any]) -> None:
        compiled.mean_ranks(ranks, rows, columns, weights, starts, permutations[draw], sums[draw])

    collection.run("null of information imbalance", one, range(len(permutations)))
    return Null(2 * sums / (n * n * k))


pairwise(
    "information_imbalance",
    Pairwise(
        state=_neighborhoods,
        score=_score,
        relabelled=_permuted,
        neighbors=1,
        best=lambda n, k: (k + 1) / n,
        depths=lambda k, n: (0, min(k + _SPARE, n - 1)),
        consumer=_Imbalances,
        null=_null,
        read=_Imbalances.imbalances,
    ),
)
