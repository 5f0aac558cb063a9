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


def score_all_pairs(items: Items, embeddings: Mapping[str, Embedding], settings: SpecSettings) -> list[Pair]:
    """CKNNA of every pair, calibrated, in every preset, over the items that all of them embed.

    Parameters
    ----------
    items
        The data set.
    embeddings
        Embeddings of its items by name; those whose rows do not differ are left out.
    settings
        Parameters of the board; the relabellings are those that targets are scored with.

    Returns
    -------
    list of Pair
        In the order of the names.
    """
    common = np.ones(len(items), dtype=np.bool_)
    for embedding in embeddings.values():
        common &= embedding.embedded
    rows = {name: embedding.features[common] for name, embedding in embeddings.items()}
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
            alpha=settings.alpha,
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
