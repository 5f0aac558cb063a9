"""Rank correlations of models that come in families."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from consilience.study.statistics import (
    arrangements,
    clustered_test,
    family_permutation,
    p_in_words,
    rank_correlation,
    spearman,
)


def test_spearman_is_that_of_scipy_with_ties_and_gaps() -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 6, 40).astype(float)
    y = x + random.normal(size=40)
    x[3] = y[7] = math.nan
    there = np.isfinite(x) & np.isfinite(y)
    assert spearman(x, y) == pytest.approx(spearmanr(x[there], y[there]).statistic, abs=1e-12)
    assert math.isnan(spearman([1, 1, 1, 1], [1, 2, 3, 4]))
    assert math.isnan(spearman([1, 2, math.nan], [1, 2, 3]))


def test_permutation_keeps_families_together() -> None:
    families = list("aabbccdeeef")
    random = np.random.default_rng(1)
    for _ in range(200):
        order = family_permutation(families, random)
        assert sorted(order) == list(range(len(families)))
        sizes = Counter(families)
        for family in sizes:
            sources = {families[order[place]] for place, own in enumerate(families) if own == family}
            assert len(sources) == 1
            assert sizes[sources.pop()] == sizes[family]


def test_every_arrangement_is_drawn_equally_often() -> None:
    families = list("aabbc")
    random = np.random.default_rng(2)
    drawn = Counter(tuple(family_permutation(families, random)) for _ in range(4000))
    assert len(drawn) == arrangements(families) == 8  # two families change places, two members within each
    assert min(drawn.values()) > 400  # 500 each on average, standard deviation 21


def test_p_is_uniform_where_only_families_differ() -> None:
    # Both properties are shared by the members of a family and have nothing to do with each other: taken for
    # 24 independent models, they correlate far too often.
    families = np.repeat(np.arange(8), 3)
    alone = list(range(24))
    random = np.random.default_rng(3)
    clustered, naive = [], []
    for _ in range(80):
        x, y = (np.repeat(random.normal(size=8), 3) + 0.3 * random.normal(size=24) for _ in range(2))
        clustered.append(rank_correlation(x, y, families.tolist(), permutations=999).p_value)
        naive.append(rank_correlation(x, y, alone, permutations=999).p_value)
    assert kstest(clustered, "uniform").pvalue > 0.05
    assert np.mean(np.array(clustered) <= 0.05) <= 0.1
    assert np.mean(np.array(naive) <= 0.05) >= 0.15


def test_p_of_what_is_ordered_is_the_least_there_can_be() -> None:
    test = rank_correlation(range(12), range(12), list("abcdefghijkl"))
    assert test.value == pytest.approx(1)
    assert test.p_value == pytest.approx(test.least_p) == pytest.approx(2 / 2000)
    few = rank_correlation([1, 2, 3, 4], [1, 2, 3, 4], list("aabb"))
    assert few.least_p == 2 / 8
    assert few.p_value >= 0.2
    assert "no smaller than 0.25" in p_in_words(few)


def test_one_family_has_no_p_between_families() -> None:
    test = rank_correlation([1.0, 2.0, math.nan], [2.0, 3.0, 4.0], ["a", "b", "c"])
    assert test.models == 2
    assert math.isnan(test.value)
    assert math.isnan(test.p_value)
    assert p_in_words(test) == "too few families for a p"


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="permutations: expected at least 999, found 10"):
        clustered_test(lambda order: 0.0, ["a", "b"], permutations=10)
    with pytest.raises(ValueError, match="families: expected one for each of 3 and 3 values, found 2"):
        rank_correlation([1, 2, 3], [1, 2, 3], ["a", "b"])


def test_seed_decides_the_p() -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 10))
    families = list("aabbccddef")
    first, again, other = (rank_correlation(x, y, families, permutations=999, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.p_value != other.p_value
