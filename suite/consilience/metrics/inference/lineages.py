"""Estimates over lineages: means of scores against references, their errors, and which differences are clear.

Models that descend from one another count once. How far a mean over a few lineages would move with others is
estimated by leaving each out in turn (the delete-one jackknife), and its intervals are those of Student's t: over
three to eight lineages with normal effects they cover 0.94 to 0.95, percentiles of a bootstrap 0.75 to 0.86.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consilience.metrics._engine.arrays import FloatArray

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """An estimate with its standard error and interval.

    Attributes
    ----------
    value
        The estimate.
    low, high
        Ends of the interval, ``value -+ t * deviation``; nan where `degrees` is 0.
    deviation
        Standard error, of all its parts.
    degrees
        Degrees of freedom of t: lineages - 1.
    p_value
        One-sided, of an estimate that is not above 0; nan where `degrees` is 0.
    parts
        The standard errors that `deviation` is made of, by what they are due to.
    """

    value: float
    low: float
    high: float
    deviation: float
    degrees: int
    p_value: float
    parts: dict[str, float]

    @classmethod
    def of(cls, value: float, parts: dict[str, float], degrees: int, *, level: float = 0.95) -> Estimate:
        """Make the interval of a value from the independent parts of its standard error.

        Parameters
        ----------
        value
            The estimate.
        parts
            Standard errors by what they are due to.
        degrees
            Degrees of freedom.
        level
            Coverage of the interval.

        Raises
        ------
        ValueError
            `level` is not in (0, 1).

        Examples
        --------
        >>> from consilience.metrics.inference.lineages import Estimate
        >>> gain = Estimate.of(0.1, {"lineages": 0.03, "items": 0.04}, degrees=4)
        >>> round(gain.deviation, 3), round(gain.low, 3), round(gain.high, 3)
        (0.05, -0.039, 0.239)
        """
        from scipy.stats import t

        if not 0 < level < 1:
            raise ValueError(f"level: expected 0 < level < 1, found {level}")
        deviation = float(np.sqrt(sum(part**2 for part in parts.values())))
        if degrees < 1 or not np.isfinite([value, deviation]).all():
            return cls(value, NAN, NAN, deviation, max(degrees, 0), NAN, parts)
        reach = float(t.ppf((1 + level) / 2, degrees)) * deviation
        p_value = float(t.sf(value / deviation, degrees)) if deviation > 0 else float(value <= 0)
        return cls(value, value - reach, value + reach, deviation, degrees, p_value, parts)

    @property
    def clear(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


def jackknife_deviation(left_out: npt.ArrayLike) -> FloatArray | float:
    """Standard error of an estimate from the estimates with one of F groups left out.

    Parameters
    ----------
    left_out : array_like of shape (F,) or (F, ...)
        The estimate without the first group, without the second, and so on.

    Returns
    -------
    float or ndarray of shape (...)
        ``sqrt((F - 1) / F * sum((e_f - mean(e))**2))``; nan with fewer than two groups. For the mean of F values it
        is their deviation over sqrt(F).

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([0.1, 0.3, 0.2, 0.6])
    >>> left_out = [np.delete(values, i).mean() for i in range(4)]
    >>> bool(np.isclose(jackknife_deviation(left_out), values.std(ddof=1) / 2))
    True
    """
    estimates = np.asarray(left_out, dtype=np.float64)
    count = len(estimates)
    if count < 2:
        return np.full(estimates.shape[1:], NAN) if estimates.ndim > 1 else NAN
    squares = np.square(estimates - estimates.mean(axis=0)).sum(axis=0)
    deviation: FloatArray = np.sqrt((count - 1) / count * squares)
    return deviation if estimates.ndim > 1 else float(deviation)


def left_out_means(values: npt.ArrayLike, groups: Sequence[Hashable]) -> FloatArray:
    """Mean of the values without each of the groups in turn.

    Parameters
    ----------
    values : array_like of shape (r,) or (r, ...)
        Against each of r references, say.
    groups : sequence of length r
        Lineage of each.

    Returns
    -------
    ndarray of shape (F, ...)
        One mean for each group, in the order in which they first occur; empty where there is one group.
    """
    table = np.asarray(values, dtype=np.float64)
    names = list(dict.fromkeys(groups))
    if len(groups) != len(table):
        raise ValueError(f"values and groups: expected the same length, found {len(table)} and {len(groups)}")
    if len(names) < 2:
        return np.empty((0, *table.shape[1:]))
    return np.stack([table[[group != name for group in groups]].mean(axis=0) for name in names])


def pooled_deviation(samples: Sequence[npt.ArrayLike]) -> float:
    """Deviation within samples, pooled over them; nan where no sample has two values.

    Parameters
    ----------
    samples
        Figures of the seeds of each target.

    Examples
    --------
    >>> round(pooled_deviation([[0.1, 0.2], [0.5, 0.5, 0.8], [0.3]]), 4)
    0.1472
    """
    arrays = [np.asarray(one, dtype=np.float64) for one in samples]
    degrees = sum(len(one) - 1 for one in arrays if len(one))
    if degrees < 1:
        return NAN
    squares = sum(float(np.square(one - one.mean()).sum()) for one in arrays if len(one))
    return float(np.sqrt(squares / degrees))


def benjamini_hochberg(p_values: npt.ArrayLike, rate: float = 0.05) -> npt.NDArray[np.bool_]:
    """Which of several findings stay at a false discovery rate (Benjamini and Hochberg 1995).

    Parameters
    ----------
    p_values : array_like of shape (m,)
        Undefined ones (nan) are no findings, and count among the m.
    rate
        The false discovery rate.

    Returns
    -------
    ndarray of bool, (m,)

    Examples
    --------
    >>> benjamini_hochberg([0.001, 0.02, 0.04, 0.9]).tolist()
    [True, True, False, False]
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not 0 < rate < 1:
        raise ValueError(f"rate: expected 0 < rate < 1, found {rate}")
    order = np.argsort(values, kind="stable")  # nan come last
    below = np.flatnonzero(values[order] <= rate * np.arange(1, len(values) + 1) / max(1, len(values)))
    stays = np.zeros(len(values), np.bool_)
    stays[order[: below[-1] + 1 if len(below) else 0]] = True
    return stays


