"""The simulation behind the coverage of rank sets: what is put in comes out."""

from __future__ import annotations

import numpy as np
from benchmarks.rank_set_coverage import Model, halves_agree, simulate

from consilience.records.record import Record

from ..scoring.test_gain import DRAWS, REFERENCES, record  # noqa: TID252


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


def test_an_order_repeats_on_halves_unless_items_decide_it() -> None:
    random = np.random.default_rng(0)
    levels = np.linspace(0.2, 0.5, 6)
    names = ["diep-fold1", "chgnet-0.3.0", "sevennet-0", "ani-2xt", "so3lr", "aimnet2-wb97m-d3"]

    def records(noise: float) -> list[Record]:
        made = []
        for name, level in zip(names, levels, strict=True):
            draws = {one: np.tile([1, -1], DRAWS // 2) * noise * random.normal(size=DRAWS) for one in REFERENCES}
            made.append(record(name, dict.fromkeys(REFERENCES, level), draws))
        return made

    assert halves_agree(records(1e-4)) == 1
    assert abs(halves_agree(records(10.0))) < 0.5
    assert np.isnan(halves_agree(records(1e-4)[:2]))
