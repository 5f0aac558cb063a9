"""Scores of all pairs of targets on one data set, not only with the references."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from consilience.metrics import (
    DegenerateInputWarning,
    NeighborKernel,
    calibration_matrices,
    get_metric,
)
from consilience.records.pairs import Pair, PairFigures

from .alignment import mean_alignment
from .presets import prepare_in
from .reference_set import matrices_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding

    from .protocol import Protocol


def score_all_pairs(
    items: Items, embeddings: Mapping[str, Embedding], protocol: Protocol, strata: str | None = None
) -> list[Pair]:
    """CKNNA of every pair, calibrated, in every preset, over the items that both embed.

    The other metrics stand in the preset that the board ranks by and in the paper's, intervals in the former alone.

    Parameters
    ----------
    items
        The data set.
    embeddings
        Embeddings of its items by name; those whose rows do not differ are left out.
    protocol
        What the board measures; the permutations are those that targets are scored with.
    strata
        Column of the items within whose groups permutations shuffle; all items by default.

    Returns
    -------
    list of Pair
        In the order of the names.
    """
    # What one target could not embed is missing from its own pairs and from no others. Targets that lack the same
    # items are scored together: each group with those that lack nothing, and with every other group.
    groups: dict[bytes, list[str]] = {np.ones(len(items), np.bool_).tobytes(): []}
    for name, one in embeddings.items():
        groups.setdefault(one.embedded.tobytes(), []).append(name)
    (_, whole), *partial = [(np.frombuffer(mask, np.bool_), names) for mask, names in groups.items()]
    scored_pairs = _score(items, embeddings, whole, whole, np.ones(len(items), np.bool_), protocol, strata)
    for number, (mask, names) in enumerate(partial):
        scored_pairs += _score(items, embeddings, names, [*whole, *names], mask, protocol, strata)
        for other_mask, others in partial[:number]:
            scored_pairs += _score(items, embeddings, names, others, mask & other_mask, protocol, strata)
    order = {name: place for place, name in enumerate(embeddings)}
    return sorted(scored_pairs, key=lambda pair: (order[pair.first], order[pair.second]))


def _score(
    items: Items,
    embeddings: Mapping[str, Embedding],
    some: Sequence[str],
    others: Sequence[str],
    common: NDArray[np.bool_],
    protocol: Protocol,
    strata: str | None,
) -> list[Pair]:
    """All pairs of one of some targets and one of the others, over the items of a mask."""
    settings = protocol.spec.settings
    # The second's items are permuted: the order decides the null.
    rows = {name: one.features[common] for name, one in embeddings.items() if name in {*some, *others}}
    rows = {name: one for name, one in rows.items() if len(np.unique(one, axis=0)) > 1}
    if len(rows) < 2 or common.sum() <= 2 * settings.k:
        return []
    shared = items if common.all() else items.select(common)
    names = list(rows)
    asked = [
        (i, j)
        for i, j in combinations(range(len(names)), 2)
        if (names[i] in some and names[j] in others) or (names[j] in some and names[i] in others)
    ]
    scores: dict[tuple[int, int], dict[str, PairFigures]] = {pair: {} for pair in asked}
    subsets = protocol.interval.subsets(len(shared), settings)
    for preset in protocol.names:
        prepared = {name: prepare_in(protocol.preset(preset), one, shared) for name, one in rows.items()}
        calibrated = calibration_matrices(
            prepared, metrics=["cknna"], k=settings.k, permutations=settings.permutations, seed=settings.seed,
            alpha=settings.alpha, strata=None if strata is None else shared.strata(strata),
        )["cknna"]  # fmt: skip
        further = _other_metrics(prepared, protocol) if preset in protocol.spec.measured.metrics_of_pairs else {}
        ranked = preset == protocol.ranked
        kernels = [NeighborKernel(prepared[name], settings.k) for name in names] if ranked else []
        for i, j in asked:
            low = high = None
            against_null = calibrated.pair(i, j)
            pair = protocol.calibration.align(against_null, np.empty(0))
            aligned = None if pair.cut else pair.value
            if kernels and against_null.null_quantile < 1:
                draws = protocol.interval.draws(kernels[i], kernels[j], against_null.score, subsets)
                mean = mean_alignment([protocol.calibration.align(against_null, draws)], protocol.interval)
                low, high = mean.low, mean.high
            metrics = {}
            for metric, values in further.items():
                if get_metric(metric.partition(":")[0]).card.symmetric:
                    metrics[metric] = values[i, j]
                else:
                    metrics[f"{metric}_to"], metrics[f"{metric}_from"] = values[i, j], values[j, i]
            scores[i, j][preset] = PairFigures(
                cknna=against_null.score, calibrated=against_null.calibrated, p_value=against_null.p_value,
                aligned=aligned, low=low, high=high, metrics=metrics,
            )  # fmt: skip
    return [
        Pair(first=names[i], second=names[j], items=int(common.sum()), scores=figures)
        for (i, j), figures in scores.items()
    ]


def _other_metrics(prepared: Mapping[str, NDArray[np.float64]], protocol: Protocol) -> dict[str, NDArray[np.float64]]:
    with warnings.catch_warnings():
        # A control such as size leaves some metrics undefined; the pair says so with a null.
        warnings.simplefilter("ignore", DegenerateInputWarning)
        return matrices_of(prepared, protocol.pair_metrics) if protocol.pair_metrics else {}
