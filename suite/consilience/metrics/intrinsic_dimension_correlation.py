"""Intrinsic-dimension correlation (I_dCor): dimension saved by describing two embeddings together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from consilience.cards import MetricCard
from consilience.registry import metric

from .arrays import (
    FloatArray,
    IntArray,
    as_pair,
    centered_columns,
    constant_columns,
    symmetric_distances,
    undefined,
    warn_undefined,
)
from .intrinsic_dimension import two_nn
from .pairs import Pairwise, pairwise


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
    """
    x, y = as_pair(x, y, minimum=3)
    if permutations is not None and permutations < 1:
        raise ValueError(f"permutations: expected at least 1, found {permutations}")
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
    null = [_relabelled(a, b, random.permutation(len(x))) for _ in range(permutations)]
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


def _relabelled(a: _StandardizedDistances, b: _StandardizedDistances, permutation: IntArray) -> float:
    return _correlation(a, b, b.squared[np.ix_(permutation, permutation)])


def _correlation(a: _StandardizedDistances, b: _StandardizedDistances, squared: FloatArray) -> float:
    joint = two_nn(a.squared + squared)
    return float((a.dimension + b.dimension - joint) / max(a.dimension, b.dimension))


pairwise(
    "intrinsic_dimension_correlation",
    Pairwise(state=_standardized_distances, score=_score, relabelled=_relabelled),
)
