"""What is done to an embedding before it is scored; part of every score's name."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from .arrays import (
    FloatArray,
    IntArray,
    as_embedding,
    centered_columns,
    check_choice,
    constant_columns,
    float_precision,
)

Scheme = Literal["raw", "unit", "standardized"]

#: From "no penalty" to "predict the mean": with many controls and few items only the latter is safe.
RIDGE_STRENGTHS = np.logspace(-3, 7, 11)
FOLDS = 5
FOLD_SEED = 0


def prepare(x: npt.ArrayLike, *, scheme: Scheme = "standardized", controls: npt.ArrayLike | None = None) -> FloatArray:
    """Return an embedding as the metrics should see it.

    Parameters
    ----------
    x : array_like of shape (n, d)
        Embedding.
    scheme : {"standardized", "unit", "raw"}
        ``"raw"``: as given. ``"unit"``: rows of length 1 (what arXiv:2512.03750 scores); a few loud columns
        decide: SevenNet-0's alignment doubles once columns are standardized, and on QM9 trained and
        untrained networks can't be told apart. ``"standardized"``: columns of mean 0 and deviation 1,
        constant ones dropped, then rows of length 1: every column speaks. On sparse fingerprints that makes
        rare bits loud (Morgan against MiniMol falls from 0.36 to 0.23).
    controls : array_like of shape (n, c), optional
        What the embedding should be compared *beyond*: composition and size of each item, from the data
        set. The part of the standardized columns that is linear in the (standardized) controls is removed
        out of fold, before rows are scaled: ridge regression on four fifths of the items predicts the last
        fifth, its strength chosen by leave-one-out within the four fifths, one strength for all columns.
        Constant controls are dropped; if none is left, the result is the plain standardized one. On QM9
        this is what separates trained from untrained networks (discrimination 0.57 unit, 0.98 standardized,
        1.00 with controls), and on crystals nothing else does (0.78, 0.78, 1.00).

    Returns
    -------
    ndarray of shape (n, d'), float64
        d' = d, less the constant columns if standardized. Rows that are zero stay zero. When all columns
        are constant, one column of zeros: every pair metric answers ``nan`` to it.

    Raises
    ------
    ValueError
        `x` or `controls` is refused (see :func:`~consilience.metrics.arrays.as_embedding`), their lengths
        differ, there are controls but fewer than 10 rows, or controls with another scheme.

    Notes
    -----
    A column counts as constant when its deviation is at most four units in the last place of its mean, in
    the dtype given: a float32 column of 1e6 with the noise of a sum is constant. The folds are fixed
    (shuffled with seed 0), so the result depends on the order of the items, slightly, but on nothing else.
    """
    check_choice(scheme, get_args(Scheme), "scheme")
    precision = float_precision(x)
    x = as_embedding(x, "x")
    if controls is not None and scheme != "standardized":
        raise ValueError(f"controls: only with scheme='standardized', found scheme={scheme!r}")
    if scheme == "raw":
        return x
    if scheme == "unit":
        return unit_rows(x)
    columns = standardized_columns(x, precision)
    if controls is not None:
        known = as_embedding(controls, "controls")
        if len(known) != len(x):
            raise ValueError(f"x and controls: expected the same items, found {len(x)} and {len(known)} rows")
        if len(x) < 2 * FOLDS:
            raise ValueError(f"controls: needs at least {2 * FOLDS} rows, found {len(x)}")
        predictors = standardized_columns(known, float_precision(controls))
        if predictors.any():
            columns = columns - out_of_fold_prediction(predictors, columns)
    return unit_rows(columns)


def unit_rows(x: FloatArray) -> FloatArray:
    """Return rows scaled to Euclidean length 1, (n, d); zero rows stay zero."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    scaled: FloatArray = x / np.where(largest > 0, largest, 1.0)  # squares of tiny entries would vanish
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(length > 0, length, 1.0)


def standardized_columns(x: FloatArray, precision: float) -> FloatArray:
    """Return columns of mean 0 and deviation 1 without the constant ones; one zero column if none is left."""
    varying = ~constant_columns(x, precision)
    if not varying.any():
        return np.zeros((len(x), 1))
    centered = centered_columns(x[:, varying])
    largest = np.abs(centered).max(axis=0)
    centered /= largest
    deviation: FloatArray = centered.std(axis=0)
    return centered / deviation


def out_of_fold_prediction(predictors: FloatArray, responses: FloatArray) -> FloatArray:
    """Ridge prediction of each item's responses, (n, d), from a fit that has not seen the item."""
    prediction = np.empty_like(responses)
    for held_out in folds(len(predictors)):
        seen = np.setdiff1d(np.arange(len(predictors)), held_out)
        prediction[held_out] = _ridge(predictors[seen], responses[seen], predictors[held_out])
    return prediction


def folds(n: int) -> list[IntArray]:
    """Return the items of each of the five folds; the same for every embedding of n items."""
    shuffled = np.random.default_rng(FOLD_SEED).permutation(n)
    return [np.sort(fold) for fold in np.array_split(shuffled, FOLDS)]


def _ridge(predictors: FloatArray, responses: FloatArray, new: FloatArray) -> FloatArray:
    """Predict at `new` with the strength of least leave-one-out error, summed over all responses."""
    center = predictors.mean(axis=0)
    mean = responses.mean(axis=0)
    u, s, vt = np.linalg.svd(predictors - center, full_matrices=False)
    kept = s > 1e-10 * s[0] if s[0] > 0 else s > 0
    u, s, vt = u[:, kept], s[kept], vt[kept]
    deviations = responses - mean
    # the error of an item, summed over responses, needs only their inner products
    gram = deviations @ deviations.T
    crossed = u.T @ gram
    inner = crossed @ u
    errors = []
    for strength in RIDGE_STRENGTHS:
        fit = u * (s**2 / (s**2 + strength))
        explained = 2 * np.einsum("ir,ri->i", fit, crossed) - np.einsum("ir,ir->i", fit @ inner, fit)
        left = 1 - 1 / len(u) - np.einsum("ir,ir->i", u, fit)
        errors.append(np.sum((gram.diagonal() - explained) / np.maximum(left, 1e-9) ** 2))
    best = RIDGE_STRENGTHS[int(np.argmin(errors))]
    weights = vt.T @ ((s / (s**2 + best))[:, None] * (u.T @ deviations))
    prediction: FloatArray = mean + (new - center) @ weights
    return prediction
