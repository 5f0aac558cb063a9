"""The alignment of a target with others: one estimator for records, pairs, comparisons and recommendations.

CKNNA of a pair is put on a scale on which chance is 0 and identity is 1 (the calibration), other draws of the items
give the same scores again (the interval method), and means over several pairs keep the joint distribution of both.

An interval method is one class here, decorated with :func:`interval_method`; a board's spec names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from consilience.metrics import Interval as ScoreInterval
from consilience.metrics import NeighborKernel, draw_halves, draws_around, subsample_scores
from consilience.records.record import Interval
from consilience.registry import UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


@dataclass(frozen=True)
class PairAlignment:
    """CKNNA of one pair on the scale of its calibration.

    Attributes
    ----------
    value
        ``max(0, (cknna - tau) / (1 - tau))``, tau being the threshold of the null.
    centre
        The same, not cut off at 0.
    draws
        `centre` in other draws of the items, (s,); not cut off.
    """

    value: float
    centre: float
    draws: Floats

    @classmethod
    def of(cls, value: float, cknna: float, threshold: float, draws: Floats) -> PairAlignment:
        """Put CKNNA and its draws on the calibrated scale; all of it is 0 where nothing lies above the threshold."""
        headroom = 1 - threshold
        if not headroom > 0:
            return cls(value, 0.0, np.zeros_like(draws))
        return cls(value, (cknna - threshold) / headroom, (draws - threshold) / headroom)


@dataclass(frozen=True)
class Alignment:
    """Mean alignment over several pairs, with its interval.

    Attributes
    ----------
    value
        Mean of the pairs' values.
    low, high
        Ends of the 95 % interval, around `centre`, then cut off at 0 and never beside `value`; None if undefined.
    centre
        Mean of what was not cut off.
    deviation
        Standard deviation of `centre` over draws of the items.
    draws
        Mean of the pairs' draws, each cut off at 0 as the values are, (s,): what ranks are drawn from.
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


def mean_alignment(pairs: Sequence[PairAlignment], method: IntervalMethod) -> Alignment:
    """Average the alignment over pairs; their draws are the same items, so that the mean keeps its joint distribution.

    Parameters
    ----------
    pairs
        At least one.
    method
        Interval method that made their draws.
    """
    value = float(np.mean([pair.value for pair in pairs]))
    centre = float(np.mean([pair.centre for pair in pairs]))
    draws = np.stack([pair.draws for pair in pairs])
    uncut: Floats = np.mean(draws, axis=0)
    cut: Floats = np.mean(np.maximum(draws, 0), axis=0)
    low, high, deviation = method.ends(centre, uncut)
    if not np.isfinite([low, high, value]).all():
        return Alignment(value, None, None, centre, deviation, cut, uncut)
    return Alignment(value, max(0.0, min(low, value)), max(high, value), centre, deviation, cut, uncut)
