import numpy as np
import pytest

from consilience.metrics import (
    DegenerateInputWarning,
    intrinsic_dimension,
    intrinsic_dimension_correlation,
)


@pytest.mark.parametrize("fraction", [0.5, 0.9, 1.0])
def test_two_nn(trap, oracle, fraction):
    for z in trap:
        expected = oracle.two_nn(oracle.squared(np.asarray(z, float)), fraction)
        assert intrinsic_dimension(z, fraction=fraction) == pytest.approx(expected, rel=1e-6)


def test_maximum_likelihood(trap, oracle):
    for z in trap:
        expected = oracle.levina_bickel(np.asarray(z, float), 11)
        assert intrinsic_dimension(z, estimator="mle", k=11) == pytest.approx(expected, rel=1e-6)


def test_known_dimension():
    random = np.random.default_rng(0)
    plane = random.random((1500, 2)) @ random.normal(size=(2, 20))
    assert intrinsic_dimension(plane) == pytest.approx(2, abs=0.15)
    assert intrinsic_dimension(plane, estimator="mle") == pytest.approx(2, abs=0.15)


def test_errors(pair):
    x, _ = pair
    with pytest.raises(ValueError, match="x: expected at least 2 distinct rows, found 5 equal ones"):
        intrinsic_dimension(np.ones((5, 2)))
    with pytest.raises(ValueError, match="fewer than 3 items have two distinct"):
        intrinsic_dimension(np.repeat(x[:5], 2, axis=0))
    with pytest.raises(ValueError, match="fraction: expected 0 < fraction <= 1, found 2"):
        intrinsic_dimension(x, fraction=2)
    with pytest.raises(ValueError, match="k: 60 neighbours"):
        intrinsic_dimension(x, estimator="mle", k=60)
    with pytest.raises(ValueError, match="k: expected at least 2"):
        intrinsic_dimension(x, estimator="mle", k=1)
    with pytest.raises(ValueError, match="estimator: expected one of"):
        intrinsic_dimension(x, estimator="pca")
    with pytest.raises(ValueError, match="no item has 4 neighbours at distinct"):
        intrinsic_dimension(np.eye(6), estimator="mle", k=4)


def test_correlation(trap, oracle):
    x, y = (np.asarray(z, float) for z in trap)
    expected = oracle.dimension_correlation(x - x[0], y - y[0])
    assert intrinsic_dimension_correlation(*trap) == pytest.approx(expected, abs=1e-5)


def test_constant_columns_with_an_offset_stay_silent(pair):
    x, y = pair
    loud = np.hstack([x, 1e6 + 1e-10 * np.random.default_rng(0).integers(-1, 2, size=(60, 3))])
    expected = intrinsic_dimension_correlation(x, y)
    assert intrinsic_dimension_correlation(loud, y) == pytest.approx(expected, abs=1e-9)


def test_correlation_of_independent_and_of_same(independent, larger_pair):
    x, y = larger_pair
    assert intrinsic_dimension_correlation(x, x) == pytest.approx(1, abs=1e-9)
    value, p = intrinsic_dimension_correlation(x, y, permutations=30, seed=1)
    assert value == intrinsic_dimension_correlation(x, y)
    assert p < 0.1
    # the high-dimensional floor is no evidence: the p-value says so
    value, p = intrinsic_dimension_correlation(*independent, permutations=30)
    assert value > 0.2
    assert p > 0.05


def test_correlation_degenerate(pair):
    x, y = pair
    with pytest.warns(DegenerateInputWarning, match="I_dCor"):
        assert np.isnan(intrinsic_dimension_correlation(x, np.ones_like(y)))
    with pytest.warns(DegenerateInputWarning, match="fewer than 3"):
        assert np.isnan(intrinsic_dimension_correlation(np.eye(60), y, permutations=2)).all()
    with pytest.raises(ValueError, match="permutations: expected at least 1"):
        intrinsic_dimension_correlation(x, y, permutations=0)
