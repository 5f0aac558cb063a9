from __future__ import annotations

import numpy as np
import pytest

from consilience.board import ranking
from consilience.cards import Card
from consilience.records.board import Row
from consilience.records.record import Interval, PairScore, PresetScore, Record, Twin


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


def row(target: str, value: float, distribution: str, *, rank: int | None = 1) -> Row:
    return Row(
        target=target, title=target, family=target, modality="atoms", control=rank is None, reference=False,
        state="ok", reason=None, rank=rank, distribution=distribution, coverage=1,
        alignment={"beyond_composition": Interval(value=value)},
    )  # fmt: skip


def test_generality_is_the_standing_out_of_distribution_relative_to_that_in() -> None:
    tables = {
        "home": [row("a", 0.5, "in"), row("b", 0.4, "in"), row("c", 0.3, "unknown")],
        "abroad": [row("a", 0.05, "out"), row("b", 0.1, "out"), row("c", 0.1, "out")],
        "elsewhere": [row("a", 0.2, "out"), row("b", 0.9, "out", rank=None)],
    }
    found = {one.target: one for one in ranking.generality(tables)}
    assert list(found) == ["b", "a"]  # of c, nobody says what it was trained on
    assert found["b"].generality == pytest.approx(1 / 0.8)
    assert found["a"].out_of_distribution == pytest.approx((0.5 + 1) / 2)
    assert found["a"].generality == pytest.approx(0.75)
    assert found["a"].datasets_out == ("abroad", "elsewhere")
    assert ranking.generality({"home": [row("a", 0.0, "in")]}) == []


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
