import numpy as np
import pytest

from consilience.metrics import prepare
from consilience.metrics.preparation import RIDGE_STRENGTHS, folds, out_of_fold_prediction


def test_raw_and_unit(pair):
    x, _ = pair
    x[3] = 0
    np.testing.assert_array_equal(prepare(x.astype(np.float32), scheme="raw"), x.astype(np.float32))
    unit = prepare(x, scheme="unit")
    np.testing.assert_allclose(np.delete(np.linalg.norm(unit, axis=1), 3), 1)
    assert not unit[3].any()
    np.testing.assert_allclose(prepare(1e-55 * x, scheme="unit"), unit, atol=1e-14)


def test_standardized(pair):
    x, _ = pair
    expected = (x - x.mean(axis=0)) / x.std(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(prepare(x), expected, atol=1e-13)
    # units, offsets and constant columns are without effect
    scaled = x * np.logspace(-6, 6, x.shape[1]) + 100
    noise = 1e6 + 1e-10 * np.random.default_rng(0).integers(-1, 2, size=(60, 2))
    np.testing.assert_allclose(prepare(np.hstack([scaled, noise])), expected, atol=1e-7)


def test_sparse_bits_are_kept_in_half_precision():
    bits = np.zeros((5000, 3), np.float16)
    bits[0, 0] = bits[:50, 1] = bits[::2, 2] = 1
    assert prepare(bits).shape == (5000, 3)


def test_all_constant_becomes_zero():
    assert prepare(np.full((12, 4), 0.1)).tolist() == [[0.0]] * 12


def test_controls_remove_what_is_linear_in_them():
    random = np.random.default_rng(0)
    controls = np.hstack([random.poisson(3, size=(300, 4)), np.ones((300, 1))])
    own = random.normal(size=(300, 6))
    x = controls[:, :4] @ random.normal(size=(4, 6)) + 0.3 * own
    # rows are scaled last, so compare directions
    left = prepare(x, controls=controls)
    standard = own / np.linalg.norm(own / x.std(axis=0), axis=1, keepdims=True) / x.std(axis=0)
    assert np.mean(np.sum(left * standard, axis=1)) > 0.97
    assert np.mean(np.sum(prepare(x) * standard, axis=1)) < 0.7


@pytest.mark.parametrize("columns", [3, 70])
def test_prediction_is_that_of_scikit_learn(pair, columns):
    from sklearn.linear_model import RidgeCV

    x, _ = pair
    predictors = np.random.default_rng(0).normal(size=(60, columns))
    predictors[:, :2] += x[:, :2]
    found = out_of_fold_prediction(predictors, x)
    for held_out in folds(60):
        seen = np.delete(np.arange(60), held_out)
        model = RidgeCV(alphas=RIDGE_STRENGTHS).fit(predictors[seen], x[seen])
        np.testing.assert_allclose(found[held_out], model.predict(predictors[held_out]), atol=1e-9)


def test_many_controls_do_not_overfit():
    random = np.random.default_rng(1)
    x, controls = random.normal(size=(120, 10)), random.normal(size=(120, 90))
    np.testing.assert_allclose(np.sum(prepare(x) * prepare(x, controls=controls), axis=1).mean(), 1, atol=0.05)


def test_constant_controls_leave_plain_standardized(pair):
    x, _ = pair
    np.testing.assert_array_equal(prepare(x, controls=np.full((60, 3), 7.3)), prepare(x))


def test_errors(pair):
    x, _ = pair
    with pytest.raises(ValueError, match="scheme: expected one of"):
        prepare(x, scheme="white")
    with pytest.raises(ValueError, match="controls: only with scheme='standardized', found scheme='unit'"):
        prepare(x, scheme="unit", controls=x)
    with pytest.raises(ValueError, match="x and controls: expected the same items, found 60 and 59 rows"):
        prepare(x, controls=x[1:])
    with pytest.raises(ValueError, match="controls: found 60 NaN"):
        prepare(x, controls=np.full((60, 1), np.nan))
    with pytest.raises(ValueError, match="controls: needs at least 10 rows, found 9"):
        prepare(x[:9], controls=x[:9])
