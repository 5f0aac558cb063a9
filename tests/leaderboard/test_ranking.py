from __future__ import annotations

import numpy as np
import pytest

from consilience.cards import Card
from consilience.leaderboard import ranking
from consilience.results import Interval, PairScore, PresetScore, Record, Twin


def test_equal_scores_share_the_better_rank() -> None:
    assert ranking.ranks({"a": 0.5, "b": 0.7, "c": 0.5, "d": 0.1}) == {"a": 2, "b": 1, "c": 2, "d": 4}


def test_rank_intervals_follow_the_draws() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=200)  # shared by all: it must not blur the order
    draws = {
        "first": (common + 1).tolist(),
        "second": (common + 0.1 * rng.normal(size=200)).tolist(),
        "third": (common + 0.1 * rng.normal(size=200)).tolist(),
        "unknown": [],
    }
    assert ranking.rank_intervals(draws) == {"first": (1, 1), "second": (2, 3), "third": (2, 3)}
    assert ranking.rank_intervals({}) == {}


def test_borda_counts_complete_cases_only() -> None:
    rows = ranking.borda({"x": {"a": 1, "b": 2, "c": 3, "only-x": 4}, "y": {"a": 1, "b": 3, "c": 2}})
    assert [row.target for row in rows] == ["a", "b", "c"]
    assert [row.borda for row in rows] == [1.0, 0.25, 0.25]
    assert [row.rank for row in rows] == [1, 2, 2]
    assert ranking.borda({"x": {"a": 1, "b": 2}}) == []


def record(name: str, modality: str, pairs: dict[str, float], *, trained: bool = True) -> Record:
    scores = {
        reference: PairScore(cknna=value, null_mean=0, null_quantile=0, p_value=0, calibrated=value)
        for reference, value in pairs.items()
    }
    preset = PresetScore(alignment=Interval(value=0), cknna=0, pairs=scores, self_alignment=1)
    return Record(
        board="v1",
        dataset="d",
        revision="0" * 64,
        target=name,
        card=Card(name=name.split("@")[0], family=name.split("@")[0], modality=modality),  # type: ignore[arg-type]
        trained=trained,
        state="ok",
        scores={"beyond_composition": preset},
    )


def test_discrimination_is_the_area_under_the_roc_curve() -> None:
    records = [
        record("a", "atoms", {"b": 0.5}),
        record("b", "atoms", {"a": 0.5}),  # the same pair, counted once
        record("c", "atoms", {"a": 0.2, "b": 0.3}),
        record("s", "string", {"a": 0.05}),
        record("a@untrained", "atoms", {"b": 0.25}, trained=False),
        record("b@untrained", "atoms", {"a": 0.1}, trained=False),
    ]
    found = ranking.discrimination(records)
    assert (found.trained_pairs, found.untrained_pairs, found.pairs_across) == (3, 2, 4)
    assert found.value == pytest.approx(5 / 6)
    assert found.across_modalities == pytest.approx(5 / 8)
    # A target against its own twin is a trained-untrained pair too.
    records[0].twin["beyond_composition"] = Twin(cknna=0.35, calibrated=0.3, distance=0.7)
    found = ranking.discrimination(records)
    assert found.untrained_pairs == 3
    assert found.value == pytest.approx(6 / 9)


def test_discrimination_is_undefined_without_twins() -> None:
    assert ranking.discrimination([record("a", "atoms", {"b": 0.5})]).value is None
