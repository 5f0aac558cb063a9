"""Arithmetic on values that may be undefined."""

from __future__ import annotations

import math
from collections.abc import Iterable


def mean_value(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are defined and finite; None where none is.

    Examples
    --------
    >>> mean_value([0.25, None, 0.75])
    0.5
    >>> mean_value([None]) is None
    True
    """
    import numpy as np

    finite = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def or_nan(value: float | None) -> float:
    """The value; NaN where it is undefined, as arrays and plots take it."""
    return math.nan if value is None else value
