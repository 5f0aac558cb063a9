"""All pairs of the targets of one data set: who agrees with whom, not with the references alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from consilience.metrics import (
    DegenerateInputWarning,
    NeighborKernel,
    alignment_matrices,
    calibration_matrices,
    draw_halves,
    get_metric,
    interval_from,
    list_metrics,
    prepare,
)
from consilience.records.pairs import Pair, PairFigures
from consilience.records.record import PRESETS, RANKED, PresetName

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding
    from consilience.records.spec import SpecSettings


def score_all_pairs(
    items: Items, embeddings: Mapping[str, Embedding], settings: SpecSettings, strata: str | None = None
) -> list[Pair]:
    """CKNNA of every pair, calibrated, in every preset, over the items that both embed.

    The other metrics stand in the preset that the board ranks by and in the paper's, intervals in the former alone.

    Parameters
    ----------
    items
        The data set.
    embeddings
        Embeddings of its items by name; those whose rows do not differ are left out.
    settings
        Parameters of the board; the relabellings are those that targets are scored with.
    strata
        Column of the items within whose groups relabellings shuffle; all items by default.

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
    found = _score(items, embeddings, whole, whole, np.ones(len(items), np.bool_), settings, strata)
    for number, (mask, names) in enumerate(partial):
        found += _score(items, embeddings, names, [*whole, *names], mask, settings, strata)
        for other_mask, others in partial[:number]:
            found += _score(items, embeddings, names, others, mask & other_mask, settings, strata)
    order = {name: place for place, name in enumerate(embeddings)}
    return sorted(found, key=lambda pair: (order[pair.first], order[pair.second]))


def _score(
    items: Items,
    embeddings: Mapping[str, Embedding],
    some: Sequence[str],
    others: Sequence[str],
    common: NDArray[np.bool_],
    settings: SpecSettings,
    strata: str | None,
) -> list[Pair]:
    """All pairs of one of some targets and one of the others, over the items of a mask."""
    # The second's items are relabelled: the order decides the null.
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
    scores: dict[tuple[int, int], dict[PresetName, PairFigures]] = {pair: {} for pair in asked}
    halves = draw_halves(len(shared), settings.subsamples // 2, seed=settings.seed)
    for preset in PRESETS:
        prepared = {name: prepare_in(preset, one, shared) for name, one in rows.items()}
        found = calibration_matrices(
            prepared, metrics=["cknna"], k=settings.k, permutations=settings.permutations, seed=settings.seed,
            alpha=settings.alpha, strata=None if strata is None else shared.strata(strata),
        )["cknna"]  # fmt: skip
        further = {} if preset == "standardized" else _other_metrics(prepared)
        kernels = [NeighborKernel(prepared[name], settings.k) for name in names] if preset == RANKED else []
        for i, j in asked:
            low, high = (
                _interval(kernels[i], kernels[j], halves, found.null_quantile[i, j]) if kernels else (None, None)
            )
            metrics = {}
            for metric, values in further.items():
                if get_metric(metric).card.symmetric:
                    metrics[metric] = values[i, j]
                else:
                    metrics[f"{metric}_to"], metrics[f"{metric}_from"] = values[i, j], values[j, i]
            scores[i, j][preset] = PairFigures(
                cknna=found.score[i, j], calibrated=found.calibrated[i, j], p_value=found.p_value[i, j],
                low=low, high=high, metrics=metrics,
            )  # fmt: skip
    return [
        Pair(first=names[i], second=names[j], items=int(common.sum()), scores=figures)
        for (i, j), figures in scores.items()
    ]


def other_pair_metrics() -> list[str]:
    """Every registered pair metric but CKNNA, which is calibrated."""
    return [name for name, entry in list_metrics().items() if entry.card.inputs == "pair" and name != "cknna"]


def _other_metrics(prepared: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    with warnings.catch_warnings():
        # A control such as size leaves some metrics undefined; the pair says so with a null.
        warnings.simplefilter("ignore", DegenerateInputWarning)
        return alignment_matrices(prepared, metrics=other_pair_metrics()).matrices


def _interval(
    a: NeighborKernel, b: NeighborKernel, halves: NDArray[np.intp], threshold: float
) -> tuple[float | None, float | None]:
    """Interval of a pair's calibrated score: that of CKNNA, put on the calibrated scale."""
    if not threshold < 1:
        return None, None
    found = interval_from(a, b, halves=halves)
    low, high = (max(0.0, (end - threshold) / (1 - threshold)) for end in (found.low, found.high))
    return low, high


def prepare_in(preset: PresetName, features: NDArray[np.float32], items: Items) -> NDArray[np.float64]:
    """Prepare an embedding as a preset asks for."""
    if preset == "paper":
        return prepare(features, scheme="unit")
    controls = None if preset == "standardized" else items.controls()
    return prepare(features, scheme="standardized", controls=controls)
