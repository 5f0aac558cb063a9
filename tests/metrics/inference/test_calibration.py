import numpy as np
import pytest

from consilience.metrics import (
    Calibration,
    DegenerateInputWarning,
    NeighborKernel,
    UnknownMetricError,
    calibrate,
    calibrate_from,
    draw_permutations,
    list_metrics,
    prepare,
)

PAIR_METRICS = [name for name, entry in list_metrics().items() if entry.card.inputs == "pair"]


def score(name, x, y):
    value = list_metrics()[name].function(x, y)
    return value[0] if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_relabelled_null_is_the_recomputed_null(pair, name):
    x, y = pair
    found = calibrate(x, y, metric=name, permutations=6, seed=3)
    expected = [score(name, x, y[p]) for p in draw_permutations(60, 6, seed=3)]
    np.testing.assert_allclose(found.null, expected, rtol=1e-9, atol=1e-12)
    assert found.score == pytest.approx(score(name, x, y), rel=1e-12)
    assert found.null_mean == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_same_is_one_and_independent_is_nothing(name):
    random = np.random.default_rng(4)
    x, y = random.normal(size=(120, 3)), random.normal(size=(120, 3))
    same = calibrate(x, x, metric=name, permutations=39)
    assert same.calibrated == pytest.approx(1, abs=1e-9)
    assert same.p_value == pytest.approx(1 / 40)
    nothing = calibrate(x, y, metric=name, permutations=39)
    assert nothing.calibrated < 0.06
    assert nothing.p_value > 0.02


def test_null_of_cknna_is_k_over_n(independent):
    found = calibrate(*map(prepare, independent), permutations=50)
    assert found.null_mean == pytest.approx(25 / 400, abs=0.01)
    assert found.null_mean < found.null_quantile < 0.1


def test_quantile_is_an_order_statistic():
    found = Calibration.from_null(10.0, np.arange(1.0, 20.0), best=20.0)  # 20 values with the score, twice 10
    assert found.null_quantile == 18.0
    assert found.p_value == 11 / 20
    assert found.calibrated == 0
    lower = Calibration.from_null(-19.5, -np.arange(1.0, 20.0), higher=False, best=-20.0)
    assert (lower.null_quantile, lower.p_value) == (-19.0, 1 / 20)
    assert lower.calibrated == pytest.approx(0.5)
    # too few relabellings: tau is the score itself
    assert Calibration.from_null(0.9, np.zeros(10)).calibrated == 0


def test_strata_are_respected():
    strata = np.array(list("aabbbbbc" * 5))
    permutations = draw_permutations(40, 30, seed=1, strata=strata)
    assert (strata[permutations] == strata).all()
    assert (np.sort(permutations, axis=1) == np.arange(40)).all()
    assert len(np.unique(permutations, axis=0)) == 30
    assert (draw_permutations(40, 3, strata=range(40)) == np.arange(40)).all()


def test_what_strata_explain_is_not_significant():
    random = np.random.default_rng(0)
    strata = np.repeat(np.arange(10), 10)
    centres = random.normal(size=(10, 4))[strata]
    x, y = (centres + 0.1 * random.normal(size=(100, 4)) for _ in range(2))
    assert calibrate(x, y, k=5, permutations=99).p_value == 0.01
    assert calibrate(x, y, k=5, permutations=99, strata=strata).p_value > 0.02
    alone = calibrate(x, y, k=5, permutations=20, strata=np.arange(100))
    assert (alone.p_value, alone.calibrated) == (1.0, 0.0)


def test_shared_states_and_seeds(pair):
    x, y = pair
    a, b = NeighborKernel(x, 25), NeighborKernel(y, 25)
    permutations = draw_permutations(60, 20, seed=7)
    assert calibrate_from(a, b, permutations=permutations) == calibrate(x, y, permutations=20, seed=7)
    assert (permutations == draw_permutations(60, 20, seed=7)).all()
    assert not (permutations == draw_permutations(60, 20, seed=8)).all()


def test_degenerate(pair):
    x, _ = pair
    for name in PAIR_METRICS:
        with pytest.warns(DegenerateInputWarning):
            found = calibrate(x, np.ones((60, 2)), metric=name, permutations=3)
        assert np.isnan([found.score, found.null_quantile, found.p_value, found.calibrated]).all()


def test_errors(pair):
    x, y = pair
    with pytest.raises(UnknownMetricError, match="did you mean 'cknna'"):
        calibrate(x, y, metric="cknn")
    with pytest.raises(ValueError, match="found 'intrinsic_dimension'"):
        calibrate(x, y, metric="intrinsic_dimension")
    with pytest.raises(ValueError, match="k: cka has no neighbours, found k=3"):
        calibrate(x, y, metric="cka", k=3)
    with pytest.raises(ValueError, match="alpha: expected 0 < alpha < 1, found 1"):
        calibrate(x, y, alpha=1)
    with pytest.raises(ValueError, match="permutations: expected at least 1, found 0"):
        calibrate(x, y, permutations=0)
    with pytest.raises(ValueError, match=r"strata: expected one label for each of 60 items, found shape \(3,\)"):
        calibrate(x, y, strata=[1, 2, 3])
    with pytest.raises(ValueError, match=r"permutations: expected shape \(number, 60\), found \(2, 50\)"):
        calibrate_from(NeighborKernel(x), NeighborKernel(y), permutations=draw_permutations(50, 2))
