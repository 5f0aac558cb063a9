"""Checks of embeddings, and their conversion to float64 in C order.

The rules for invalid input are here, once for every metric:

* an array that is no embedding (NaN, infinity, wrong shape, too few rows for the metric) raises
  :class:`ValueError`, because the caller made a mistake;
* a constant embedding (all rows equal) is valid, but no pair metric is defined on it: the value is ``nan`` with a
  :class:`DegenerateInputWarning`. A metric of a single embedding raises :class:`ValueError`.
"""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

#: Fourth powers of larger entries leave the range of float64.
MAX_MAGNITUDE = 1e60
#: Inner products or squared distances closer than this fraction of the largest possible one are ties: sums of
#: products round at about 1e-15, differently for each library, each machine and each order of the rows.
TIE_TOLERANCE = 2.0**-42


class DegenerateInputWarning(UserWarning):
    """A metric is undefined on these embeddings (all rows equal, say) and its value is ``nan``."""


def as_embedding(x: npt.ArrayLike, name: str, *, minimum: int = 2) -> FloatArray:
    """Return `x` as a checked embedding.

    Parameters
    ----------
    x : array_like of shape (n, d)
        One row per item; any real dtype and memory layout.
    name : str
        What to call the argument in an error.
    minimum : int
        Fewest rows with which the caller's formula is defined.

    Returns
    -------
    ndarray of shape (n, d), float64, C order

    Raises
    ------
    ValueError
        Not two-dimensional, no column, not real numbers, fewer than `minimum` rows, a NaN, an infinity, or
        a magnitude above 1e60.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        try:
            # bfloat16 and object arrays of numbers; strings and complex numbers fail here
            array = array.astype(np.float64, casting="unsafe" if array.dtype.kind != "c" else "safe")
        except (TypeError, ValueError):
            raise ValueError(f"{name}: expected real numbers, found dtype {array.dtype}") from None
    if array.ndim != 2:
        hint = "; one feature is x[:, None]" if array.ndim == 1 else ""
        raise ValueError(f"{name}: expected shape (n, d), found {array.shape}{hint}")
    n, d = array.shape
    if d == 0:
        raise ValueError(f"{name}: expected at least one column, found shape {array.shape}")
    if n < minimum:
        raise ValueError(f"{name}: needs at least {minimum} rows, found {n}")
    result = np.ascontiguousarray(array, dtype=np.float64)
    check_finite(result, name)
    return result


def check_finite(x: FloatArray, name: str, *, first_row: int = 0) -> None:
    """Raise :class:`ValueError` if there is a NaN, an infinity or a magnitude above 1e60 in `x`.

    `x` may be a block of an embedding that starts at its row `first_row`.
    """
    finite = np.isfinite(x)
    if not finite.all():
        row, column = (int(axis[0]) for axis in np.nonzero(~finite))
        nans = int(np.isnan(x).sum())
        infinities = int((~finite).sum()) - nans
        raise ValueError(
            f"{name}: found {nans} NaN and {infinities} infinite values, "
            f"the first in row {first_row + row}, column {column}"
        )
    largest = float(np.abs(x).max(initial=0.0))
    if largest > MAX_MAGNITUDE:
        raise ValueError(f"{name}: found a magnitude of {largest:.3g}, above {MAX_MAGNITUDE:.0e}; rescale")


def as_pair(x: npt.ArrayLike, y: npt.ArrayLike, *, minimum: int = 2) -> tuple[FloatArray, FloatArray]:
    """Return two checked embeddings of the same items; see :func:`as_embedding`.

    Raises
    ------
    ValueError
        Either array is refused, or they have different numbers of rows.
    """
    first, second = as_embedding(x, "x", minimum=minimum), as_embedding(y, "y", minimum=minimum)
    check_same_length(len(first), len(second))
    return first, second


def check_same_length(n_x: int, n_y: int) -> None:
    """Raise :class:`ValueError` unless `x` and `y` describe equally many items."""
    if n_x != n_y:
        raise ValueError(f"x and y: expected the same items, found {n_x} and {n_y} rows")


def check_k(k: int, n: int, *, name: str = "k") -> int:
    """Return `k` as an int.

    Raises
    ------
    ValueError
        `k` is no positive integer, or is not below the number of items `n`.
    """
    try:
        number = operator.index(k)
    except TypeError:
        raise ValueError(f"{name}: expected an integer, found {k!r}") from None
    if number < 1:
        raise ValueError(f"{name}: expected at least 1, found {number}")
    if number >= n:
        raise ValueError(f"{name}: {number} neighbours need more than {number} rows, found {n}")
    return number


def check_choice(value: str, choices: tuple[str, ...], name: str) -> None:
    """Raise :class:`ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, found {value!r}")


def rows_equal(x: FloatArray) -> bool:
    """Whether all rows are the same, bit for bit."""
    return bool((x == x[0]).all())


def undefined(metric: str, **embeddings: FloatArray) -> bool:
    """Whether one of the `embeddings` has only equal rows; warns that `metric` is then ``nan``."""
    equal = [name for name, x in embeddings.items() if rows_equal(x)]
    if equal:
        warn_undefined(metric, f"all rows of {' and of '.join(equal)} are equal")
    return bool(equal)


def warn_undefined(metric: str, reason: str) -> None:
    """Warn that `metric` is ``nan`` because of `reason`."""
    warnings.warn(f"{metric} is undefined: {reason}; the value is nan", DegenerateInputWarning, stacklevel=4)


def centered_columns(x: FloatArray) -> FloatArray:
    """Return `x` minus its column means, (n, d).

    The mean is subtracted twice: the first mean of a column with a large offset carries a rounding error of
    its own, which the second pass removes.
    """
    centered: FloatArray = x - x.mean(axis=0)
    centered -= centered.mean(axis=0)
    return centered


def constant_columns(x: FloatArray, precision: float = float(np.finfo(np.float64).eps)) -> BoolArray:
    """Say which columns vary by no more than rounding noise, (d,) bool.

    Parameters
    ----------
    x : ndarray of shape (n, d)
        Embedding.
    precision : float
        Machine epsilon of the dtype in which the numbers were computed. A column with mean m counts as
        constant when its standard deviation is at most ``4 * precision * |m|``: adding numbers of that size
        in another order changes them by as much.
    """
    spread = np.sqrt(np.mean(np.square(centered_columns(x)), axis=0))
    constant: BoolArray = (spread <= 4 * precision * np.abs(x.mean(axis=0))) | (x == x[0]).all(axis=0)
    return constant


def float_precision(x: Any) -> float:
    """Machine epsilon of the dtype of `x`; that of float64 for integers."""
    dtype = np.asarray(x).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def symmetric_distances(x: FloatArray) -> FloatArray:
    """Return the squared Euclidean distances between all rows, (n, n).

    Differences are taken before squaring, never norms minus products: duplicates are exactly 0 apart,
    equal distances of exactly represented data are exactly equal, and an offset common to all rows has no
    effect.
    """
    from scipy.spatial.distance import pdist, squareform

    distances: FloatArray = squareform(pdist(x, "sqeuclidean"))
    return distances
