import numpy as np
import pytest

from consilience.metrics import DegenerateInputWarning, NeighborKernel, cknna, cknna_from, prepare


def test_agrees_with_the_definition(trap, oracle):
    x, y = trap
    expected = oracle.cknna(np.asarray(x, float), np.asarray(y, float), 11)
    assert cknna(x, y, k=11) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("k", [1, 7, 59])
def test_any_number_of_neighbours(pair, oracle, k):
    assert cknna(*pair, k=k) == pytest.approx(oracle.cknna(*pair, k), rel=1e-9)


@pytest.mark.parametrize("eps", [0.0, 1e-6, 1e-2])
def test_published_code(trap, oracle, eps):
    x, y = (np.asarray(z, float) for z in trap)
    expected = oracle.platonic_cknna(x, y, 11, eps)
    assert cknna(*trap, k=11, variant="platonic-rep", eps=eps) == pytest.approx(expected, rel=1e-9)


def test_published_code_with_all_neighbours_is_cka(pair):
    from consilience.metrics import cka

    x, y = (z - z.mean(axis=0) for z in pair)
    assert cknna(x, y, k=59, variant="platonic-rep", eps=0) == pytest.approx(cka(x, y), rel=1e-9)


def test_self_is_one_and_chance_is_k_over_n(independent):
    x, y = independent
    assert cknna(x, x) == pytest.approx(1, abs=1e-14)
    assert cknna(prepare(x), prepare(y)) == pytest.approx(25 / 400, abs=0.02)


def test_ready_lists_give_the_same(pair):
    a, b = (NeighborKernel(z, 10) for z in pair)
    assert cknna_from(a, b) == cknna(a, b, k=10) == cknna(*pair, k=10)
    assert cknna_from(a.at(5), b.at(5)) == pytest.approx(cknna(*pair, k=5), rel=1e-14)


def test_sorted_edges_give_the_same_as_the_table(pair, monkeypatch):
    expected = cknna(*pair, k=10), cknna(*pair, k=10, variant="platonic-rep")
    monkeypatch.setattr("consilience.metrics._engine.neighbor_kernel.MAX_TABLE_ITEMS", 0)
    assert (cknna(*pair, k=10), cknna(*pair, k=10, variant="platonic-rep")) == expected


def test_equal_rows_are_undefined(pair):
    x, _ = pair
    for variant in ("paper", "platonic-rep"):
        with pytest.warns(DegenerateInputWarning, match="all rows"):
            assert np.isnan(cknna(x, np.full((60, 3), 0.1), k=5, variant=variant))


def test_vanishing_kernel_is_undefined():
    x = np.zeros((8, 2))
    x[6] = [0, 1e-200]  # its square is 0 in float64
    y = np.random.default_rng(0).normal(size=(8, 2))
    with pytest.warns(DegenerateInputWarning, match="vanishes"):
        assert np.isnan(cknna(x, y, k=2))


def test_errors(pair):
    x, y = pair
    with pytest.raises(ValueError, match=r"variant: expected one of 'paper', 'platonic-rep', found 'song'"):
        cknna(x, y, variant="song")
    with pytest.raises(ValueError, match="k: 60 neighbours need more than 60 rows, found 60"):
        cknna(x, y, k=60)
    with pytest.raises(ValueError, match="expected the same items, found 60 and 59 rows"):
        cknna(x, y[:-1], k=3)
    with pytest.raises(ValueError, match="y: found 1 NaN"):
        cknna(x, np.where(np.arange(60)[:, None] == 7, [[np.nan, 0.0]], 1.0), k=3)
    with pytest.raises(ValueError, match="x: made for k=5 neighbours, found k=6"):
        cknna(NeighborKernel(x, 5), y, k=6)
    with pytest.raises(ValueError, match="a and b: expected the same k, found 5 and 6"):
        cknna_from(NeighborKernel(x, 5), NeighborKernel(y, 6))
    with pytest.raises(ValueError, match="at least 4 rows, found 3"):
        cknna(x[:3], y[:3], k=1, variant="platonic-rep")
    with pytest.raises(ValueError, match="depth: expected at least k=5, found 4"):
        NeighborKernel(x, 5, 4)
    with pytest.raises(ValueError, match="k: lists hold 15 neighbours, found k=16"):
        NeighborKernel(x, 5).at(16)
