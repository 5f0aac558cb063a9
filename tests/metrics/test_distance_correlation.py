import numpy as np
import pytest

from consilience.metrics import DegenerateInputWarning, distance_correlation


@pytest.mark.parametrize("variant", ["unbiased", "paper", "biased"])
def test_agrees_with_the_definition(trap, oracle, variant):
    x, y = (np.asarray(z, float) for z in trap)
    expected = oracle.distance_correlation(x, y, variant)
    assert distance_correlation(*trap, variant=variant) == pytest.approx(expected, abs=1e-7)


def test_self_and_chance(independent):
    x, y = independent
    assert distance_correlation(x, x) == pytest.approx(1, abs=1e-14)
    assert abs(distance_correlation(x, y)) < 0.01
    # the floor that makes a board of biased values rank width
    assert distance_correlation(x, y, variant="paper") > 0.08


def test_variants_are_related(pair):
    paper, biased = (distance_correlation(*pair, variant=v) for v in ("paper", "biased"))
    assert biased**2 == pytest.approx(paper)


def test_degenerate_and_errors(pair):
    x, y = pair
    with pytest.warns(DegenerateInputWarning, match="distance correlation is undefined: all rows of x"):
        assert np.isnan(distance_correlation(np.ones_like(x), y))
    with pytest.raises(ValueError, match="variant: expected one of"):
        distance_correlation(x, y, variant="squared")
    with pytest.raises(ValueError, match="at least 4 rows"):
        distance_correlation(x[:3], y[:3])
