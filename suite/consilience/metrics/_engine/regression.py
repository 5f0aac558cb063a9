"""Ridge regression of many responses on a few predictors, the responses read in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .arrays import FloatArray, IntArray
from .columns import blocks

#: From "no penalty" to "predict the mean": with many controls and few items only the latter is safe.
RIDGE_STRENGTHS = np.logspace(-3, 7, 11)


@dataclass(frozen=True)
class LinearFit:
    """What a linear regression predicts from c predictors for d responses."""

    center: FloatArray
    mean: FloatArray
    weights: FloatArray

    def predict(self, predictors: FloatArray) -> FloatArray:
        """Return the responses, (n, d), that belong to `predictors`, (n, c)."""
        result: FloatArray = (predictors - self.center) @ self.weights
        result += self.mean
        return result


def decompose(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Singular value decomposition, thin: u, s (descending) and vt.

    LAPACK's fast driver (gesdd) fails on some finite matrices, and on which ones depends on the processor: controls
    of low rank can be such matrices. Then the slower driver (gesvd) is asked, and should that fail too, the
    eigenvectors of the smaller Gram matrix are taken. In a Gram matrix singular values are squared, so those below
    sqrt(eps max(n, c)) of the largest can't be told from zero and are left out; a ridge of strength 1e-3 or more
    hardly uses them.
    """
    try:
        return np.linalg.svd(x, full_matrices=False)
    except np.linalg.LinAlgError:
        pass
    import scipy.linalg

    try:
        u, s, vt = scipy.linalg.svd(x, full_matrices=False, lapack_driver="gesvd", check_finite=False)
        return u, s, vt
    except np.linalg.LinAlgError:
        return _decompose_gram(x)


def _decompose_gram(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the same without the singular values that a Gram matrix can't resolve; at least one is kept."""
    if len(x) < x.shape[1]:
        v, s, ut = _decompose_gram(x.T)
        return ut.T, s, v.T
    values, vectors = np.linalg.eigh(x.T @ x)
    values, vectors = values[::-1], vectors[:, ::-1]
    resolved = values > np.finfo(float).eps * max(x.shape) * values[0]
    resolved[0] = True
    s, v = np.sqrt(np.maximum(values[resolved], 0)), vectors[:, resolved]
    return (x @ v) / np.where(s > 0, s, 1.0), s, v.T


def ridge(predictors: FloatArray, read: Callable[[IntArray], FloatArray], width: int, seen: IntArray) -> LinearFit:
    """Ridge regression with the strength of least leave-one-out error, summed over all responses.

    Parameters
    ----------
    predictors : ndarray of shape (n, c)
        Of all items.
    read : callable
        Returns the responses, (len(rows), width), of the rows asked for, as a new array.
    width : int
        Number of responses.
    seen : ndarray of int
        Rows to fit to.
    """
    centered = predictors[seen]
    center = centered.mean(axis=0)
    centered -= center
    u, s, vt = decompose(centered)
    del centered
    rank = int(np.sum(s > 1e-10 * s[0]))
    u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    step = max(width, rank)
    total, projected = np.zeros(width), np.zeros((rank, width))
    for part in blocks(len(u), step):
        block = read(seen[part])
        total += block.sum(axis=0)
        projected += u[part].T @ block
    mean = total / len(u)
    projected -= np.outer(u.sum(axis=0), mean)
    # The residuals of an item are what no fit reaches plus what the penalty leaves of the rest. Their sum of
    # squares, over responses, is taken from these two: where the controls explain all, both are small, while
    # in the difference of squared responses and squared predictions only rounding noise would be left.
    inner = projected @ projected.T
    lost = RIDGE_STRENGTHS[:, None] / (s**2 + RIDGE_STRENGTHS[:, None])
    errors = np.zeros(len(lost))
    for part in blocks(len(u), step):
        block, own = read(seen[part]), u[part]
        block -= mean
        block -= own @ projected
        squares = np.einsum("id,id->i", block, block)
        crossed = 2 * block @ projected.T
        outside = 1 - 1 / len(u) - np.einsum("ir,ir->i", own, own)
        for place, share in enumerate(lost):
            penalized = own * share
            residual = squares + np.einsum("ir,ir->i", penalized, crossed + penalized @ inner)
            left = outside + np.einsum("ir,ir->i", own, penalized)
            errors[place] += np.sum(residual / np.maximum(left, 1e-9) ** 2)
    best = RIDGE_STRENGTHS[int(np.argmin(errors))]
    weights = vt.T @ ((s / (s**2 + best))[:, None] * projected)
    return LinearFit(center, mean, weights)


def variance_left(
    predictors: FloatArray, read: Callable[[IntArray], FloatArray], width: int, seen: IntArray
) -> tuple[float, float]:
    """Share of the variance of the responses that least squares on the predictors leaves, and what chance leaves.

    Parameters
    ----------
    predictors, read, width, seen
        As in :func:`ridge`; the fit has an intercept.

    Returns
    -------
    left : float
        Residual over total sum of squares, over all responses; nan where they do not vary.
    degrees : float
        Degrees of freedom left over those of the total: what is left on average of responses that do not depend on the
        predictors. 0 where the predictors explain anything.
    """
    centered = predictors[seen] - predictors[seen].mean(axis=0)
    u, s, _ = decompose(centered)
    u = u[:, : int(np.sum(s > 1e-10 * s[0]))]
    n, rank = u.shape
    step = max(width, rank)
    total, projected = np.zeros(width), np.zeros((rank, width))
    for part in blocks(n, step):
        block = read(seen[part])
        total += block.sum(axis=0)
        projected += u[part].T @ block
    mean = total / n
    projected -= np.outer(u.sum(axis=0), mean)
    left = whole = 0.0
    for part in blocks(n, step):
        block = read(seen[part])
        block -= mean
        whole += float(np.einsum("id,id->", block, block))
        block -= u[part] @ projected
        left += float(np.einsum("id,id->", block, block))
    return left / whole if whole > 0 else float("nan"), max(0, n - 1 - rank) / (n - 1)
