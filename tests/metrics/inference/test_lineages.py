"""Means over lineages of references, their errors, and which differences between targets are clear."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from consilience.metrics.inference.lineages import (
    Estimate,
    RankSet,
    additive_scores,
    benjamini_hochberg,
    jackknife_deviation,
    left_out_means,
    mean_over_lineages,
    pooled_deviation,
    rank_sets,
)


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.array([0.31, 0.12, 0.25, 0.2, 0.41])
    found = mean_over_lineages(values, np.repeat(values[:, None], 4, axis=1), list("abcde"))
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue)
    assert found.clear
    assert found.parts == pytest.approx({"items": 0, "lineages": stats.sem(values)})


def test_errors_of_items_seeds_and_lineages_add_up() -> None:
    random = np.random.default_rng(0)
    values, items = random.normal(size=6), random.normal(size=100)
    found = mean_over_lineages(values, values[:, None] + 0.2 * items, list("aabbcd"), seeds=0.3)
    assert found.parts["items"] == pytest.approx(0.2 * np.sqrt(np.mean(items**2)))
    assert found.deviation**2 == pytest.approx(sum(part**2 for part in found.parts.values()))
    assert found.degrees == 3
    means = [values[[0, 1, 2, 3, 4, 5]][np.array(list("aabbcd")) != one].mean() for one in "abcd"]
    assert found.parts["lineages"] == pytest.approx(np.sqrt(3 / 4 * np.sum((means - np.mean(means)) ** 2)))


def test_one_lineage_gives_no_interval() -> None:
    found = mean_over_lineages([0.3, 0.4], np.zeros((2, 5)) + 0.35, ["a", "a"])
    assert found.value == pytest.approx(0.35)
    assert np.isnan([found.low, found.high, found.p_value]).all()
    assert not found.clear
    assert np.isnan(jackknife_deviation([0.3]))
    assert left_out_means([0.3], ["a"]).shape == (0,)


@pytest.mark.parametrize("lineages", [3, 5, 8])
def test_intervals_cover(lineages: int) -> None:
    """Normal effects of lineages, items and seeds; the share of 4,000 intervals that hold the true mean."""
    random = np.random.default_rng(lineages)
    runs, covered = 4000, 0
    for _ in range(runs):
        effects = 0.2 + 0.05 * random.normal(size=lineages)
        item, seed = 0.01 * random.normal(), 0.01 * random.normal()
        drawn = (effects + item + seed)[:, None] + 0.01 * random.normal(size=50)
        found = mean_over_lineages(effects + item + seed, drawn, list(range(lineages)), seeds=0.01)
        covered += found.low <= 0.2 <= found.high
    assert covered / runs >= 0.93


def test_pooled_deviation_is_that_of_the_analysis_of_variance() -> None:
    samples = [[0.1, 0.3, 0.2], [0.9, 1.1], [0.5], []]
    residuals = [-0.1, 0.1, 0.0, -0.1, 0.1]
    assert pooled_deviation(samples) == pytest.approx(np.sqrt(np.sum(np.square(residuals)) / 3))
    assert np.isnan(pooled_deviation([[0.1], []]))


def test_benjamini_hochberg_agrees_with_scipy() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        values = np.concatenate([random.uniform(size=20), random.uniform(0, 0.01, size=random.integers(0, 6))])
        np.testing.assert_array_equal(benjamini_hochberg(values), stats.false_discovery_control(values) <= 0.05)
    assert benjamini_hochberg([0.001, float("nan")]).tolist() == [True, False]
    assert benjamini_hochberg([]).tolist() == []


def test_scores_do_not_depend_on_which_references_were_left_out() -> None:
    random = np.random.default_rng(0)
    target, reference = random.uniform(size=9), random.uniform(size=5)
    table = target[:, None] + reference
    full, _ = additive_scores(table)
    np.testing.assert_allclose(full, table.mean(axis=1))
    table[random.integers(0, 9, 6), random.integers(0, 5, 6)] = np.nan
    draws = table[:, :, None] + np.array([0, 0.1, -0.1])
    scores, drawn = additive_scores(table, draws)
    np.testing.assert_allclose(scores, full)
    assert drawn is not None
    np.testing.assert_allclose(drawn, full[:, None] + [0, 0.1, -0.1])
    table[4] = np.nan
    assert np.flatnonzero(np.isnan(additive_scores(table)[0])).tolist() == [4]


def test_rank_sets_of_what_is_clear_and_of_what_is_not() -> None:
    random = np.random.default_rng(0)
    truth = np.array([0.5, 0.3, 0.3001, 0.1])
    table = truth[:, None] + np.array([0, 0.1, -0.1]) + 0.003 * random.normal(size=(4, 3))
    draws = table[:, :, None] + 0.003 * random.normal(size=(4, 1, 50))
    found = rank_sets(table, draws, list("abc"))
    assert found == [RankSet(1, 1), RankSet(2, 3), RankSet(2, 3), RankSet(4, 4)]
    assert rank_sets(table, draws, list("aaa")) == [RankSet(1, 4)] * 4
    wide = table[:, :, None] + 1.0 * random.normal(size=(4, 1, 50))
    assert rank_sets(table, wide, list("abc")) == [RankSet(1, 4)] * 4


def test_rank_sets_hold_the_true_rank() -> None:
    """Targets, lineages, their interaction and items drawn from the fitted model; some entries are missing."""
    random = np.random.default_rng(1)
    covered = runs = 0
    for _ in range(60):
        truth = random.normal(0.3, 0.05, size=10)
        rank = 1 + (truth[None] > truth[:, None]).sum(axis=1)
        table = truth[:, None] + random.normal(0, 0.05, size=6) + random.normal(0, 0.02, size=(10, 6))
        table += random.normal(0, 0.005, size=(10, 1))
        draws = table[:, :, None] + random.normal(0, 0.005, size=(10, 1, 50))
        table[np.arange(6), np.arange(6)] = np.nan
        draws[np.arange(6), np.arange(6)] = np.nan
        found = rank_sets(table, draws, list("abcdef"))
        covered += sum(one.low <= true <= one.high for one, true in zip(found, rank, strict=True))
        runs += 10
    assert covered / runs >= 0.93


def test_errors() -> None:
    with pytest.raises(ValueError, match="same length, found 2 and 3"):
        left_out_means([0.1, 0.2], list("abc"))
    with pytest.raises(ValueError, match="level: expected 0 < level < 1"):
        Estimate.of(0.1, {}, 3, level=95)
    with pytest.raises(ValueError, match="rate"):
        benjamini_hochberg([0.1], rate=5)
