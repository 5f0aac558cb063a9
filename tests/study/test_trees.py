"""Neighbour joining and profile distances against known answers."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import entropy
from skbio import TreeNode

from consilience.study.trees import layout, neighbor_joining, newick, profile_distances

#: Saitou and Nei's method recovers an additive matrix exactly; this one is the textbook example (a: 2, b: 3, ...).
NAMES = ["a", "b", "c", "d", "e"]
ADDITIVE = np.array([[0, 5, 9, 9, 8], [5, 0, 10, 10, 9], [9, 10, 0, 8, 7], [9, 10, 8, 0, 3], [8, 9, 7, 3, 0]], float)


def random_additive(leaves: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Distances between the leaves of a random tree with random branches, from the paths themselves."""
    random = np.random.default_rng(seed)
    parts = [({i: 0.0}, i) for i in range(leaves)]
    distances = np.zeros((leaves, leaves))
    while len(parts) > 1:
        random.shuffle(parts)
        (first, _), (second, _) = parts.pop(), parts.pop()
        one, other = random.uniform(0.1, 2, 2)
        first = {leaf: way + one for leaf, way in first.items()}
        second = {leaf: way + other for leaf, way in second.items()}
        for i, way in first.items():
            for j, back in second.items():
                distances[i, j] = distances[j, i] = way + back
        parts.append(({**first, **second}, -1))
    return [f"m{i}" for i in range(leaves)], distances


def test_additive_tree_is_recovered() -> None:
    tree = neighbor_joining(NAMES, ADDITIVE)
    assert tree.cophenet().filter(NAMES).data == pytest.approx(ADDITIVE)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_additive_tree_is_recovered(seed: int) -> None:
    names, distances = random_additive(12, seed)
    tree = neighbor_joining(names, distances)
    assert tree.cophenet().filter(names).data == pytest.approx(distances)


def test_newick_is_read_back_with_any_name() -> None:
    names = ["chgnet-0.3.0@untrained", "so3lr", "with_underscore"]
    tree = neighbor_joining(names, ADDITIVE[:3, :3])
    again = TreeNode.read(io.StringIO(newick(tree)))
    assert {tip.name for tip in again.tips()} == set(names)
    assert again.cophenet().filter(names).data == pytest.approx(ADDITIVE[:3, :3])


def test_two_models_are_refused() -> None:
    with pytest.raises(ValueError, match="names: a tree takes at least three models, found 2"):
        neighbor_joining(["a", "b"], np.zeros((2, 2)))


def test_equal_distances_make_a_tree() -> None:
    assert len(layout(neighbor_joining(NAMES, np.zeros((5, 5)))).leaves) == 5


def test_profile_distances_are_jensen_shannon_base_2() -> None:
    random = np.random.default_rng(0)
    matrix = random.uniform(0, 1, (6, 6))
    epsilon = 1e-3
    found = profile_distances(matrix, alpha=0.3, epsilon=epsilon)

    def divergence(p: np.ndarray, q: np.ndarray) -> float:
        p, q = ((v + epsilon) / (v + epsilon).sum() for v in (p, q))
        middle = (p + q) / 2
        return float(np.sqrt((entropy(p, middle, base=2) + entropy(q, middle, base=2)) / 2))

    for i in range(6):
        for j in range(6):
            rows, columns = divergence(matrix[i], matrix[j]), divergence(matrix[:, i], matrix[:, j])
            assert found[i, j] == pytest.approx(0.3 * rows + 0.7 * columns, abs=1e-7)


def test_profiles_without_overlap_are_at_distance_one() -> None:
    assert profile_distances(np.eye(3), epsilon=1e-12)[0, 1] == pytest.approx(1, abs=1e-5)


def test_profile_distances_refuse_what_is_missing() -> None:
    with pytest.raises(ValueError, match="matrix: 1 values are NaN"):
        profile_distances(np.array([[1, np.nan], [0.5, 1]]))


def test_layout_keeps_distances_from_the_root() -> None:
    tree = neighbor_joining(NAMES, ADDITIVE)
    placed = layout(tree)
    assert sorted(y for _, y in placed.leaves.values()) == [0, 1, 2, 3, 4]
    for tip in tree.tips():
        assert placed.leaves[tip.name][0] == pytest.approx(sum(n.length or 0 for n in [tip, *tip.ancestors()]))
    # horizontal parts of the drawing add up to all branches of the tree
    ends = list(zip(placed.x, placed.y, strict=True))
    drawn = sum(abs(b[0] - a[0]) for a, b in pairwise(ends) if None not in (a[0], b[0]) and a[1] == b[1])
    assert drawn == pytest.approx(sum(node.length or 0 for node in tree.traverse()))
