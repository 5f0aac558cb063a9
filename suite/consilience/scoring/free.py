"""How far a target is above what is free: untrained networks, hand-made descriptors, random features of composition.

A gain says what training adds to an architecture. It does not say that the result is worth more than what nobody has to
train: the alignment above free does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consilience.metrics.inference.lineages import Estimate, jackknife_deviation, pooled_deviation
from consilience.records.record import Record
from consilience.registry import get_target

from .gain import aligned_with, draws_with, twins_of
from .lineage import lineage_of

Floats = NDArray[np.float64]
#: Name of the own twins among what is free.
OWN_TWINS = "own twins"


@dataclass(frozen=True)
class AboveFree:
    """Alignment of a target above the largest of what is free.

    Attributes
    ----------
    target
        Name of the trained target.
    estimate
        Its alignment minus the largest of `free`, with the errors due to items, lineages of references and seeds.
    best
        What that largest is: a name among `free`.
    free
        Mean alignment of each, with the references that the target is compared with.
    """

    target: str
    estimate: Estimate
    best: str
    free: Mapping[str, float]


def above_free(records: Sequence[Record], descriptors: Mapping[str, Iterable[Sequence[str]]]) -> dict[str, AboveFree]:
    """Alignment above free of every trained target of a data set that anything free can be compared with.

    Parameters
    ----------
    records
        Records of one data set, of a board whose alignment is cut off nowhere.
    descriptors
        By modality, groups of targets that nobody trained. The mean of a group counts: draws of one random feature map
        are a group. One that was not scored on the data set is passed over.
    """
    twins = twins_of(records)
    scored = {record.target: record for record in records if aligned_with(record)}
    spread = _spread_of_seeds(records, twins)
    found = {}
    for record in scored.values():
        if not record.trained:
            continue
        groups = [[scored[name] for name in group if name in scored] for group in _groups(descriptors, record)]
        candidates = {group[0].target if len(group) == 1 else _stem(group): group for group in groups if group}
        if own := twins.get(record.card.name):
            candidates[OWN_TWINS] = own
        if not candidates:
            continue
        one = _above(record, candidates)
        if one is None:
            continue
        estimate, best, free = one
        if best == OWN_TWINS and np.isfinite(deviation := spread.get(record.card.modality, np.nan)):
            parts = {**estimate.parts, "seeds": deviation / np.sqrt(len(own or [record]))}
            estimate = Estimate.of(estimate.value, parts, estimate.degrees)
        found[record.target] = AboveFree(record.target, estimate, best, free)
    return found


def _groups(descriptors: Mapping[str, Iterable[Sequence[str]]], record: Record) -> list[Sequence[str]]:
    return [[name for name in group if name != record.target] for group in descriptors.get(record.card.modality, ())]


def _stem(group: Sequence[Record]) -> str:
    """Name of several draws of one thing: what their names share."""
    first, last = min(one.target for one in group), max(one.target for one in group)
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:shared].rstrip("-.:@") or first


def _spread_of_seeds(records: Sequence[Record], twins: Mapping[str, Sequence[Record]]) -> dict[str, float]:
    by_modality: dict[str, list[list[float]]] = {}
    for record in records:
        if own := twins.get(record.card.name):
            means = [float(np.mean(list(aligned_with(one).values()))) for one in own]
            by_modality.setdefault(record.card.modality, []).append(means)
    return {modality: pooled_deviation(samples) for modality, samples in by_modality.items()}


def _above(record: Record, candidates: Mapping[str, Sequence[Record]]) -> tuple[Estimate, str, dict[str, float]] | None:
    own = aligned_with(record)
    tables = {label: [aligned_with(one) for one in group] for label, group in candidates.items()}
    names = [name for name in own if all(name in one for group in tables.values() for one in group)]
    if not names:
        return None
    target = np.array([own[name] for name in names])
    free = {label: np.mean([[one[name] for name in names] for one in group], axis=0) for label, group in tables.items()}
    target_draws = np.array([draws_with(record, name) for name in names])
    free_draws = {
        label: np.mean([[draws_with(one, name) for name in names] for one in group], axis=0)
        for label, group in candidates.items()
    }

    def above(some: NDArray[np.bool_]) -> float:
        return float(target[some].mean() - max(values[some].mean() for values in free.values()))

    value = above(np.ones(len(names), np.bool_))
    # The largest is another one in other draws of the items, or with other references: it is taken anew in each.
    largest = np.max([draws.mean(axis=0) for draws in free_draws.values()], axis=0)
    items = float(np.sqrt(np.mean(np.square(target_draws.mean(axis=0) - largest - value))))
    lineages = np.array([lineage_of(get_target(name).card) for name in names])
    distinct = list(dict.fromkeys(lineages))
    left_out = [above(lineages != lineage) for lineage in distinct] if len(distinct) > 1 else []
    between = float(jackknife_deviation(left_out)) if left_out else float("nan")
    estimate = Estimate.of(value, {"items": items, "lineages": between}, len(distinct) - 1)
    means = {label: float(values.mean()) for label, values in free.items()}
    return estimate, max(means, key=means.__getitem__), means
