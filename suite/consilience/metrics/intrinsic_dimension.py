"""Intrinsic dimension from the distances to near neighbours."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ._engine.arrays import FloatArray, check_choice, check_k
from ._engine.collection import Collection
from ._engine.neighbors import search
from ._engine.row_source import Source
from .card import MetricCard, metric
from .pairs import Single, single

Estimator = Literal["two_nn", "mle"]


@metric(
    MetricCard(
        name="intrinsic_dimension",
        title="intrinsic dimension",
        inputs="single",
        higher_is_more_alike=None,
        invariances=("orthogonal", "isotropic_scaling", "translation", "permutation"),
        reference="Facco et al. 2017, Sci. Rep. 7, 12140; Levina & Bickel 2004, NIPS 17",
    )
)
def intrinsic_dimension(
    x: npt.ArrayLike, *, estimator: Estimator = "two_nn", fraction: float = 0.9, k: int = 50
) -> float:
    """Estimate the number of directions in which an embedding varies locally.

    Parameters
    ----------
    x : array_like of shape (n, d)
        Embedding.
    estimator : {"two_nn", "mle"}
        ``"two_nn"``: slope, through the origin, of -log(1 - F) on log(r2 / r1) over the lowest `fraction` of
        the ratios, F the share of ratios up to each. ``"mle"``: arithmetic mean over items of the local
        maximum-likelihood estimates from `k` neighbours with 1/(k-1), as the authors of I_dCor compute it
        (the harmonic mean is about 3 % lower at k=50).
    fraction : float
        Of ``"two_nn"``: share of the ratios that is fitted, 0 < fraction <= 1.
    k : int
        Of ``"mle"``: neighbours of each item, 2 <= k < n.

    Returns
    -------
    float
        Dimension, above 0. ``"two_nn"`` leaves out items with a duplicate and items whose two nearest
        neighbours are equally far; ``"mle"`` items with a duplicate or with k neighbours equally far.

    Raises
    ------
    ValueError
        `x` is no embedding or has too few rows; all rows are equal; an option is out of range; or fewer
        than 3 items (``"mle"``: 1) are left.

    References
    ----------
    E. Facco et al., Sci. Rep. 7, 12140 (2017); E. Levina, P. Bickel, NIPS 17 (2004), equations 8 and 9.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import intrinsic_dimension
    >>> random = np.random.default_rng(0)
    >>> plane = random.normal(size=(500, 2)) @ random.normal(size=(2, 10))
    >>> round(intrinsic_dimension(plane), 1)
    1.9
    """
    check_choice(estimator, get_args(Estimator), "estimator")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: expected 0 < fraction <= 1, found {fraction}")
    source = Source(x, "x", minimum=3)
    if not source.distinct:
        raise ValueError(f"x: expected at least 2 distinct rows, found {len(source)} equal ones")
    if estimator == "mle" and check_k(k, len(source)) < 2:
        raise ValueError(f"k: expected at least 2, found {k}")
    _, near = search(source, euclidean=2 if estimator == "two_nn" else k)
    assert near is not None
    if estimator == "two_nn":
        dimension = two_nn_from(np.square(near.values[:, 0]), np.square(near.values[:, 1]), fraction)
        if np.isnan(dimension):
            raise ValueError("x: fewer than 3 items have two distinct, non-zero nearest distances")
        return dimension
    dimension = _maximum_likelihood(near.values)
    if np.isnan(dimension):
        raise ValueError(f"x: no item has {k} neighbours at distinct, non-zero distances")
    return dimension


def two_nn(squared_distances: FloatArray) -> float:
    """TwoNN estimate from squared distances (n, n); ``nan`` if fewer than 3 items can be used."""
    if len(squared_distances) < 3:
        raise ValueError(f"x: two nearest neighbours need at least 3 rows, found {len(squared_distances)}")
    # three smallest of a row: the item itself (0), then the two asked for
    smallest = np.partition(squared_distances, 2, axis=1)[:, :3]
    smallest.sort(axis=1)
    return two_nn_from(smallest[:, 1], smallest[:, 2])


def two_nn_from(first: FloatArray, second: FloatArray, fraction: float = 0.9) -> float:
    """TwoNN estimate from the squared distances, (n,) each, to the nearest and the second nearest item.

    ``nan`` if fewer than 3 items have two distinct, non-zero ones.
    """
    # equal distances of scaled columns differ by rounding
    usable = (first > 0) & (second > first * (1 + 2.0**-40))
    return two_nn_fit(0.5 * np.log(second[usable] / first[usable]), fraction)


def two_nn_fit(log_ratios: FloatArray, fraction: float = 0.9) -> float:
    """TwoNN estimate from the logarithms of the ratios of both distances; ``nan`` from fewer than 3."""
    count = len(log_ratios)
    if count < 3:
        return float("nan")
    # the largest ratio has F = 1 and an infinite ordinate: never fitted
    fitted = max(1, min(int(np.floor(count * fraction)), count - 1))
    abscissa = np.sort(log_ratios)[:fitted]
    ordinate = -np.log1p(-np.arange(1, fitted + 1) / count)
    return float(abscissa @ ordinate / (abscissa @ abscissa))


def _maximum_likelihood(distances: FloatArray) -> float:
    """Mean of the local estimates from the distances (n, k) to the k nearest; ``nan`` if there is none."""
    near = distances[distances[:, 0] > 0]
    log_sum = np.log(near[:, -1:] / near).sum(axis=1)
    log_sum = log_sum[log_sum > 0]
    if len(log_sum) == 0:
        return float("nan")
    return float(np.mean((distances.shape[1] - 1) / log_sum))


def _two_nn_all(collection: Collection, k: int) -> FloatArray:
    lists = (np.square(near.values[:, :2]) for near in collection.euclidean)
    return np.array([two_nn_from(*squared.T) for squared in lists])


def _maximum_likelihood_all(collection: Collection, k: int) -> FloatArray:
    return np.array([_maximum_likelihood(near.values[:, :k]) for near in collection.euclidean])


single("intrinsic_dimension", Single(_two_nn_all, depths=lambda k, n: (0, 2)))
single("intrinsic_dimension:mle", Single(_maximum_likelihood_all, depths=lambda k, n: (0, k), neighbors=50))
