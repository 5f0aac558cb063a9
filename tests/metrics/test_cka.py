import numpy as np
import pytest

from consilience.metrics import DegenerateInputWarning, cka


@pytest.mark.parametrize("unbiased", [True, False])
def test_agrees_with_the_definition(trap, oracle, unbiased):
    x, y = (np.asarray(z, float) for z in trap)
    # an offset is without effect, and the oracle would lose its digits
    expected = oracle.cka(x - x[0], y - y[0], unbiased)
    assert cka(*trap, unbiased=unbiased) == pytest.approx(expected, abs=1e-9)


def test_self_and_chance(independent):
    x, y = independent
    assert cka(x, x) == pytest.approx(1, abs=1e-14)
    assert abs(cka(x, y)) < 0.02
    assert cka(x, y, unbiased=False) > 0.05


def test_degenerate_and_errors(pair):
    x, y = pair
    with pytest.warns(DegenerateInputWarning, match="CKA"):
        assert np.isnan(cka(np.ones_like(x), y))
    with pytest.raises(ValueError, match="x: needs at least 4 rows, found 3"):
        cka(x[:3], y[:3])
    assert 0 <= cka(x[:3], y[:3], unbiased=False) <= 1
