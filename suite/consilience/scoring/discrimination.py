"""Does training show? Every trained target against its own untrained twins, with the same reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from consilience.cards import Card
from consilience.records.record import Record
from consilience.registry import get_target

from .gain import aligned_with, training_gains, twins_of
from .lineage import lineage_of


@dataclass(frozen=True)
class Paired:
    """Paired discrimination: how often a trained target aligns with a reference more than an own twin does.

    Attributes
    ----------
    value
        Share of the comparisons, ties counted one half.
    comparisons
        Target, reference and twin: how many.
    targets
        Trained targets that were compared.
    lineages, positive
        Their lineages, and how many of these gain on average. Members of a lineage are not independent.
    p_value
        Sign test over lineages, one-sided.
    bound
        Lower 95 % bound of the probability that a lineage gains (Clopper and Pearson 1934).
    """

    value: float
    comparisons: int
    targets: int
    lineages: int
    positive: int
    p_value: float
    bound: float


def paired_discrimination(
    records: Sequence[Record],
    *,
    of: Callable[[Record], bool] = lambda record: True,
    against: Callable[[Card, Card], bool] = lambda target, reference: True,
) -> Paired | None:
    """Paired discrimination on one data set.

    Parameters
    ----------
    records
        Records of the data set.
    of
        Which trained targets count: those of a modality, say.
    against
        Which references a target is compared with, by both cards: those with another training set, say.

    Returns
    -------
    Paired or None
        None where nothing can be compared.
    """
    from scipy.stats import beta, binomtest

    twins = twins_of(records)
    cards = {record.target: record.card for record in records}
    wins = count = 0.0
    gains: dict[str, list[float]] = {}
    targets = 0
    for record in records:
        if not (record.trained and record.card.name in twins and of(record)):
            continue
        own = aligned_with(record)
        names = [name for name in own if against(record.card, cards.get(name) or get_target(name).card)]
        differences = [
            own[name] - other[name]
            for name in names
            for other in map(aligned_with, twins[record.card.name])
            if name in other
        ]
        if not differences:
            continue
        targets += 1
        count += len(differences)
        wins += sum(1.0 if one > 0 else 0.5 if one == 0 else 0.0 for one in differences)
        gains.setdefault(lineage_of(record.card), []).append(float(np.mean(differences)))
    if not count:
        return None
    positive, lineages = sum(np.mean(one) > 0 for one in gains.values()), len(gains)
    return Paired(
        value=wins / count,
        comparisons=int(count),
        targets=targets,
        lineages=lineages,
        positive=int(positive),
        p_value=float(binomtest(int(positive), lineages, 0.5, alternative="greater").pvalue),
        bound=float(beta.ppf(0.05, positive, lineages - positive + 1)) if positive else 0.0,
    )


def other_training_sets(target: Card, reference: Card) -> bool:
    """Whether two cards name training sets that share no source."""
    from .lineage import collections

    return not collections(target.trained_on or ()) & collections(reference.trained_on or ())


@dataclass(frozen=True)
class NullGains:
    """Gains of twins, which were not trained: one against the others of its target, both signs.

    Attributes
    ----------
    values
        One for each twin.
    clear
        How many intervals leave out 0, on either side.
    bound
        Upper 95 % bound of the share of such intervals (Clopper and Pearson 1934).
    above
        Probability that the gain of a trained target is larger than a gain of a twin.
    """

    values: tuple[float, ...]
    clear: int
    bound: float
    above: float


def null_gains(records: Sequence[Record]) -> NullGains | None:
    """Take each twin of a target with several as if it were trained; None where no target has two."""
    from scipy.stats import beta

    twins = twins_of(records)
    others = [record for record in records if record.target not in twins]
    values: list[float] = []
    clear = 0
    for name, own in twins.items():
        for place, twin in enumerate(own if len(own) > 1 else []):
            stand_in = twin.model_copy(update={"target": name, "trained": True})
            rest = [one for number, one in enumerate(own) if number != place]
            # The deviation among seeds is that of all targets, as for a trained one.
            rest_of_all = [one for key, many in twins.items() if key != name for one in many]
            trained = [one for one in records if one.trained and one.target in twins and one.target != name]
            gains = training_gains([*others, *trained, *rest_of_all, *rest, stand_in])
            if name in gains:
                estimate = gains[name].estimate
                values.append(estimate.value)
                clear += estimate.low > 0 or estimate.high < 0
    if not values:
        return None
    gained = [gain.estimate.value for gain in training_gains(records).values()]
    above = float(np.mean(np.array(gained)[:, None] > np.array(values))) if gained else float("nan")
    bound = float(beta.ppf(0.95, clear + 1, len(values) - clear)) if clear < len(values) else 1.0
    return NullGains(tuple(values), int(clear), bound, above)
