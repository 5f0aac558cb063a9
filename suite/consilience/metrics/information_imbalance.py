"""Information imbalance: how well the neighbours in one embedding predict the ranks in another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consilience.cards import MetricCard
from consilience.registry import metric

from .arrays import FloatArray, IntArray, as_pair, check_k, rows_equal, symmetric_distances, warn_undefined
from .pairs import Pairwise, pairwise


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
        (k + 1)/n if the first embedding holds all that the second knows about neighbourhoods, about 1 if it
        says nothing about them. Lower is more alike. Equal distances share their mean rank, and where they
        make the nearest neighbours ambiguous the mean over all choices is returned. Both ``nan``, with a
        :class:`DegenerateInputWarning`, when all rows of one embedding are equal.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, or n <= k.

    References
    ----------
    A. Glielmo, C. Zeni, B. Cheng, G. Csanyi, A. Laio, PNAS Nexus 1, pgac039 (2022), equation 3.
    """
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
    from scipy.stats import rankdata

    distances = symmetric_distances(x)
    np.fill_diagonal(distances, -1.0)  # the item itself comes first, also before its duplicates: rank 0
    ranks = rankdata(distances, method="average", axis=1) - 1.0
    np.fill_diagonal(distances, np.inf)
    boundary = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    closer = distances < boundary
    tied = distances == boundary
    share = (k - closer.sum(axis=1)) / tied.sum(axis=1)
    weights = closer + tied * share[:, None]
    rows, columns = np.nonzero(weights)
    return _Neighborhoods(ranks.astype(np.float32), rows, columns, weights[rows, columns], k, not rows_equal(x))


def _imbalance(a: _Neighborhoods, ranks: npt.NDArray[np.float32]) -> float:
    return float(2.0 * (a.weights @ ranks) / (a.k * len(a.ranks) ** 2))


def _score(a: _Neighborhoods, b: _Neighborhoods) -> tuple[float, float]:
    if not (a.distinct and b.distinct):
        warn_undefined("information imbalance", "all rows of an embedding are equal")
        return float("nan"), float("nan")
    return _imbalance(a, b.ranks[a.rows, a.columns]), _imbalance(b, a.ranks[b.rows, b.columns])


def _relabelled(a: _Neighborhoods, b: _Neighborhoods, permutation: IntArray) -> float:
    return _imbalance(a, b.ranks[permutation[a.rows], permutation[a.columns]])


pairwise(
    "information_imbalance",
    Pairwise(
        state=_neighborhoods,
        score=_score,
        relabelled=_relabelled,
        neighbors=1,
        best=lambda n, k: (k + 1) / n,
    ),
)
