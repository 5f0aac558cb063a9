"""Arithmetic on values that may be undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from consilience.records.values import mean_value, or_nan


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([0.25, 0.75], 0.5),
        ([0.25, None, 0.75], 0.5),
        ([0.25, math.nan, math.inf, 0.75], 0.5),
        ([np.float64(1.0)], 1.0),
        ([None, math.nan], None),
        ([], None),
    ],
)
def test_a_mean_is_of_what_is_defined(values: list[float | None], mean: float | None) -> None:
    assert mean_value(values) == mean
    assert mean_value(iter(values)) == mean


def test_an_undefined_value_is_nan_for_arrays() -> None:
    assert or_nan(0.5) == 0.5
    assert math.isnan(or_nan(None))
