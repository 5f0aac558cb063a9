"""Shares of variance and correlations of matrices against oracles."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr
from skbio.stats.distance import DistanceMatrix
from skbio.stats.distance import permanova as skbio_permanova

from consilience.registry import get_target
from consilience.study.variance import complete, mantel, permanova, same, shared_training, training_label


def distances(points: np.ndarray) -> np.ndarray:
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 3))


def test_share_is_that_of_sums_of_squares(points: np.ndarray) -> None:
    labels = list("aaaabbbbcccc")
    found = permanova(distances(points), labels)
    assert found is not None
    total = ((points - points.mean(axis=0)) ** 2).sum()
    within = sum(((own - own.mean(axis=0)) ** 2).sum() for own in np.split(points, 3))
    assert found.share == pytest.approx(1 - within / total)
    assert found.adjusted == pytest.approx(1 - (within / 9) / (total / 11))
    oracle = skbio_permanova(DistanceMatrix(distances(points)), labels, permutations=999, seed=0)
    assert found.p_value == oracle["p-value"]


def test_clear_groups_are_found_and_random_ones_not(points: np.ndarray) -> None:
    labels = list("ababababababab"[:12])
    apart = points + 5 * (np.array(labels) == "a")[:, None]
    clear, random = permanova(distances(apart), labels), permanova(distances(points), labels)
    assert clear is not None
    assert random is not None
    assert clear.adjusted > 0.8
    assert clear.p_value < 0.01
    assert random.p_value > 0.05
    assert abs(random.adjusted) < 0.2


@pytest.mark.parametrize("labels", [["a"] * 12, [str(i) for i in range(12)]])
def test_groups_that_say_nothing(points: np.ndarray, labels: list[str]) -> None:
    assert permanova(distances(points), labels) is None


def test_few_models_say_nothing(points: np.ndarray) -> None:
    assert permanova(distances(points[:4]), list("aabb")) is None
    assert mantel(distances(points[:4]), distances(points[:4])) is None


def test_missing_values_are_refused(points: np.ndarray) -> None:
    matrix = distances(points)
    matrix[0, 1] = np.nan
    with pytest.raises(ValueError, match="1 values are NaN"):
        permanova(matrix, list("aaaabbbbcccc"))
    with pytest.raises(ValueError, match="labels: expected one for each of 12 models, found 2"):
        permanova(distances(points), ["a", "b"])


def test_mantel_is_spearman_over_pairs_with_an_exact_p() -> None:
    random = np.random.default_rng(3)
    first, noise = distances(random.normal(size=(6, 2))), distances(random.normal(size=(6, 2)))
    second = first + 0.7 * noise
    found = mantel(first, second, permutations=4999)
    assert found is not None
    upper = np.triu_indices(6, 1)
    assert found.correlation == pytest.approx(spearmanr(first[upper], second[upper]).statistic)
    every = [
        spearmanr(first[np.ix_(order, order)][upper], second[upper]).statistic
        for order in map(list, permutations(range(6)))
    ]
    exact = np.mean(np.abs(every) >= abs(found.correlation) - 1e-12)
    assert found.p_value == pytest.approx(exact, abs=0.02)


def test_mantel_of_a_constant_matrix_says_nothing(points: np.ndarray) -> None:
    assert mantel(distances(points), same(["a"] * 12)) is None


def test_models_with_missing_pairs_are_left_out() -> None:
    matrix = np.ones((4, 4))
    matrix[2, :] = matrix[:, 2] = np.nan
    np.fill_diagonal(matrix, np.nan)
    names, kept = complete(list("abcd"), matrix)
    assert names == ["a", "b", "d"]
    assert not np.isnan(kept[~np.eye(3, dtype=bool)]).any()
    assert complete(["a"], np.full((1, 1), np.nan))[0] == ["a"]


def test_training_labels_come_from_cards() -> None:
    cards = [get_target(name).card for name in ("chgnet-0.3.0", "sevennet-0", "diep-fold1")]
    assert [training_label(card) for card in cards] == ["MPtrj", "MPtrj", "MatPES-r2SCAN"]
    assert shared_training(cards).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
