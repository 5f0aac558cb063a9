"""What is made of composition alone has no score beyond composition: nan and a warning, on every set that has one."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.datasets.items import Items, open_dataset
from consilience.metrics import DegenerateInputWarning, NeighborKernel, cknna_from
from consilience.scoring.presets import examine_in, get_preset, prepare_in

#: Shipped sets with composition, and the neighbours of board v2.
DATASETS = {
    "qm9-1k": 25, "qm9-isomers-1k": 25, "mp-1k": 25, "mp-polymorphs": 25, "mp-prototypes-1k": 25, "ccd-1k": 25,
    "mof-500": 12, "mof-500-v2": 12,
}  # fmt: skip
PRESET = get_preset("beyond_composition", 2)


def element_embeddings(items: Items, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Mean over atoms of a random vector of each element."""
    counts, _ = items.composition()
    shares = counts / counts.sum(axis=1, keepdims=True)
    return shares @ np.random.default_rng(seed).normal(size=(counts.shape[1], 64))


@pytest.mark.parametrize("dataset", DATASETS)
def test_two_random_element_embeddings_are_undefined(dataset: str) -> None:
    items, kernels = open_dataset(dataset), []
    for seed in (0, 1):
        rows = element_embeddings(items, seed).astype(np.float32)
        if np.ptp(rows, axis=0).any():
            with pytest.warns(DegenerateInputWarning, match="linear in the controls"):
                found = examine_in(PRESET, rows, items)
            assert found.left < 1e-6
        else:  # isomers: nothing varies at all
            found = examine_in(PRESET, rows, items)
        kernels.append(NeighborKernel(found.rows, DATASETS[dataset]))
    with pytest.warns(DegenerateInputWarning):
        assert np.isnan(cknna_from(*kernels))


@pytest.mark.parametrize("dataset", [name for name in DATASETS if name != "qm9-isomers-1k"])
def test_a_ten_thousandth_of_other_variance_reads_as_a_hundredth_does(dataset: str) -> None:
    items, k = open_dataset(dataset), DATASETS[dataset]
    random = np.random.default_rng(2)
    pair = [element_embeddings(items, seed) for seed in (0, 1)]
    noise = [random.normal(size=one.shape) for one in pair]
    values = []
    for share in (1e-4, 1e-2):
        noisy = [one / one.std(axis=0) + np.sqrt(share) * other for one, other in zip(pair, noise, strict=True)]
        kernels = [NeighborKernel(prepare_in(PRESET, one.astype(np.float32), items), k) for one in noisy]
        values.append(cknna_from(*kernels))
    assert abs(values[0] - values[1]) <= 0.05
