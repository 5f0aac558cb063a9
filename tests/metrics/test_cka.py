import sys

import numpy as np
import pytest

from consilience.metrics import DegenerateInputWarning, alignment_matrices, cka


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


def test_all_pairs_without_kernels_agree_with_the_definition(trap, oracle, monkeypatch):
    x, y = (np.asarray(z, float) for z in trap)
    expected = oracle.cka(x - x[0], y - y[0], True)
    found = alignment_matrices({"x": trap[0], "y": trap[1]}, metrics=["cka"])["cka"]
    assert found[0, 1] == found[1, 0] == pytest.approx(expected, abs=1e-9)
    assert (np.diag(found) == 1).all()
    monkeypatch.setattr(sys.modules["consilience.metrics.matrices"], "MAX_DENSE_ITEMS", len(x) - 1)
    assert cka(*trap) == found[0, 1]


def test_blocks_of_rows_add_up(pair, monkeypatch):
    x, y = pair
    monkeypatch.setattr(sys.modules["consilience.metrics.cka"], "_ROWS", 7)
    assert alignment_matrices({"x": x, "y": y}, metrics=["cka"])["cka"][0, 1] == pytest.approx(cka(x, y), abs=1e-12)
    with pytest.raises(ValueError, match="needs at least 4 rows, found 3"):
        alignment_matrices({"x": x[:3], "y": y[:3]}, metrics=["cka"])
