import numpy as np
import pytest

from consilience.metrics import DegenerateInputWarning, NeighborKernel, mutual_knn, mutual_knn_from, neighbors


def test_agrees_with_the_definition(trap, oracle):
    x, y = trap
    assert mutual_knn(x, y) == oracle.mutual_knn(np.asarray(x, float), np.asarray(y, float), 10)


def test_lists_serve_as_well(pair):
    x, y = pair
    expected = mutual_knn(x, y, k=7)
    assert mutual_knn(neighbors(x, 9), y, k=7) == expected
    assert mutual_knn_from(NeighborKernel(x, 7), NeighborKernel(y, 7)) == expected


def test_self_and_chance(independent):
    x, y = independent
    assert mutual_knn(x, x) == 1
    assert mutual_knn(x, y) == pytest.approx(10 / 399, abs=0.01)


def test_equal_rows_are_undefined(pair):
    with pytest.warns(DegenerateInputWarning, match="mutual kNN is undefined: all rows of y"):
        assert np.isnan(mutual_knn(pair[0], np.ones((60, 2))))


def test_errors(pair):
    x, y = pair
    with pytest.raises(ValueError, match="k: lists hold 5 neighbours, found k=10"):
        mutual_knn(neighbors(x, 5), y)
    with pytest.raises(ValueError, match="found 60 and 30 rows"):
        mutual_knn(neighbors(x, 10), y[:30])
