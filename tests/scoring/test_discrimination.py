"""Paired discrimination and the gains of what was not trained."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.registry import get_target
from consilience.scoring.discrimination import null_gains, other_training_sets, paired_discrimination

from .test_gain import over_references, record


def board(gained: dict[str, float], *, seeds: int = 2) -> list:
    random = np.random.default_rng(0)
    records = []
    for name, gain in gained.items():
        level = random.uniform(0.05, 0.3)  # what an architecture gives for free differs
        records.append(record(name, over_references(*(level + gain + random.normal(0, 0.002, 4)))))
        for seed in range(1, seeds + 1):
            records.append(record(f"{name}@untrained:{seed}", over_references(*(level + random.normal(0, 0.002, 4)))))
    return records


def test_each_target_is_compared_with_its_own_twins() -> None:
    records = board({"diep-fold1": 0.1, "chgnet-0.3.0": 0.05, "chgnet-r2scan": 0.2, "so3lr": -0.1})
    found = paired_discrimination(records)
    assert found is not None
    assert (found.comparisons, found.targets, found.lineages, found.positive) == (32, 4, 3, 2)
    assert found.value == 24 / 32
    assert found.p_value == pytest.approx(0.5)
    only = paired_discrimination(records, of=lambda one: one.card.family == "chgnet")
    assert only is not None
    assert (only.value, only.comparisons, only.lineages) == (1.0, 16, 1)
    assert paired_discrimination(records, of=lambda one: False) is None


@pytest.mark.parametrize(("lineages", "bound"), [(8, 0.6877), (5, 0.5493), (1, 0.05)])
def test_few_lineages_prove_little(lineages: int, bound: float) -> None:
    names = (
        "diep-fold1",
        "chgnet-0.3.0",
        "so3lr",
        "sevennet-0",
        "ani-1x",
        "cgcnn-band-gap",
        "megnet-band-gap",
        "vicgae",
    )
    found = paired_discrimination(board(dict.fromkeys(names[:lineages], 0.1)))
    assert found is not None
    assert found.positive == found.lineages == lineages
    assert found.bound == pytest.approx(bound, abs=1e-4)


def test_references_that_share_no_training_set() -> None:
    cards = {name: get_target(name).card for name in ("chgnet-0.3.0", "sevennet-0", "so3lr", "aimnet2-wb97m-d3")}
    assert not other_training_sets(cards["chgnet-0.3.0"], cards["sevennet-0"])
    assert other_training_sets(cards["chgnet-0.3.0"], cards["so3lr"])
    records = board({"diep-fold1": 0.1})
    found = paired_discrimination(records, against=other_training_sets)
    assert found is not None
    assert found.comparisons == 2 * sum(
        other_training_sets(get_target("diep-fold1").card, one) for one in cards.values()
    )


def test_a_twin_against_the_others_gains_nothing() -> None:
    records = board({"diep-fold1": 0.1, "chgnet-0.3.0": 0.1, "so3lr": 0.1}, seeds=3)
    found = null_gains(records)
    assert found is not None
    assert len(found.values) == 9
    assert abs(np.mean(found.values)) < 0.003
    assert found.clear <= 1
    assert found.above == 1.0
    assert 0 < found.bound < 0.5
    assert null_gains(board({"diep-fold1": 0.1}, seeds=1)) is None