@dataclass(frozen=True)
class RankSet:
    """Ranks that a target may have.

    Attributes
    ----------
    low
        1 + the number of targets that are clearly better.
    high
        Number of targets - the number that are clearly worse.
    """

    low: int
    high: int


def additive_scores(table: npt.ArrayLike, draws: npt.ArrayLike | None = None) -> tuple[FloatArray, FloatArray | None]:
    """Scores of targets as if all had been compared with the same references.

    The model is ``table[t, r] = target_t + reference_r``, fitted by least squares to the entries that there are: a
    reference of the target's own lineage is missing, and a mean over the others would depend on which these are.

    Parameters
    ----------
    table : array_like of shape (t, r)
        Scores, nan where a target is not compared with a reference.
    draws : array_like of shape (t, r, s), optional
        The same in s other draws of the items.

    Returns
    -------
    scores : ndarray of shape (t,)
        ``target_t + mean(reference)``; nan for a target without an entry.
    draws : ndarray of shape (t, s), or None
        The same of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> easy, hard = 0.5, 0.1
    >>> table = np.array([[easy, hard], [easy + 0.1, np.nan], [np.nan, hard - 0.05]])
    >>> additive_scores(table)[0].round(3)
    array([0.3 , 0.4 , 0.25])
    """
    values = np.asarray(table, dtype=np.float64)
    targets, references = values.shape
    known = np.isfinite(values)
    rows, columns = np.nonzero(known)
    design = np.zeros((len(rows), targets + references))
    design[np.arange(len(rows)), rows] = 1
    design[np.arange(len(rows)), targets + columns] = 1
    # Scores are what does not depend on the constant that targets and references share.
    contrast = np.zeros((targets, targets + references))
    contrast[:, :targets] = np.eye(targets)
    contrast[:, targets:][:, known.any(axis=0)] = 1 / max(1, int(known.any(axis=0).sum()))
    estimator = contrast @ np.linalg.pinv(design)
    scores = estimator @ values[known]
    scores[~known.any(axis=1)] = NAN
    if draws is None:
        return scores, None
    drawn = estimator @ np.asarray(draws, dtype=np.float64)[known]
    drawn[~known.any(axis=1)] = NAN
    return scores, drawn


def rank_sets(
    table: npt.ArrayLike,
    draws: npt.ArrayLike,
    groups: Sequence[Hashable],
    *,
    level: float = 0.95,
) -> list[RankSet]:
    """Ranks that each target may have: those that no clear difference excludes.

    Two targets differ clearly where the t interval of the difference of their scores (:func:`additive_scores`) leaves
    out 0. Its standard error has two parts: other lineages of references (delete-one jackknife), and other items.

    Parameters
    ----------
    table : array_like of shape (t, r)
        Scores of t targets against r references, nan where there is none.
    draws : array_like of shape (t, r, s)
        The same in s other draws of the items.
    groups : sequence of length r
        Lineage of each reference.
    level
        Coverage of the intervals.

    Returns
    -------
    list of RankSet
        One for each target. With one lineage no difference is clear.
    """
    from scipy.stats import t as student

    values, drawn = np.asarray(table, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    count, names = len(values), list(dict.fromkeys(groups))
    if len(names) < 2:
        return [RankSet(1, count)] * count
    scores, score_draws = additive_scores(values, drawn)
    assert score_draws is not None
    difference = scores[:, None] - scores[None]
    left_out = []
    for name in names:
        kept = np.array([group != name for group in groups])
        one, _ = additive_scores(values[:, kept])
        left_out.append(one[:, None] - one[None])
    by_lineage = np.asarray(jackknife_deviation(left_out))
    around = score_draws - scores[:, None]
    by_items = np.sqrt(np.mean(np.square(around[:, None] - around[None]), axis=2))
    reach = student.ppf((1 + level) / 2, len(names) - 1) * np.hypot(by_lineage, by_items)
    with np.errstate(invalid="ignore"):
        worse = difference > reach  # of row and column, the column is clearly worse
    return [RankSet(1 + int(worse[:, i].sum()), count - int(worse[i].sum())) for i in range(count)]


def mean_over_lineages(
    values: npt.ArrayLike, draws: npt.ArrayLike, groups: Sequence[Hashable], **parts: Any
) -> Estimate:
    """Mean of scores against references, with the errors due to items and to lineages.

    Parameters
    ----------
    values : array_like of shape (r,)
        Against r references.
    draws : array_like of shape (r, s)
        The same in s other draws of the items.
    groups : sequence of length r
        Lineage of each reference.
    **parts
        Further standard errors by name, such as ``seeds``.

    Returns
    -------
    Estimate
    """
    table, drawn = np.asarray(values, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    value = float(table.mean())
    items = float(np.sqrt(np.mean(np.square(drawn.mean(axis=0) - value))))
    lineages = left_out_means(table, groups)
    errors = {"items": items, "lineages": float(jackknife_deviation(lineages)) if len(lineages) else NAN, **parts}
    return Estimate.of(value, errors, len(lineages) - 1 if len(lineages) else 0)
