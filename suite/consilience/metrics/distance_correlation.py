"""Distance correlation."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from consilience.cards import MetricCard
from consilience.registry import metric

from .arrays import FloatArray, as_pair, check_choice, symmetric_distances, undefined
from .centering import double_centered, matrix_correlation, relabelled_correlation, u_centered
from .pairs import Pairwise, pairwise

Variant = Literal["unbiased", "paper", "biased"]


@metric(
    MetricCard(
        name="distance_correlation",
        title="dCor",
        inputs="pair",
        higher_is_more_alike=True,
        symmetric=True,
        invariances=("orthogonal", "isotropic_scaling", "translation", "permutation"),
        reference="Szekely & Rizzo 2014, Ann. Stat. 42, 2382 (unbiased); arXiv:2512.03750, eq. A18 (paper)",
    )
)
def distance_correlation(x: npt.ArrayLike, y: npt.ArrayLike, *, variant: Variant = "unbiased") -> float:
    """Correlation of the centred Euclidean distances of two embeddings.

    Parameters
    ----------
    x, y : array_like of shape (n, d_x) and (n, d_y)
        Embeddings of the same items.
    variant : {"unbiased", "paper", "biased"}
        ``"unbiased"``: U-centred, *squared*; about 0 for independent embeddings, possibly negative, n >= 4.
        ``"paper"``: doubly centred, *squared* (no outer root), which for independent Gaussians is 0.5 at
        n=1,000 and d=256: use it to compare with published values only. ``"biased"``: the root of
        ``"paper"``, the distance correlation of Szekely et al. 2007.

    Returns
    -------
    float
        At most 1. ``nan``, with a :class:`DegenerateInputWarning`, when all rows of one embedding are equal.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, there are too few rows, or `variant` is unknown.

    References
    ----------
    G. Szekely, M. Rizzo, Ann. Statist. 42, 2382 (2014), equation 3.7; G. Szekely, M. Rizzo, N. Bakirov,
    Ann. Statist. 35, 2769 (2007), definition 5; arXiv:2512.03750, equation A18.
    """
    check_choice(variant, get_args(Variant), "variant")
    x, y = as_pair(x, y, minimum=4 if variant == "unbiased" else 2)
    if undefined("distance correlation", x=x, y=y):
        return float("nan")
    squared = _score(_centered_distances(x, variant), _centered_distances(y, variant))
    return float(np.sqrt(max(squared, 0.0))) if variant == "biased" else squared


def _centered_distances(x: FloatArray, variant: Variant = "unbiased") -> FloatArray:
    distances = symmetric_distances(x)
    np.sqrt(distances, out=distances)
    return u_centered(distances) if variant == "unbiased" else double_centered(distances)


def _score(a: FloatArray, b: FloatArray) -> float:
    return matrix_correlation(a, b, "distance correlation")


pairwise(
    "distance_correlation",
    Pairwise(state=_centered_distances, score=_score, relabelled=relabelled_correlation),
)
