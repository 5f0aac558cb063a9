import numpy as np
import pytest

from consilience.metrics import Neighbors, neighbors


def test_agrees_with_the_definition(trap, oracle):
    x = np.asarray(trap[0], float)
    assert neighbors(trap[0], 11).indices.tolist() == oracle.nearest(x, 11)


def test_euclidean(trap, oracle):
    d = oracle.squared(np.asarray(trap[0], float))
    np.fill_diagonal(d, np.inf)
    found = neighbors(trap[0], 11, similarity="euclidean")
    assert found.indices.tolist() == np.argsort(d, axis=1, kind="stable")[:, :11].tolist()
    np.testing.assert_allclose(found.values, np.sqrt(np.sort(d, axis=1)[:, :11]), rtol=1e-12)


@pytest.mark.parametrize("similarity", ["inner_product", "euclidean"])
def test_ties_keep_the_lower_index(similarity):
    x = np.random.default_rng(0).normal(size=(4, 37))[np.arange(80) % 4]  # 20 copies of each
    found = neighbors(x, 8, similarity=similarity)
    for i, row in enumerate(found.indices):
        if similarity == "euclidean" or x[i] @ x[i] == (x[i] @ x.T).max():
            assert row.tolist() == [j for j in range(i % 4, 80, 4) if j != i][:8]


def test_rounding_does_not_break_ties():
    bits = np.random.default_rng(1).random((90, 200)) < 0.05
    x = bits / np.linalg.norm(bits + 0.0, axis=1, keepdims=True)
    shared = (bits[:, None] & bits[None]).sum(axis=-1)
    # between fingerprints of equal length the order is that of integers: exact
    length = bits.sum(axis=1)
    group = np.flatnonzero(length == np.bincount(length).argmax())
    counts = shared[np.ix_(group, group)].astype(float)
    np.fill_diagonal(counts, -1)
    k = len(group) - 1
    assert neighbors(x[group], k).indices.tolist() == np.argsort(-counts, axis=1, kind="stable")[:, :k].tolist()


def test_lists_are_immutable_and_checked(pair):
    lists = neighbors(pair[0], 5)
    with pytest.raises(ValueError, match="read-only"):
        lists.indices[0, 0] = 1
    with pytest.raises(ValueError, match="k: lists hold 5 neighbours, found k=6"):
        lists.nearest(6)
    with pytest.raises(ValueError, match="expected one shape"):
        Neighbors(np.zeros((3, 2), np.int32), np.zeros((3, 1)), "euclidean")
    with pytest.raises(ValueError, match="similarity: expected one of"):
        neighbors(pair[0], 5, similarity="cosine")
