"""The simulation behind the coverage of rank sets: what is put in comes out."""

from __future__ import annotations

import numpy as np
from benchmarks.rank_set_coverage import Model, simulate


def model(interaction: float, items: float) -> Model:
    random = np.random.default_rng(0)
    truth = np.linspace(0.1, 0.5, 12)
    lineages = ["a", "b", "c", "d", "e"]
    known = np.ones((12, 5), bool)
    known[0, 0] = known[1, 1] = False
    around = items * random.normal(size=(12, 5, 40))
    return Model(truth, known, lineages, interaction, around)


def test_without_noise_each_rank_is_known() -> None:
    assert simulate(model(1e-9, 1e-9), 20) == (1.0, 1.0)


def test_sets_cover_and_widen_with_noise() -> None:
    little, much = simulate(model(0.01, 0.005), 100), simulate(model(0.1, 0.005), 100)
    assert little[0] > 0.9
    assert much[0] > 0.9
    assert 1 < little[1] < much[1] < 12
