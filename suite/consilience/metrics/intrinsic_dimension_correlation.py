"""Intrinsic-dimension correlation (I_dCor): dimension saved by describing two embeddings together."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ._engine.arrays import (
    FloatArray,
    IntArray,
    as_pair,
    centered_columns,
    constant_columns,
    symmetric_distances,
    undefined,
    warn_undefined,
)
from ._engine.collection import Collection
from ._engine.engine import Array
from ._engine.row_source import Source
from ._engine.tiles import row_reader, run, thread_count
from .card import MetricCard, metric
from .intrinsic_dimension import two_nn, two_nn_fit
from .matrices import is_large, score_pair
from .pairs import Null, Pairwise, pairwise

#: Sides of a tile: the row of one item in all models stays in the processor's second cache.
_ROWS, _COLUMNS = 128, 1024
#: Squared distances below this share of the squared norms are computed from differences.
_DOUBTFUL = 1e-2
#: Items whose joint neighbours a permutation null looks for, and permutations at the observed value that decide.
_ANCHORS, _DECIDED = 128, 10


@overload
def intrinsic_dimension_correlation(
    x: npt.ArrayLike, y: npt.ArrayLike, *, permutations: None = None, seed: int = 0
) -> float: ...
@overload
def intrinsic_dimension_correlation(
    x: npt.ArrayLike, y: npt.ArrayLike, *, permutations: int, seed: int = 0
) -> tuple[float, float]: ...
@metric(
    MetricCard(
        name="intrinsic_dimension_correlation",
        title="I_dCor",
        inputs="pair",
        higher_is_more_alike=True,
        symmetric=True,
        invariances=("isotropic_scaling", "translation", "permutation"),
        reference="Basile et al. 2024, arXiv:2406.15812",
    )
)
def intrinsic_dimension_correlation(
    x: npt.ArrayLike, y: npt.ArrayLike, *, permutations: int | None = None, seed: int = 0
) -> float | tuple[float, float]:
    """Relative saving ``(d_x + d_y - d_xy) / max(d_x, d_y)`` of intrinsic dimension.

    Columns are z-scored (ddof=1, 1e-9 added to the deviation, constant columns zero) as the authors' code
    does since May 2025; d is the TwoNN estimate with fraction 0.9, and d_xy that of the columns of both
    together. Items with a duplicate or with equally near neighbours are left out of each estimate.

    Parameters
    ----------
    x, y : array_like of shape (n, d_x) and (n, d_y)
        Embeddings of the same items.
    permutations : int, optional
        Also return a p-value from this many random orders of the rows of `y`.
    seed : int
        Of the permutations.

    Returns
    -------
    value : float
        1 if each embedding determines the other; not clipped. For independent embeddings it is near 0 only
        when their dimension is low (0.5 for independent Gaussians of 128 columns, where TwoNN saturates), so
        read it with its p-value. ``nan``, with a :class:`DegenerateInputWarning`, when all rows of one
        embedding are equal or too few distinct distances are left.
    p_value : float
        Only with `permutations`: ``(1 + #{d_xy permuted <= d_xy}) / (1 + permutations)``.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, fewer than 3 rows, or `permutations` is below 1.

    References
    ----------
    L. Basile, S. Acevedo, L. Bortolussi, F. Anselmi, A. Rodriguez, "Intrinsic dimension correlation",
    arXiv:2406.15812, equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import intrinsic_dimension_correlation
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(500, 3))
    >>> y = x @ random.normal(size=(3, 4))
    >>> round(intrinsic_dimension_correlation(x, y), 1)
    1.0
    """
    if permutations is not None and permutations < 1:
        raise ValueError(f"permutations: expected at least 1, found {permutations}")
    if permutations is None and is_large(x, y):
        return score_pair("intrinsic_dimension_correlation", x, y)[0]
    x, y = as_pair(x, y, minimum=3)
    if undefined("I_dCor", x=x, y=y):
        return float("nan") if permutations is None else (float("nan"), float("nan"))
    a, b = _standardized_distances(x), _standardized_distances(y)
    value = _score(a, b)
    if permutations is None:
        return value
    if np.isnan(value):
        return value, float("nan")
    random = np.random.default_rng(seed)
    # the denominator does not change, so a lower joint dimension is a higher score
    null = [_permuted(a, b, random.permutation(len(x))) for _ in range(permutations)]
    return value, (1 + int(np.sum(np.asarray(null) >= value))) / (1 + permutations)


@dataclass(frozen=True, eq=False)
class _StandardizedDistances:
    """Squared distances (n, n) between z-scored rows, and their intrinsic dimension."""

    squared: FloatArray
    dimension: float


def _standardized_distances(x: FloatArray) -> _StandardizedDistances:
    centered = centered_columns(x)
    # rounding noise of a constant column with a large offset exceeds the 1e-9 that is meant to silence it
    centered[:, constant_columns(x)] = 0.0
    squared = symmetric_distances(centered / (centered.std(axis=0, ddof=1) + 1e-9))
    return _StandardizedDistances(squared, two_nn(squared))


def _score(a: _StandardizedDistances, b: _StandardizedDistances) -> float:
    value = _correlation(a, b, b.squared)
    if np.isnan(value):
        warn_undefined("I_dCor", "fewer than 3 items have two distinct, non-zero nearest distances")
    return value


def _permuted(a: _StandardizedDistances, b: _StandardizedDistances, permutation: IntArray) -> float:
    return _correlation(a, b, b.squared[np.ix_(permutation, permutation)])


def _correlation(a: _StandardizedDistances, b: _StandardizedDistances, squared: FloatArray) -> float:
    joint = two_nn(a.squared + squared)
    return float((a.dimension + b.dimension - joint) / max(a.dimension, b.dimension))


def joint_dimensions(
    left: Side,
    right: Side,
    pairs: npt.NDArray[np.int32],
    *,
    items: IntArray | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """TwoNN dimensions of pairs of models taken together, in tiles of float32 distances.

    Parameters
    ----------
    left, right : Side
        Standardized models of the same n items, `right` perhaps permuted; it may be `left`.
    pairs : ndarray of shape (P, 2)
        Model of `left` and model of `right`.
    items : ndarray, optional
        Items whose neighbours are looked for, among all; default: all.

    Returns
    -------
    ndarray of shape (P,)
        ``nan`` where fewer than 3 items have two distinct, non-zero nearest distances. A second distance
        within a factor 1 + 2^-20 of the first counts as equal.
    """
    n, engine = len(left), left.engine
    items = np.arange(n) if items is None else items
    share = -(-len(items) // thread_count(engine.workers(threads)))  # no thread without rows
    height, width = min(_ROWS * engine.scale, share), _COLUMNS * engine.scale
    log_ratios = np.empty((len(pairs), len(items)), dtype=np.float32)
    sides = [left] if right is left else [left, right]

    def work(part: slice, scratch: dict[str, Any]) -> None:
        if not scratch:
            scratch["stacks"] = [engine.buffer(len(side.squares), height * width) for side in sides]
        here = items[part]
        infinite = np.full((len(here), len(pairs)), np.inf, dtype=np.float32)
        smallest, second = engine.to_device(infinite), engine.to_device(infinite.copy())
        rows = [side.rows(here) for side in sides]
        for start in range(0, n, width):
            columns = slice(start, min(start + width, n))
            count = columns.stop - start
            meets = np.flatnonzero((here >= start) & (here < columns.stop))
            tiles = []
            for side, first, stack in zip(sides, rows, scratch["stacks"], strict=True):
                tile = stack[:, : len(here) * count].reshape(len(first), len(here), count)
                for m, (values, own) in enumerate(first):
                    others, theirs = side.model(m, columns)
                    engine.multiply(values, others, tile[m])
                    engine.to_squared_distances(tile[m], own, theirs, values, others, _DOUBTFUL)
                tile[:, engine.to_device(meets), engine.to_device(here[meets] - start)] = np.inf
                near = np.zeros((len(first), len(here), 2), dtype=np.int32)
                if start == 0:  # later columns have the bound of the earlier ones
                    engine.two_nearest(tile, near)
                tiles.append((tile, near))
            (first, first_near), (other, other_near) = tiles[0], tiles[-1]
            engine.joint_minima(first, other, pairs, first_near, other_near, smallest, second)
        with np.errstate(divide="ignore", invalid="ignore"):
            one, two = engine.to_numpy(smallest), engine.to_numpy(second)
            ratios = two.astype(np.float64) / one
            usable = (one > 0) & (ratios > 1 + 2.0**-20)
            log_ratios[:, part] = np.where(usable, 0.5 * np.log(ratios), np.nan).T

    parts = [slice(start, min(start + height, len(items))) for start in range(0, len(items), height)]
    run(work, parts, threads=engine.workers(threads), progress=progress, engine=engine)
    return np.array([two_nn_fit(ratios[~np.isnan(ratios)].astype(np.float64)) for ratios in log_ratios])


class Side:
    """Standardized models, their items perhaps permuted.

    Parameters
    ----------
    collection : Collection
        The models.
    """

    def __init__(self, collection: Collection) -> None:
        self.engine = collection.engine
        sources = [Source(source.x, source.name, standardize=True) for source in collection.sources]
        self.read = row_reader(sources, self.engine)
        self.squares = [self.engine.to_device(source.squares.astype(np.float32)) for source in sources]
        self.order: IntArray | None = None
        self.n = len(collection)

    def __len__(self) -> int:
        return self.n

    def permuted(self, order: IntArray) -> Side:
        """Return the same models with item ``order[i]``, (n,), in the place of item i."""
        other = copy(self)
        other.order = order
        return other

    def model(self, m: int, items: slice | IntArray) -> tuple[Array, Array]:
        """Return rows and their squared lengths."""
        place = items if self.order is None else self.order[items]
        return self.read(m, place), self.engine.take(self.squares[m], place)

    def rows(self, items: IntArray) -> list[tuple[Array, Array]]:
        """Return the same for all models."""
        return [self.model(m, items) for m in range(len(self.squares))]


def _matrix(collection: Collection, k: int) -> FloatArray:
    """I_dCor of all pairs of models."""
    models = Side(collection)
    pairs = _all_pairs(len(collection.sources))
    progress = collection.progress("I_dCor")
    return correlations(joint_dimensions(models, models, pairs, threads=collection.threads, progress=progress), pairs)


def _all_pairs(models: int) -> npt.NDArray[np.int32]:
    """Return all pairs of models, each with itself as well, (P, 2)."""
    return np.array([(a, b) for a in range(models) for b in range(a, models)], dtype=np.int32)


def correlations(dimensions: FloatArray, pairs: npt.NDArray[np.int32]) -> FloatArray:
    """Return I_dCor, (M, M), from the joint dimensions of all pairs; a model with itself has its own."""
    joint = np.empty((pairs.max() + 1,) * 2)
    joint[pairs[:, 0], pairs[:, 1]] = joint[pairs[:, 1], pairs[:, 0]] = dimensions
    own = joint.diagonal()
    result: FloatArray = (own[:, None] + own - joint) / np.maximum(own[:, None], own)
    return result


def _null(collection: Collection, k: int, permutations: IntArray) -> Null:
    """I_dCor of all pairs under each permutation, over anchor items, for as long as a pair is undecided.

    Notes
    -----
    The statistic is the I_dCor of the anchors' neighbour distances, observed and permuted alike, so the test is
    exact whatever the number of anchors; the dimension of m anchors has a relative standard error of about
    m^-1/2. A pair is decided once ten permutations reach its observed value (Besag and Clifford 1991).
    """
    models, threads = Side(collection), collection.threads
    n, count = len(collection), len(collection.sources)
    anchors = np.linspace(0, n - 1, min(_ANCHORS, n)).astype(np.intp)
    pairs = _all_pairs(count)
    own_pairs = pairs[:, 0] == pairs[:, 1]
    observed_joint = joint_dimensions(models, models, pairs, items=anchors, threads=threads)
    own, observed = observed_joint[own_pairs], correlations(observed_joint, pairs)
    undecided = pairs[~own_pairs]
    scores = np.full((len(permutations), count, count), np.nan)
    exceeded = np.zeros((count, count), dtype=np.intp)
    progress = collection.progress("null of I_dCor")
    for draw, order in enumerate(permutations):
        if len(undecided) == 0:
            break
        a, b = undecided.T
        joint = joint_dimensions(models, models.permuted(order), undecided, items=anchors, threads=threads)
        scores[draw, a, b] = (own[a] + own[b] - joint) / np.maximum(own[a], own[b])
        exceeded[a, b] += scores[draw, a, b] >= observed[a, b] - 1e-6 * np.abs(observed[a, b])
        undecided = undecided[exceeded[a, b] < _DECIDED]
        if progress is not None:
            progress(draw + 1, len(permutations))
    note = f"I_dCor over {len(anchors)} of {n} items as anchors, at most {len(permutations)} permutations per pair"
    return Null(scores, observed=observed, rounding=1e-6, note=f"{note}, fewer once {_DECIDED} reach the observed one")


pairwise(
    "intrinsic_dimension_correlation",
    Pairwise(state=_standardized_distances, score=_score, relabelled=_permuted, matrix=_matrix, null=_null),
)
