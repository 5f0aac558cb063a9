"""Centred kernel alignment (CKA) with the linear kernel."""

from __future__ import annotations

import numpy.typing as npt

from consilience.cards import MetricCard
from consilience.registry import metric

from .arrays import FloatArray, IntArray, as_pair, centered_columns, undefined
from .centering import double_centered, matrix_correlation, relabelled_correlation, u_centered
from .collection import Collection
from .correlations import relabelled_correlations
from .pairs import Null, Pairwise, pairwise


@metric(
    MetricCard(
        name="cka",
        title="CKA",
        inputs="pair",
        higher_is_more_alike=True,
        symmetric=True,
        invariances=("orthogonal", "isotropic_scaling", "translation", "permutation"),
        reference="Kornblith et al. 2019, arXiv:1905.00414; unbiased: Song et al. 2012, JMLR 13, eq. 5",
    )
)
def cka(x: npt.ArrayLike, y: npt.ArrayLike, *, unbiased: bool = True) -> float:
    """Centred kernel alignment of the inner products of two embeddings.

    Parameters
    ----------
    x, y : array_like of shape (n, d_x) and (n, d_y)
        Embeddings of the same items. Columns are centred first: exact for both estimators, and without it
        an offset costs all digits.
    unbiased : bool
        Unbiased estimator of each HSIC (three times), about 0 for independent embeddings, possibly
        negative, n >= 4; else the biased one, which grows with the widths.

    Returns
    -------
    float
        At most 1. ``nan``, with a :class:`DegenerateInputWarning`, when all rows of one embedding are equal.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, or there are too few rows.

    References
    ----------
    S. Kornblith et al., ICML 2019, arXiv:1905.00414; L. Song et al., JMLR 13, 1393 (2012), equation 5.
    """
    x, y = as_pair(x, y, minimum=4 if unbiased else 2)
    if undefined("CKA", x=x, y=y):
        return float("nan")
    return matrix_correlation(_centered_kernel(x, unbiased), _centered_kernel(y, unbiased), "CKA")


def _centered_kernel(x: FloatArray, unbiased: bool = True) -> FloatArray:
    centered = centered_columns(x)
    kernel = centered @ centered.T
    return u_centered(kernel) if unbiased else double_centered(kernel)


def _score(a: FloatArray, b: FloatArray) -> float:
    return matrix_correlation(a, b, "CKA")


def _null(collection: Collection, k: int, permutations: IntArray) -> Null:
    return relabelled_correlations(collection, _centered_kernel, "CKA", permutations)


pairwise("cka", Pairwise(state=_centered_kernel, score=_score, relabelled=relabelled_correlation, null=_null))
