import numpy as np
import pytest

from consilience.metrics import DegenerateInputWarning, information_imbalance


@pytest.mark.parametrize("k", [1, 5])
def test_agrees_with_the_definition(trap, oracle, k):
    x, y = (np.asarray(z, float) for z in trap)
    expected = oracle.information_imbalance(x, y, k), oracle.information_imbalance(y, x, k)
    assert information_imbalance(*trap, k=k) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("k", [1, 3])
def test_ties_everywhere(oracle, k):
    random = np.random.default_rng(2)
    x, y = random.integers(0, 3, (40, 3)), random.integers(0, 4, (40, 2))
    expected = oracle.information_imbalance(x, y, k), oracle.information_imbalance(y, x, k)
    assert information_imbalance(x, y, k=k) == pytest.approx(expected, rel=1e-13)


def test_self_containment_and_chance(independent):
    x, y = independent
    assert information_imbalance(x, x, k=4) == pytest.approx((5 / 400, 5 / 400))
    assert information_imbalance(x, y) == pytest.approx((1, 1), abs=0.12)
    plane = x[:, :2]
    there, back = information_imbalance(plane, plane[:, :1])
    assert there < 0.1 < back


def test_degenerate_and_errors(pair):
    x, y = pair
    with pytest.warns(DegenerateInputWarning, match="information imbalance"):
        assert np.isnan(information_imbalance(x, np.ones_like(y))).all()
    with pytest.raises(ValueError, match="k: 60 neighbours"):
        information_imbalance(x, y, k=60)
