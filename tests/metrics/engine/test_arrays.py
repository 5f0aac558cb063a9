import numpy as np
import pytest

from consilience.metrics._engine.arrays import as_embedding, check_k, constant_columns


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[1, np.nan], [np.inf, 2]]), "x: found 1 NaN and 1 infinite values, the first in row 0"),
        (np.ones(5), r"x: expected shape \(n, d\), found \(5,\); one feature is x\[:, None\]"),
        (np.ones((2, 3, 4)), r"x: expected shape \(n, d\), found \(2, 3, 4\)"),
        (np.ones((5, 0)), r"x: expected at least one column, found shape \(5, 0\)"),
        (np.ones((1, 3)), "x: needs at least 2 rows, found 1"),
        (np.array([["a"], ["b"]]), "x: expected real numbers, found dtype <U1"),
        (np.ones((3, 2), dtype=complex), "x: expected real numbers, found dtype complex128"),
        (np.full((3, 2), 1e200), r"x: found a magnitude of 1e\+200"),
    ],
)  # fmt: skip
def test_what_is_no_embedding(x, message):
    with pytest.raises(ValueError, match=message):
        as_embedding(x, "x")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, bool, object])
def test_any_real_dtype(dtype):
    x = as_embedding(np.array([[1, 0], [0, 1]], dtype=dtype), "x")
    assert x.dtype == np.float64
    assert x.flags.c_contiguous


def test_number_of_neighbours():
    assert check_k(np.int64(3), 4) == 3
    for k, message in [
        (0, "k: expected at least 1"),
        (4, "k: 4 neighbours"),
        (2.5, "k: expected an integer"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_k(k, 4)


def test_rounding_noise_is_constant():
    noise = np.random.default_rng(0).integers(-1, 2, size=100)
    columns = np.stack([1e6 + 1e-10 * noise, 1e6 + 1e-3 * noise, 1e-20 * noise, np.zeros(100)], axis=1)
    assert constant_columns(columns).tolist() == [True, False, False, True]
    assert constant_columns(columns, float(np.finfo(np.float32).eps)).tolist() == [True, True, False, True]
