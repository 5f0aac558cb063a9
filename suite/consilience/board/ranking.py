"""Ranks with intervals, ranks across data sets, and how well a preset tells trained from untrained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consilience.cards import UNTRAINED
from consilience.metrics.inference.lineages import rank_sets as lineage_rank_sets
from consilience.records.board import Discrimination, Generality, OverallRow, Row
from consilience.records.record import Record
from consilience.registry import get_target
from consilience.scoring.gain import aligned_with, draws_with
from consilience.scoring.lineage import lineage_of
from consilience.scoring.presets import RANKED


def ranks(scores: Mapping[str, float]) -> dict[str, int]:
    """Rank by score, highest first; equal scores share the better rank."""
    return {name: 1 + sum(other > score for other in scores.values()) for name, score in scores.items()}


def rank_intervals(draws: Mapping[str, Sequence[float | None]], level: float = 0.95) -> dict[str, tuple[int, int]]:
    """Interval of each rank over draws of the items.

    Parameters
    ----------
    draws
        Score that each target would have in other draws of the items, from the same halves for all targets, so
        that what is common to all of them (easy or hard items) does not blur the order.
    level
        Coverage of the interval.
    """
    names = [name for name, values in draws.items() if values and all(v is not None for v in values)]
    if not names:
        return {}
    table: NDArray[np.float64] = np.array([draws[name] for name in names], dtype=np.float64)
    drawn = 1 + (table[None, :, :] > table[:, None, :]).sum(axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=1, method="nearest")
    return {name: (int(low[i]), int(high[i])) for i, name in enumerate(names)}


@dataclass(frozen=True)
class AlignmentTable:
    """Alignments of the targets of a data set with its references.

    Attributes
    ----------
    targets
        Names of t targets.
    table : ndarray of shape (t, r)
        Alignments with r references; nan where a target is not compared with a reference.
    draws : ndarray of shape (t, r, s)
        The same in s other draws of the items.
    lineages
        Lineage of each reference.
    """

    targets: list[str]
    table: NDArray[np.float64]
    draws: NDArray[np.float64]
    lineages: list[str]


def alignment_table(records: Sequence[Record]) -> AlignmentTable | None:
    """Alignments of the records of a data set that have any; None where none has."""
    aligned = {record.target: aligned_with(record) for record in records}
    names = [name for name, pairs in aligned.items() if pairs]
    references = sorted({reference for pairs in aligned.values() for reference in pairs})
    if not names:
        return None
    by_name = {record.target: record for record in records}
    table = np.array([[aligned[name].get(one, np.nan) for one in references] for name in names])
    draws = [[draws_with(by_name[name], one) if one in aligned[name] else None for one in references] for name in names]
    length = max(len(one) for row in draws for one in row if one is not None)
    filled = np.array([[np.full(length, np.nan) if one is None else one for one in row] for row in draws])
    return AlignmentTable(names, table, filled, [lineage_of(get_target(one).card) for one in references])


def rank_sets(records: Sequence[Record]) -> dict[str, tuple[int, int]]:
    """Ranks that each target may have, over draws of the items and other lineages of references.

    Alignments with each reference are made comparable by the additive model: a target is not compared with references
    of its own lineage (:func:`consilience.metrics.inference.lineages.rank_sets`).

    Parameters
    ----------
    records
        Ranked targets of a data set, of a board whose alignment is cut off nowhere.
    """
    found = alignment_table(records)
    if found is None:
        return {}
    names, table = found.targets, found.table
    place = ranks({name: float(np.nanmean(row)) for name, row in zip(names, table, strict=True)})
    sets = lineage_rank_sets(table, found.draws, found.lineages)
    return {
        name: (min(one.low, place[name]), max(one.high, place[name])) for name, one in zip(names, sets, strict=True)
    }


def borda(tables: Mapping[str, Mapping[str, int]]) -> list[OverallRow]:
    """Order across data sets, over the targets ranked on every one of them (complete cases).

    Parameters
    ----------
    tables
        By data set: the rank of each target.
    """
    if len(tables) < 2:
        return []
    complete = set.intersection(*(set(table) for table in tables.values()))
    if len(complete) < 2:
        return []
    shares: dict[str, float] = {}
    for name in complete:
        won = [sum(table[other] > table[name] for other in complete) for table in tables.values()]
        shares[name] = float(np.mean(won)) / (len(complete) - 1)
    order = ranks(shares)
    rows = [
        OverallRow(target=name, borda=shares[name], rank=order[name], ranks={d: t[name] for d, t in tables.items()})
        for name in complete
    ]
    return sorted(rows, key=lambda row: (row.rank, row.target))


def generality(tables: Mapping[str, Sequence[Row]], ranked: str = RANKED) -> list[Generality]:
    """Alignment out of distribution relative to in distribution, of the targets that were ranked on both.

    How far models agree at all depends on the data set, so that each figure is first divided by the highest of its
    data set. Where a target's training data are not known (``unknown``), the data set counts on neither side.

    Parameters
    ----------
    tables
        Rows of each data set.
    """
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for name, rows in tables.items():
        values = {row.target: row.alignment[ranked].value or 0.0 for row in rows if row.rank is not None}
        best = max(values.values(), default=0.0)
        for row in rows:
            if best > 0 and row.target in values and row.distribution in ("in", "out"):
                shares.setdefault(row.target, {}).setdefault(row.distribution, {})[name] = values[row.target] / best
    found = []
    for target, sides in shares.items():
        if len(sides) == 2:
            inside, outside = (float(np.mean(list(sides[side].values()))) for side in ("in", "out"))
            found.append(
                Generality(
                    target=target,
                    in_distribution=inside,
                    out_of_distribution=outside,
                    generality=outside / inside if inside > 0 else None,
                    datasets_in=tuple(sides["in"]),
                    datasets_out=tuple(sides["out"]),
                )
            )
    return sorted(found, key=lambda row: (-row.out_of_distribution, row.target))


def discrimination(records: Sequence[Record], preset: str = RANKED) -> Discrimination:
    """Probability that a trained-trained pair of different families outscores a trained-untrained one.

    The trained-trained pairs are those of a trained target with a reference outside its family, each counted
    once; the trained-untrained pairs are those of an untrained twin with a reference outside its family, and of a
    trained target with its own twin (the hardest of all: they share their architecture). Values are CKNNA as
    measured in the preset. It is the area under the ROC curve: 0.5 means that the preset can't
    tell a trained network from a random one, 1 that it always can.

    The figure counts only trained targets that read what the untrained twins read. Their pairs still differ in
    architecture as well as in training. Trained string and graph models can agree with 3D references less than
    an untrained 3D network does; the figure over all modalities counts them too. (On board v1 the restriction
    was chosen after that figure had been seen to be 0.87 on the isomers.)
    """
    pairs = compared_pairs(records, preset)
    trained, untrained, across = (list(kind.values()) for kind in (pairs.trained, pairs.untrained, pairs.across))
    return Discrimination(
        value=_probability_above(trained, untrained),
        trained_pairs=len(trained),
        untrained_pairs=len(untrained),
        across_modalities=_probability_above(across, untrained),
        pairs_across=len(across),
    )


@dataclass(frozen=True)
class ComparedPairs:
    """Pairs that the discrimination compares, with their CKNNA as measured; every pair once.

    Attributes
    ----------
    trained
        Pairs of trained targets that read what the untrained twins read.
    untrained
        Pairs of an untrained twin: with references, and with its own trained target.
    across
        Pairs of trained targets, whatever they read.
    """

    trained: Mapping[tuple[str, str], float]
    untrained: Mapping[tuple[str, str], float]
    across: Mapping[tuple[str, str], float]


def compared_pairs(records: Iterable[Record], preset: str) -> ComparedPairs:
    """Pairs that `discrimination` compares, of the records of one data set, in a preset."""
    records = list(records)
    twins = [record for record in records if record.untrained]
    modalities = {record.card.modality for record in twins}
    trained = [record for record in records if record.trained]
    untrained = _pairs(twins, preset)
    for record in trained:
        twin = record.twin.get(preset)
        if twin is not None and twin.cknna is not None:
            untrained[record.target, record.target + UNTRAINED] = twin.cknna
    alike = [record for record in trained if record.card.modality in modalities]
    return ComparedPairs(_pairs(alike, preset), untrained, _pairs(trained, preset))


def _pairs(records: Iterable[Record], preset: str) -> dict[tuple[str, str], float]:
    """CKNNA of each pair of a target and a reference, in whichever order it was scored."""
    pairs: dict[tuple[str, str], float] = {}
    for record in records:
        score = record.scores.get(preset)
        if record.state != "ok" or score is None:
            continue
        for reference, pair in score.pairs.items():
            if pair.cknna is not None:
                pairs.pop((reference, record.target), None)  # two references meet twice
                pairs[record.target, reference] = pair.cknna
    return pairs


def _probability_above(higher: Sequence[float], lower: Sequence[float]) -> float | None:
    if not higher or not lower:
        return None
    above, below = np.array(higher)[:, None], np.array(lower)[None]
    return float(((above > below) + 0.5 * (above == below)).mean())
