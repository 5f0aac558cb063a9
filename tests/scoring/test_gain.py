"""Training gain: a target against its own untrained twins, on records."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from consilience.records.record import Interval, PairScore, PresetScore, Record
from consilience.registry import get_target
from consilience.scoring.gain import clear_gains, training_gains, twins_of

REFERENCES = ("aimnet2-wb97m-d3", "so3lr", "sevennet-0", "chgnet-0.3.0")
DRAWS = 40


def record(target: str, aligned: dict[str, float], draws: dict[str, np.ndarray] | None = None) -> Record:
    """Record of a cell with these alignments; the draws of a pair lie around its alignment."""
    known = get_target(target)
    pairs = {
        name: PairScore(
            cknna=0.5,
            null_mean=0.02,
            null_quantile=0.03,
            p_value=0.005,
            calibrated=0.5,
            aligned=value,
            draws=(value + (draws[name] if draws else np.zeros(DRAWS))).tolist(),
        )
        for name, value in aligned.items()
    }
    mean = float(np.mean(list(aligned.values())))
    score = PresetScore(alignment=Interval(value=mean), cknna=mean, pairs=pairs, self_alignment=1.0)
    return Record(
        board="v2",
        dataset="qm9-1k",
        revision="0" * 64,
        target=target,
        card=known.card,
        trained=known.trained,
        state="ok",
        ranked="beyond_composition",
        scores={"beyond_composition": score},
    )


def over_references(*values: float) -> dict[str, float]:
    return dict(zip(REFERENCES, values, strict=True))


def test_a_gain_is_the_difference_to_the_mean_of_own_twins() -> None:
    records = [
        record("diep-fold1", over_references(0.5, 0.4, 0.45, 0.35)),
        record("diep-fold1@untrained", over_references(0.9, 0.9, 0.9, 0.9)),
        record("diep-fold1@untrained:1", over_references(0.2, 0.2, 0.1, 0.1)),
        record("diep-fold1@untrained:2", over_references(0.1, 0.1, 0.2, 0.2)),
        record("soap", over_references(0.3, 0.3, 0.3, 0.3)),
    ]
    gains = training_gains(records)
    assert list(gains) == ["diep-fold1"]
    gain = gains["diep-fold1"]
    differences = np.array([0.35, 0.25, 0.30, 0.20])
    assert gain.estimate.value == pytest.approx(differences.mean())
    assert gain.by_reference == pytest.approx(dict(zip(REFERENCES, differences, strict=True)))
    assert gain.seeds == 2
    assert gain.by_seed == pytest.approx((0.15, 0.15))
    assert gain.untrained == pytest.approx(0.15)
    assert gain.estimate.parts == pytest.approx({"items": 0, "lineages": stats.sem(differences), "seeds": 0})
    low, high = stats.t.interval(0.95, 3, differences.mean(), stats.sem(differences))
    assert (gain.estimate.low, gain.estimate.high) == pytest.approx((low, high))


def test_a_users_checkpoint_has_the_twins_of_its_card() -> None:
    mine = record("diep-fold1", over_references(0.5, 0.4, 0.45, 0.35)).model_copy(update={"target": "diep-fold1@mine"})
    twin = record("diep-fold1@untrained:1", over_references(0.2, 0.2, 0.1, 0.1))
    gains = training_gains([mine, twin])
    assert list(gains) == ["diep-fold1@mine"]
    assert gains["diep-fold1@mine"].estimate.value == pytest.approx(0.275)


def test_the_items_of_target_and_twins_are_the_same() -> None:
    """What is common to their draws (easy or hard items) is no part of the error of a gain."""
    random = np.random.default_rng(0)
    common = {name: 0.1 * random.normal(size=DRAWS) for name in REFERENCES}
    own = {name: common[name] + 0.01 * random.normal(size=DRAWS) for name in REFERENCES}
    records = [
        record("diep-fold1", over_references(0.5, 0.5, 0.5, 0.5), own),
        record("diep-fold1@untrained:1", over_references(0.1, 0.1, 0.1, 0.1), common),
    ]
    gain = training_gains(records)["diep-fold1"]
    expected = np.mean([own[name] - common[name] for name in REFERENCES], axis=0)
    assert gain.estimate.parts["items"] == pytest.approx(np.sqrt(np.mean(expected**2)))


def test_a_target_with_one_twin_has_the_deviation_of_its_modality() -> None:
    records = [
        record("diep-fold1", over_references(0.5, 0.5, 0.5, 0.5)),
        record("diep-fold1@untrained:1", over_references(0.1, 0.1, 0.1, 0.1)),
        record("diep-fold1@untrained:2", over_references(0.2, 0.2, 0.2, 0.2)),
        record("ani-1x", over_references(0.5, 0.5, 0.5, 0.5)),
        record("ani-1x@untrained:1", over_references(0.3, 0.3, 0.3, 0.3)),
        record("vicgae", over_references(0.1, 0.1, 0.1, 0.1)),
        record("vicgae@untrained:1", over_references(0.1, 0.1, 0.1, 0.1)),
    ]
    gains = training_gains(records)
    deviation = np.std([0.1, 0.2], ddof=1)
    assert gains["diep-fold1"].estimate.parts["seeds"] == pytest.approx(deviation / np.sqrt(2))
    assert gains["ani-1x"].estimate.parts["seeds"] == pytest.approx(deviation)
    assert "seeds" not in gains["vicgae"].estimate.parts, "no string model here has two twins"


def test_twins_in_the_order_of_their_numbers_and_only_scored_ones() -> None:
    names = [f"diep-fold1@untrained:{number}" for number in (10, 2, 1)]
    records = [record(name, over_references(0.1, 0.1, 0.1, 0.1)) for name in names]
    records[1] = records[1].model_copy(update={"state": "failed", "scores": {}})
    assert [one.target for one in twins_of(records)["diep-fold1"]] == [names[2], names[0]]
    assert training_gains(records) == {}


def test_clear_gains_and_those_that_stay() -> None:
    records = []
    for name, gained in (("diep-fold1", 0.3), ("chgnet-0.3.0", 0.001), ("so3lr", -0.2)):
        noise = np.array([0.002, -0.002, 0.001, -0.001])
        records.append(record(name, over_references(*(0.3 + gained + noise))))
        records.append(record(f"{name}@untrained:1", over_references(0.3, 0.3, 0.3, 0.3)))
    gains = training_gains(records)
    clear, stays = clear_gains(gains)
    assert clear == ["diep-fold1"]
    assert stays == ["diep-fold1"]
