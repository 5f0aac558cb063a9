"""The alignment of a target with others: one estimator for records, pairs, comparisons and recommendations.

CKNNA of a pair is put on a scale on which chance is 0 and identity is 1 (the calibration), other draws of the items
give the same scores again (the interval method), and means over several pairs keep the joint distribution of both.

An interval method is one class here, decorated with :func:`interval_method`, and so is a calibration
(:func:`calibration_method`); a board's spec names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from consilience.metrics import Interval as ScoreInterval
from consilience.metrics import NeighborKernel, draw_halves, draws_around, subsample_scores
from consilience.metrics.inference.lineages import mean_over_lineages
from consilience.records.record import Interval
from consilience.registry import UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.metrics import Calibration
    from consilience.records.spec import SpecSettings

    Floats = NDArray[np.float64]

#: Raised when the numbers below change for the same scores and draws.
VERSION = 1


class IntervalMethod(Protocol):
    """Interval of a score over samples of items."""

    version: int
    """Raised when the interval of the same scores changes."""

    def subsets(self, n: int, settings: SpecSettings) -> NDArray[np.intp]:
        """Draw the subsets of n items that are scored, (s, m); the same for all targets of a data set."""
        ...

    def draws(self, a: NeighborKernel, b: NeighborKernel, score: float, subsets: NDArray[np.intp]) -> Floats:
        """Return what other draws of the items would have scored, (s,)."""
        ...

    def ends(self, centre: float, draws: Floats) -> tuple[float, float, float]:
        """Return the lower end, the upper end (95 %) and the standard deviation of a score or a mean of scores."""
        ...

    def mean(self, pairs: Sequence[PairAlignment], lineages: Sequence[str]) -> tuple[float, float, float]:
        """Return the same of a mean over pairs with references, given the lineage of each."""
        ...


class CalibrationMethod(Protocol):
    """Puts CKNNA of a pair on a scale on which chance is 0 and identity is 1."""

    version: int
    """Raised when the alignment of the same score and null changes."""

    def align(self, calibration: Calibration, draws: Floats) -> PairAlignment:
        """Alignment of a pair.

        Parameters
        ----------
        calibration
            Score, null mean and threshold of the pair.
        draws
            Score in other draws of the items, (s,).
        """
        ...


M = TypeVar("M", bound=type[IntervalMethod])
_methods: dict[str, IntervalMethod] = {}


def interval_method(name: str) -> Callable[[M], M]:
    """Register an interval method under a name."""

    def register(method: M) -> M:
        _methods[name] = method()
        return method

    return register


def get_interval_method(name: str) -> IntervalMethod:
    """Look an interval method up; raises `UnknownNameError` naming those there are."""
    if name not in _methods:
        raise UnknownNameError(f"no interval method is named {name!r}; there are: {', '.join(_methods)}")
    return _methods[name]


@interval_method("halves")
class Halves:
    """Normal interval from the differences between the halves of random splits (see `metrics.interval`)."""

    version = 1

    def subsets(self, n: int, settings: SpecSettings) -> NDArray[np.intp]:
        """Draw the halves of `settings.subsamples` / 2 splits."""
        return draw_halves(n, settings.subsamples // 2, seed=settings.seed)

    def draws(self, a: NeighborKernel, b: NeighborKernel, score: float, subsets: NDArray[np.intp]) -> Floats:
        """Score both halves of each split, from the lists of the whole."""
        return draws_around(score, subsample_scores(a, b, subsets))

    def ends(self, centre: float, draws: Floats) -> tuple[float, float, float]:
        """Return the ends of the normal interval, and its deviation."""
        interval = ScoreInterval.from_draws(centre, draws)
        return interval.low, interval.high, interval.deviation

    def mean(self, pairs: Sequence[PairAlignment], lineages: Sequence[str]) -> tuple[float, float, float]:
        """Return the ends of the normal interval over the items; which references there are is not part of it."""
        centre = float(np.mean([pair.centre for pair in pairs]))
        return self.ends(centre, np.mean([pair.draws for pair in pairs], axis=0))


@interval_method("lineages")
class Lineages(Halves):
    """Interval over items and lineages of references: halves, the delete-one jackknife, and Student's t.

    Of a single pair it is that of its items.
    """

    version = 1

    def mean(self, pairs: Sequence[PairAlignment], lineages: Sequence[str]) -> tuple[float, float, float]:
        """Return the ends of the t interval; nan where the references are of one lineage."""
        centres, draws = [pair.centre for pair in pairs], np.stack([pair.draws for pair in pairs])
        estimate = mean_over_lineages(centres, draws, lineages)
        return estimate.low, estimate.high, estimate.deviation


@dataclass(frozen=True)
class PairAlignment:
    """CKNNA of one pair on the scale of its calibration.

    Attributes
    ----------
    value
        The alignment of the pair.
    centre
        The same, not cut off at 0.
    draws
        `centre` in other draws of the items, (s,); not cut off.
    cut
        Whether `value` is cut off at 0.
    """

    value: float
    centre: float
    draws: Floats
    cut: bool = True

    @classmethod
    def of(cls, value: float, cknna: float, threshold: float, draws: Floats) -> PairAlignment:
        """Put CKNNA and its draws on the calibrated scale; all of it is 0 where nothing lies above the threshold."""
        headroom = 1 - threshold
        if not headroom > 0:
            return cls(value, 0.0, np.zeros_like(draws))
        return cls(value, (cknna - threshold) / headroom, (draws - threshold) / headroom)


_calibrations: dict[str, CalibrationMethod] = {}
C = TypeVar("C", bound=type[CalibrationMethod])


def calibration_method(name: str) -> Callable[[C], C]:
    """Register a calibration under a name."""

    def register(method: C) -> C:
        _calibrations[name] = method()
        return method

    return register


def get_calibration(name: str) -> CalibrationMethod:
    """Look a calibration up; raises `UnknownNameError` naming those there are."""
    if name not in _calibrations:
        raise UnknownNameError(f"no calibration is named {name!r}; there are: {', '.join(_calibrations)}")
    return _calibrations[name]


@calibration_method("threshold")
class Threshold:
    """``max(0, (cknna - tau) / (1 - tau))``, tau being the threshold of the null: for significance."""

    version = 1

    def align(self, calibration: Calibration, draws: Floats) -> PairAlignment:
        """Align a pair; see :meth:`PairAlignment.of`."""
        return PairAlignment.of(calibration.calibrated, calibration.score, calibration.null_quantile, draws)


@calibration_method("excess")
class Excess:
    """``(cknna - m) / (1 - m)``, m being the mean of the null, cut off nowhere: for differences."""

    version = 1

    def align(self, calibration: Calibration, draws: Floats) -> PairAlignment:
        """Align a pair."""
        chance = calibration.null_mean
        headroom = 1 - chance if chance < 1 else float("nan")
        value = (calibration.score - chance) / headroom
        return PairAlignment(value, value, (draws - chance) / headroom, cut=False)


@dataclass(frozen=True)
class Alignment:
    """Mean alignment over several pairs, with its interval.

    Attributes
    ----------
    value
        Mean of the pairs' values.
    low, high
        Ends of the 95 % interval, around `centre`, then cut off where the values are and never beside `value`; None if
        undefined.
    centre
        Mean of what was not cut off.
    deviation
        Standard deviation of `centre` over draws of the items.
    draws
        Mean of the pairs' draws, each cut off where the values are, (s,): what ranks are drawn from.
    uncut_draws
        Mean of the pairs' draws, (s,).
    """

    value: float
    low: float | None
    high: float | None
    centre: float
    deviation: float
    draws: Floats
    uncut_draws: Floats

    @property
    def interval(self) -> Interval:
        """Value and ends, as records state them."""
        return Interval(value=self.value, low=self.low, high=self.high)


def mean_alignment(
    pairs: Sequence[PairAlignment], method: IntervalMethod, lineages: Sequence[str] | None = None
) -> Alignment:
    """Average the alignment over pairs; their draws are the same items, so that the mean keeps its joint distribution.

    Parameters
    ----------
    pairs
        At least one.
    method
        Interval method that made their draws.
    lineages
        Lineage of each pair's reference; a single pair needs none.
    """
    value = float(np.mean([pair.value for pair in pairs]))
    centre = float(np.mean([pair.centre for pair in pairs]))
    draws = np.stack([pair.draws for pair in pairs])
    uncut: Floats = np.mean(draws, axis=0)
    cut: Floats = np.mean([np.maximum(pair.draws, 0) if pair.cut else pair.draws for pair in pairs], axis=0)
    low, high, deviation = method.ends(centre, uncut) if lineages is None else method.mean(pairs, lineages)
    floor = 0.0 if all(pair.cut for pair in pairs) else -np.inf
    if not np.isfinite([low, high, value]).all():
        return Alignment(value, None, None, centre, deviation, cut, uncut)
    return Alignment(value, max(floor, min(low, value)), max(high, value), centre, deviation, cut, uncut)
