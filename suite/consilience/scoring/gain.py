"""What training adds to an alignment: a target against untrained networks of its own architecture.

An architecture with random weights agrees with models of matter to some extent, and how far differs widely. The
training gain of a target is its alignment minus the mean alignment of its own untrained twins with the same references.
Retraining the target with another seed is no part of its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consilience.cards import Twin
from consilience.metrics.inference.lineages import Estimate, benjamini_hochberg, mean_over_lineages, pooled_deviation
from consilience.records.record import Record
from consilience.registry import get_target

from .lineage import lineage_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """Training gain of a target on a data set.

    Attributes
    ----------
    target
        Name of the trained target.
    estimate
        The gain, with the errors due to items, lineages of references and seeds of the twins.
    seeds
        Number of own twins.
    untrained
        Mean alignment of the twins.
    by_seed
        Alignment of each.
    by_reference
        Gain against each reference.
    """

    target: str
    estimate: Estimate
    seeds: int
    untrained: float
    by_seed: tuple[float, ...]
    by_reference: Mapping[str, float]


def is_own_twin(name: str) -> bool:
    """Whether a name is that of an own twin, ``NAME@untrained:1`` and up, which stands in its target's row."""
    twin = Twin.of(name)
    return twin is not None and twin.number > 0


def twins_of(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Scored records of own twins by the name of their card, in the order of their numbers.

    A user's checkpoint has the twins of the card that reads it: they are of its architecture.

    The twin without a number is left out: targets of one architecture share it.
    """
    twins: dict[str, list[tuple[int, Record]]] = {}
    for record in records:
        twin = Twin.of(record.target)
        if twin is not None and twin.number and aligned_with(record):
            twins.setdefault(twin.card, []).append((twin.number, record))
    return {name: [record for _, record in sorted(own, key=lambda one: one[0])] for name, own in twins.items()}


def training_gains(records: Sequence[Record]) -> dict[str, Gain]:
    """Training gain of every trained target of a data set that has own twins.

    The deviation among seeds is pooled over the targets of a modality, so that a target with one twin has one, too.
    Where no target of the modality has two, it is left out.

    Parameters
    ----------
    records
        Records of one data set, of a board whose alignment is cut off nowhere.
    """
    twins = twins_of(records)
    trained = [one for one in records if one.trained and one.card.name in twins and aligned_with(one)]
    by_modality: dict[str, list[list[float]]] = {}
    for one in trained:
        by_modality.setdefault(one.card.modality, []).append([_mean(twin) for twin in twins[one.card.name]])
    deviations = {modality: pooled_deviation(samples) for modality, samples in by_modality.items()}
    cards = {one.target: one.card for one in records}
    gains = {}
    for one in trained:
        own = twins[one.card.name]
        values, draws = _against_twins(one, own)
        if not values:
            continue
        deviation = deviations[one.card.modality]
        parts = {} if np.isnan(deviation) else {"seeds": deviation / np.sqrt(len(own))}
        lineages = [lineage_of(cards[name] if name in cards else get_target(name).card) for name in values]
        estimate = mean_over_lineages(list(values.values()), draws, lineages, **parts)
        by_seed = tuple(_mean(twin) for twin in own)
        gains[one.target] = Gain(one.target, estimate, len(own), float(np.mean(by_seed)), by_seed, values)
    return gains


def gain_and_draws(record: Record, records: Sequence[Record]) -> tuple[float, Floats] | None:
    """Training gain of one target, and the same in other draws of the items, (s,); None without own twins.

    Parameters
    ----------
    record
        Of the target.
    records
        Of its data set, its twins among them.
    """
    own = twins_of(records).get(record.card.name, [])
    if not (own and record.trained and aligned_with(record)):
        return None
    values, draws = _against_twins(record, own)
    return (float(np.mean(list(values.values()))), np.mean(draws, axis=0)) if values else None


def clear_gains(gains: Mapping[str, Gain], rate: float = 0.05) -> tuple[list[str], list[str]]:
    """Name the targets whose gain is clear, and those of them that stay at a false discovery rate.

    Clear is a 95 % interval above 0; of m targets that gained nothing, 0.025 m are expected to be.
    """
    names = list(gains)
    stays = benjamini_hochberg([gains[name].estimate.p_value for name in names], rate)
    clear = [name for name in names if gains[name].estimate.clear]
    return clear, [name for name, kept in zip(names, stays, strict=True) if kept and name in clear]


def aligned_with(record: Record) -> dict[str, float]:
    """Alignment with each reference; empty where there is none."""
    score = record.ranking_score if record.state == "ok" else None
    pairs = {} if score is None else score.pairs
    return {name: pair.aligned for name, pair in pairs.items() if pair.aligned is not None}


def _mean(record: Record) -> float:
    return float(np.mean(list(aligned_with(record).values())))


def _against_twins(target: Record, twins: Sequence[Record]) -> tuple[dict[str, float], Floats]:
    """Gain against each reference that target and twins share, and the same in other draws of the items, (r, s)."""
    aligned, others = aligned_with(target), [aligned_with(twin) for twin in twins]
    names = [name for name in aligned if all(name in other for other in others)]
    values = {name: aligned[name] - float(np.mean([other[name] for other in others])) for name in names}
    draws = [draws_with(target, name) - np.mean([draws_with(twin, name) for twin in twins], axis=0) for name in names]
    return values, np.array(draws)


def draws_with(record: Record, reference: str) -> Floats:
    """Alignment with a reference in other draws of the items, (s,), the same for all targets."""
    score = record.ranking_score
    assert score is not None
    return np.array(score.pairs[reference].draws, dtype=np.float64)
