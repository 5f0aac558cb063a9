"""Which models see a data set most alike, and whether that is more than composition: the answer in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from consilience.board.numbers import SITE
from consilience.scoring.presets import RANKED
from consilience.study.study import kind_of

if TYPE_CHECKING:
    from consilience.records.pairs import Pair, PairFigures
    from consilience.records.record import Record
    from consilience.study import Study

#: Controls that hold what composition and size say, and nothing else.
COMPOSITION = ("composition", "amino-acids", "size")
#: Above this a pair's agreement may be chance.
CHANCE = 0.05


@dataclass(frozen=True)
class Neighbour:
    """Another target beside the one that is looked at."""

    target: str
    kind: str
    family: str
    figures: Mapping[str, PairFigures]

    @property
    def ranked(self) -> PairFigures:
        """Figures beyond composition."""
        return self.figures[RANKED]

    @property
    def value(self) -> float:
        """Agreement beyond composition; -1 where it is undefined."""
        found = self.ranked.alignment
        return -1.0 if found is None else found


@dataclass(frozen=True)
class Closest:
    """The closest model of another family on a data set.

    Attributes
    ----------
    dataset
        Data set.
    others
        Trained models of other families, closest first.
    siblings
        Trained models of the same family, which share more than a view of matter.
    controls
        Untrained networks and baselines, closest first.
    verdict
        Whether the agreement with the closest is more than composition: ``yes``, ``no``, ``unclear``, ``unknown``.
    words
        The verdict in a sentence or two, with its numbers.
    """

    dataset: str
    others: tuple[Neighbour, ...]
    siblings: tuple[Neighbour, ...]
    controls: tuple[Neighbour, ...]
    verdict: Literal["yes", "no", "unclear", "unknown"]
    words: str

    @property
    def best(self) -> Neighbour | None:
        """The closest."""
        return self.others[0] if self.others else None

    @property
    def short(self) -> str:
        """The verdict in a word or two, as its sentence begins."""
        return self.words.partition(":")[0] if ":" in self.words else ""


def closest(study: Study, dataset: str, target: str) -> Closest:
    """Order all that a target was paired with on a data set, and judge the closest model of another family."""
    records = study.records(dataset)
    family = records[target].card.family
    found = [
        Neighbour(other, kind_of(records[other]), records[other].card.family, pair.scores)
        for pair, other in _pairs_of(study, dataset, target)
        if other in records and RANKED in pair.scores
    ]
    found.sort(key=lambda one: -one.value)
    others = tuple(one for one in found if one.kind == "trained" and one.family != family)
    siblings = tuple(one for one in found if one.kind == "trained" and one.family == family)
    controls = tuple(one for one in found if one.kind != "trained")
    verdict, words = judge(others[0], controls, records) if others else ("unknown", "No other model is scored here.")
    return Closest(dataset, others, siblings, controls, verdict, words)


def _pairs_of(study: Study, dataset: str, target: str) -> list[tuple[Pair, str]]:
    pairs = study.pairs(dataset)
    return [(pair, pair.second if pair.first == target else pair.first) for pair in pairs if target in _names(pair)]


def _names(pair: Pair) -> tuple[str, str]:
    return pair.first, pair.second


def judge(
    best: Neighbour, controls: tuple[Neighbour, ...], records: Mapping[str, Record]
) -> tuple[Literal["yes", "no", "unclear", "unknown"], str]:
    """Say whether an agreement is more than composition: above chance, composition controls, untrained networks.

    Parameters
    ----------
    best
        The closest model.
    controls
        What the same target was paired with besides models, closest first.
    records
        Records of the data set.
    """
    value, chance = best.ranked.alignment, best.ranked.p_value
    if value is None:
        return "unknown", "Can't be judged: the agreement is undefined."
    if value <= 0 or (chance is not None and chance > CHANCE):
        return "no", "No: it is no more than randomly paired items would reach" + (
            f" (p = {SITE.chance(chance)})." if chance is not None else "."
        )
    formula = next((one for one in controls if one.target in COMPOSITION), None)
    network = next((one for one in controls if one.kind == "untrained"), None)
    if formula is None and network is None:
        return "unknown", "Can't be judged: no composition control and no untrained network is paired with it here."
    told, clear, above = [], True, True
    for control, what in ((formula, None), (network, "the closest untrained network")):
        if control is None:
            continue
        name = f"{control.target.replace('-', ' ')} alone" if what is None else f"{what}, {control.target}"
        if control.value < 0:
            continue
        low = best.ranked.low if best.ranked.low is not None else value
        high = control.ranked.high if control.ranked.high is not None else control.value
        clear &= low > high
        above &= value > control.value
        told.append(f"{name} ({SITE.number(control.value)})")
    against, figure = " and ".join(told), SITE.number(value)
    if not told:
        return "unknown", "Can't be judged: its controls are undefined here."
    if clear:
        return "yes", f"Yes: {figure} beyond composition, against {against}."
    if above:
        return "unclear", f"Not clearly: {figure} beyond composition; its interval touches that of {against}."
    return "no", f"No: {figure} beyond composition is not above {against}."
