"""All pairs of the targets of one data set: who agrees with whom, not with the references alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from consilience.metrics import calibration_matrices, prepare
from consilience.results import PRESETS, Pair, PairFigures, PresetName

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding
    from consilience.spec import SpecSettings


def score_all_pairs(
    items: Items, embeddings: Mapping[str, Embedding], settings: SpecSettings, strata: str | None = None
) -> list[Pair]:
    """CKNNA of every pair, calibrated, in every preset, over the items that both embed.

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
    found: list[Pair] = []
    rows = {name: one.embedded for name, one in embeddings.items()}
    whole = [name for name in rows if rows[name].all()]
    found += _score(items, embeddings, whole, np.ones(len(items), np.bool_), settings, strata)
    partial = [name for name in rows if not rows[name].all()]
    for number, name in enumerate(partial):
        # What one target could not embed is missing from its own pairs and from no others.
        pairs = _score(items, embeddings, [*whole, name], rows[name], settings, strata)
        found += [pair for pair in pairs if name in (pair.first, pair.second)]
        for other in partial[:number]:
            found += _score(items, embeddings, [other, name], rows[name] & rows[other], settings, strata)
    order = {name: place for place, name in enumerate(embeddings)}
    return sorted(found, key=lambda pair: (order[pair.first], order[pair.second]))


def _score(
    items: Items,
    embeddings: Mapping[str, Embedding],
    names: list[str],
    common: NDArray[np.bool_],
    settings: SpecSettings,
    strata: str | None,
) -> list[Pair]:
    """All pairs of some of the targets over the items of a mask."""
    names = [name for name in embeddings if name in names]  # the second's items are relabelled: order decides the null
    rows = {name: embeddings[name].features[common] for name in names}
    rows = {name: one for name, one in rows.items() if len(np.unique(one, axis=0)) > 1}
    if len(rows) < 2 or common.sum() <= 2 * settings.k:
        return []
    shared = items if common.all() else items.select(common)
    names = list(rows)
    scores: dict[tuple[str, str], dict[PresetName, PairFigures]] = {pair: {} for pair in combinations(names, 2)}
    for preset in PRESETS:
        prepared = {name: prepare_in(preset, one, shared) for name, one in rows.items()}
        found = calibration_matrices(
            prepared, metrics=["cknna"], k=settings.k, permutations=settings.permutations, seed=settings.seed,
            alpha=settings.alpha, strata=None if strata is None else shared.strata(strata),
        )["cknna"]  # fmt: skip
        for (i, first), (j, second) in combinations(enumerate(names), 2):
            scores[first, second][preset] = PairFigures(
                cknna=found.score[i, j], calibrated=found.calibrated[i, j], p_value=found.p_value[i, j]
            )
    return [
        Pair(first=first, second=second, items=int(common.sum()), scores=s) for (first, second), s in scores.items()
    ]


def prepare_in(preset: PresetName, features: NDArray[np.float32], items: Items) -> NDArray[np.float64]:
    """Prepare an embedding as a preset asks for."""
    if preset == "paper":
        return prepare(features, scheme="unit")
    controls = None if preset == "standardized" else items.controls()
    return prepare(features, scheme="standardized", controls=controls)
