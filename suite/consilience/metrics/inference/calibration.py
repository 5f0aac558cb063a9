"""What a score means against chance: permutation nulls.

:func:`calibrate` takes two embeddings; :func:`calibrate_from` takes what was made once per model and drawn
once per data set. Both also return the null itself, so that a mean over several reference models has its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from consilience.metrics._engine.arrays import FloatArray, IntArray, as_pair, check_k, rows_equal, warn_undefined
from consilience.metrics._engine.neighbor_kernel import NeighborKernel
from consilience.metrics.card import get_metric
from consilience.metrics.pairs import forward, neighbors_for, parts_of

from .resampling import check_items, draw_permutations
from .subsampling import Interval, interval, interval_from, subsample_scores

__all__ = [
    "Calibration",
    "Interval",
    "calibrate",
    "calibrate_from",
    "interval",
    "interval_from",
    "subsample_scores",
]

NAN = float("nan")


@dataclass(frozen=True)
class Calibration:
    """A score set against its permutation null.

    Attributes
    ----------
    score : float
        Observed score (of a directed metric: from x to y).
    null_mean : float
        Mean score of the permuted embeddings: the level of chance.
    null_quantile : float
        tau, the score that only a share `alpha` of permutations passes.
    p_value : float
        ``(1 + #{null at least as extreme as score}) / (1 + permutations)``.
    calibrated : float
        ``max(0, (score - tau) / (best - tau))``: 0 within chance, 1 for identical embeddings.
    null : ndarray of shape (permutations,)
        Scores of the permuted embeddings.
    """

    score: float
    null_mean: float
    null_quantile: float
    p_value: float
    calibrated: float
    null: FloatArray = field(repr=False, compare=False)

    @classmethod
    def from_null(
        cls,
        score: float,
        null: FloatArray,
        *,
        alpha: float = 0.05,
        higher: bool = True,
        best: float = 1.0,
        rounding: float = 1e-12,
        stopped: bool = False,
    ) -> Calibration:
        """Set `score` against the scores `null`, (permutations,), of permuted embeddings.

        tau is the ``ceil((1 - alpha) (P + 1))``-th order statistic of the score and the null together, from
        the dissimilar end. `higher` says whether higher is more alike, `best` what identical embeddings
        score, `rounding` which relative difference is none. If the drawing `stopped` at a fixed number of
        extreme values, p is that number over all (Besag and Clifford 1991).

        Raises
        ------
        ValueError
            `alpha` is not in (0, 1), or `null` is empty.
        """
        if not 0 < alpha < 1:
            raise ValueError(f"alpha: expected 0 < alpha < 1, found {alpha}")
        if len(null) == 0:
            raise ValueError("null: expected at least one score, found none")
        if isnan(score):
            return cls(score, NAN, NAN, NAN, NAN, null)
        sign = 1.0 if higher else -1.0
        # a score and its own null differ in the order of summation when a permutation changes nothing
        compared = np.where(np.abs(null - score) <= rounding * abs(score), score, null)
        together = np.sort(sign * np.append(compared, score))
        place = ceil((1 - alpha) * len(together) - 1e-9)  # 0.95 * 200 is 190 and must not become 191
        tau = sign * float(together[place - 1])
        extreme = int(np.sum(sign * compared >= sign * score))
        headroom = sign * (best - tau)
        return cls(
            score=score,
            null_mean=float(null.mean()),
            null_quantile=tau,
            p_value=extreme / len(null) if stopped else (1 + extreme) / len(together),
            calibrated=max(0.0, sign * (score - tau) / headroom) if headroom > 0 else 0.0,
            null=null,
        )


def calibrate(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    metric: str = "cknna",
    k: int | None = None,
    permutations: int = 200,
    seed: int = 0,
    strata: npt.ArrayLike | None = None,
    alpha: float = 0.05,
) -> Calibration:
    """Compare the score of two embeddings with the scores after permuting the items of one.

    Neighbour lists, distances and ranks are made once and permuted: exactly what recomputing them for the
    permuted rows would give (without ties), and no new search.

    Parameters
    ----------
    x, y : array_like of shape (n, d_x) and (n, d_y)
        Prepared embeddings of the same items.
    metric : str
        A registered pair metric. Of a directed one (information imbalance) the score from `x` to `y` is
        calibrated; exchange the arguments for the other. Where lower is more alike the null counts from
        below: tau is its lower quantile and ``calibrated = (tau - score) / (tau - best)``, with best
        = (k + 1)/n for the imbalance.
    k : int, optional
        Neighbours; default: the metric's own (25 for CKNNA).
    permutations : int
        Number P of permutations; p cannot fall below 1/(P + 1).
    seed : int
        Of the permutations; pairs with the same seed and n share them.
    strata : array_like of shape (n,), optional
        Permute only among items with the same label; see :func:`draw_permutations`. If all labels differ
        nothing can be permuted, and the result is p = 1, calibrated = 0.
    alpha : float
        Share of permutations allowed to pass tau. With fewer than 1/alpha - 1 permutations nothing is
        significant.

    Returns
    -------
    Calibration
        All ``nan``, with a :class:`DegenerateInputWarning`, when all rows of one embedding are equal.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, n <= k, or an option is out of range.
    UnknownMetricError
        No metric has this name.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import calibrate
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> result = calibrate(x, y, metric="mutual_knn", permutations=99)
    >>> round(result.score, 2), round(result.null_mean, 2)
    (0.39, 0.1)
    >>> round(result.calibrated, 2), round(result.p_value, 2)
    (0.3, 0.01)
    """
    first, second = as_pair(x, y)
    parts = parts_of(metric)
    k = neighbors_for(parts, metric, k)
    if k is not None:
        check_k(k, len(first))
    orders = draw_permutations(len(first), permutations, seed=seed, strata=strata)
    if rows_equal(first) or rows_equal(second):
        warn_undefined(metric, "all rows of an embedding are equal")
        return Calibration.from_null(NAN, np.full(permutations, NAN), alpha=alpha)
    a, b = parts.describe(first, k), parts.describe(second, k)
    return calibrate_from(a, b, permutations=orders, metric=metric, alpha=alpha)


def calibrate_from(
    a: Any, b: Any, *, permutations: IntArray, metric: str = "cknna", alpha: float = 0.05
) -> Calibration:
    """Calibrate a pair from ready states and shared permutations; see :func:`calibrate`.

    Parameters
    ----------
    a, b : NeighborKernel
        For ``"cknna"`` and ``"mutual_knn"`` (at the k of the lists); for other metrics the states of their
        :class:`~consilience.metrics.pairs.Pairwise`.
    permutations : ndarray of shape (P, n)
        From :func:`draw_permutations`.
    metric : str
        A registered pair metric.
    alpha : float
        Share of permutations allowed to pass tau.

    Raises
    ------
    ValueError
        The models do not fit together or to the permutations, or `alpha` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import NeighborKernel, calibrate_from, draw_permutations
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> a, b = NeighborKernel(x, k=10), NeighborKernel(y, k=10)
    >>> permutations = draw_permutations(100, 99)
    >>> round(calibrate_from(a, b, permutations=permutations).p_value, 2)
    0.01
    """
    parts = parts_of(metric)
    if isinstance(a, NeighborKernel):
        check_items("permutations", permutations, len(a), exactly=True)
    score = forward(parts.score(a, b))
    if isnan(score):
        return Calibration.from_null(NAN, np.full(len(permutations), NAN), alpha=alpha)
    n, k = permutations.shape[1], getattr(a, "k", parts.neighbors) or 1
    null = np.array([parts.relabelled(a, b, permutation) for permutation in permutations])
    higher = bool(get_metric(metric.partition(":")[0]).card.higher_is_more_alike)
    return Calibration.from_null(score, null, alpha=alpha, higher=higher, best=parts.best(n, k))
