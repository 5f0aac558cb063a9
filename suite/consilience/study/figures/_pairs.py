"""What figures of pairs share: the two records of a pair, the kind of pair that they make, its hover text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consilience.board.numbers import HOVER
from consilience.records.pairs import PairFigures
from consilience.records.values import mean_value, or_nan
from consilience.scoring.presets import RANKED
from consilience.study.palette import COLOURS
from consilience.study.study import kind_of

if TYPE_CHECKING:
    from consilience.records.pairs import Pair
    from consilience.records.record import Record
    from consilience.study.study import Study

APART = "trained, different families"
SIBLINGS = "trained, same family"
MIXED = "trained and untrained"
UNTRAINED = "both untrained"
BASELINE = "with a baseline"

#: Kinds of pairs, in the order of legends, with colour and marker.
PAIR_KINDS: dict[str, tuple[str, str]] = {
    APART: (COLOURS["atoms"], "circle"),
    SIBLINGS: (COLOURS["graph"], "diamond"),
    MIXED: (COLOURS["string"], "x"),
    UNTRAINED: (COLOURS["text"], "cross"),
    BASELINE: (COLOURS["baseline"], "square"),
}

#: Metrics beside CKNNA, as figures name them.
METRICS: dict[str, str] = {
    "distance_correlation": "dCor",
    "information_imbalance": "information imbalance",
    "intrinsic_dimension_correlation": "I_dCor",
}


@dataclass(frozen=True)
class View:
    """A pair with the records of both."""

    pair: Pair
    first: Record
    second: Record

    @property
    def kind(self) -> str:
        """What kind of pair it is, of those in `PAIR_KINDS`."""
        return pair_kind(self.first, self.second)

    @property
    def names(self) -> str:
        """Both names, as hover texts give them."""
        return f"<b>{self.pair.first}</b> and <b>{self.pair.second}</b>"

    def scores(self, preset: str = RANKED) -> PairFigures | None:
        """Figures in a preset, where it was scored."""
        return self.pair.scores.get(preset)

    def metric(self, name: str, preset: str = RANKED) -> float | None:
        """Another metric than CKNNA, by its name in a record."""
        scores = self.scores(preset)
        return scores.metrics.get(name) if scores else None


def pair_kind(first: Record, second: Record) -> str:
    """What kind of pair two records make."""
    kinds = {kind_of(first), kind_of(second)}
    if "baseline" in kinds:
        return BASELINE
    if kinds == {"trained"}:
        return SIBLINGS if first.card.family == second.card.family else APART
    return UNTRAINED if kinds == {"untrained"} else MIXED


def views(study: Study, dataset: str) -> Iterator[View]:
    """Pairs of a data set both of whose targets have a score there."""
    records = study.records(dataset)
    for pair in study.pairs(dataset):
        if pair.first in records and pair.second in records:
            yield View(pair, records[pair.first], records[pair.second])


def interval(scores: PairFigures | None) -> str:
    """Interval and p of a pair's calibrated CKNNA in a hover text."""
    if scores is None:
        return HOVER.absent
    undefined = scores.low is None or scores.high is None
    ends = "no interval" if undefined else f"{HOVER.number(scores.low)} to {HOVER.number(scores.high)}"
    return f"{ends}, p {HOVER.number(scores.p_value)}"


def mean(values: Iterable[float | None]) -> float:
    """Mean of the values that are defined; NaN of none."""
    return or_nan(mean_value(values))
