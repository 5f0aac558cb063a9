"""Centred kernel alignment (CKA) with the linear kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._engine.arrays import FloatArray, IntArray, as_pair, centered_columns, undefined
from ._engine.centering import double_centered, matrix_correlation, permuted_correlation, u_centered
from ._engine.collection import Collection
from ._engine.correlations import permuted_correlations
from .card import MetricCard, metric
from .matrices import is_large, score_pair
from .pairs import Null, Pairwise, pairwise

#: Rows of both embeddings that are multiplied at a time.
_ROWS = 4096


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

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import cka
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> round(cka(x, y), 2)
    0.58
    >>> round(cka(x, x), 2)
    1.0
    """
    if unbiased and is_large(x, y):
        return score_pair("cka", x, y)[0]
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
    return permuted_correlations(collection, _centered_kernel, "CKA", permutations)


def _matrix(collection: Collection, k: int) -> FloatArray:
    """CKA of all pairs from the (d_x, d_y) products of centred columns; no (n, n) matrix is made.

    With centred columns a kernel's rows sum to 0, so that without its diagonal a they sum to -a. Song et al.'s
    equation 5 needs these sums and ``sum_ij K_ij L_ij = |X^T Y|^2`` alone.
    """
    sources, n = collection.sources, len(collection)
    if n < 4:
        raise ValueError(f"{sources[0].name}: needs at least 4 rows, found {n}")
    matrix = np.ones((len(sources), len(sources)))
    dependence = np.empty_like(matrix)

    def one(pair: tuple[int, int], scratch: dict[str, Any]) -> None:
        i, j = pair
        product, diagonals = np.zeros((sources[i].x.shape[1], sources[j].x.shape[1])), 0.0
        sums = np.zeros(2)
        for start in range(0, n, _ROWS):
            x, y = (sources[model].rows(slice(start, start + _ROWS), np.float64) for model in pair)
            product += x.T @ y
            a, b = np.square(x).sum(axis=1), np.square(y).sum(axis=1)
            diagonals += float(a @ b)
            sums += a.sum(), b.sum()
        without = float(np.square(product).sum()) - diagonals
        dependence[i, j] = without + sums[0] * sums[1] / ((n - 1) * (n - 2)) - 2 * diagonals / (n - 2)

    models = range(len(sources))
    collection.run("CKA", one, [(i, j) for i in models for j in range(i, len(sources))])
    for i in models:
        for j in range(i + 1, len(sources)):
            scale = dependence[i, i] * dependence[j, j]
            matrix[i, j] = matrix[j, i] = dependence[i, j] / np.sqrt(scale) if scale > 0 else np.nan
    return matrix


pairwise(
    "cka",
    Pairwise(state=_centered_kernel, score=_score, relabelled=permuted_correlation, null=_null, matrix=_matrix),
)
