"""Doubly centred matrices and their correlation: what CKA and distance correlation have in common."""

from __future__ import annotations

import numpy as np

from .arrays import FloatArray, IntArray, warn_undefined


def double_centered(matrix: FloatArray) -> FloatArray:
    """Return a symmetric (n, n) matrix with the means of its rows and columns removed (biased estimators)."""
    means = matrix.mean(axis=0)
    centered: FloatArray = matrix - means - means[:, None] + means.mean()
    return centered


def u_centered(matrix: FloatArray) -> FloatArray:
    """Return a symmetric (n, n) matrix U-centred: every row sums to zero without the diagonal, which is 0.

    The inner product of two such matrices, over n (n - 3), is the unbiased estimator of the covariance of
    Szekely and Rizzo (2014, definition 2) and of HSIC (Song et al. 2012, equation 5).

    Raises
    ------
    ValueError
        Fewer than 4 rows.
    """
    n = len(matrix)
    if n < 4:
        raise ValueError(f"x: an unbiased estimate needs at least 4 rows, found {n}")
    hollow = matrix.copy()
    np.fill_diagonal(hollow, 0.0)
    # Removing u_i + u_j off the diagonal changes nothing in exact arithmetic and, u being the double-centring
    # means, keeps the digits that the sums of large entries would lose.
    means = hollow.sum(axis=0) / (n - 1)
    hollow -= means - means.mean() / 2
    hollow -= (means - means.mean() / 2)[:, None]
    np.fill_diagonal(hollow, 0.0)
    sums = hollow.sum(axis=0)
    hollow -= sums / (n - 2)
    hollow -= (sums / (n - 2))[:, None]
    hollow += sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(hollow, 0.0)
    return hollow


def matrix_correlation(a: FloatArray, b: FloatArray, name: str) -> float:
    """Return <a, b> / sqrt(<a, a> <b, b>); ``nan`` with a warning in `name` if a denominator vanishes."""
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if norms == 0:
        warn_undefined(name, "the centred matrix of an embedding is zero")
        return float("nan")
    return float(np.vdot(a, b)) / norms


def permuted_correlation(a: FloatArray, b: FloatArray, permutation: IntArray) -> float:
    """Return :func:`matrix_correlation` with rows and columns of `b` permuted (the norms stay)."""
    return float(np.vdot(a, b[np.ix_(permutation, permutation)])) / float(np.linalg.norm(a) * np.linalg.norm(b))
