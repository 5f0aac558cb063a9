"""Preparation of an embedding before it is scored; part of every score's name.

Embeddings may be larger than memory: they are read in blocks of rows, once for each statistic of their columns, and are
never copied to float64 as a whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np
import numpy.typing as npt

from ._engine.arrays import DegenerateInputWarning, FloatArray, IntArray, check_choice
from ._engine.columns import Columns, StandardizedColumns, blocks, without_dominant_rows
from ._engine.regression import ridge, variance_left

Scheme = Literal["raw", "unit", "standardized"]
Floats = TypeVar("Floats", bound=npt.NDArray[np.floating[Any]])
Output = npt.NDArray[np.floating[Any]] | Callable[[tuple[int, int]], npt.NDArray[np.floating[Any]]] | None

#: Raised when a scheme or the removal of controls changes what comes out; a test pins the values of each version.
VERSION = 1
FOLDS = 5
FOLD_SEED = 0


@dataclass(frozen=True)
class Preparation:
    """A prepared embedding, and what was seen on the way.

    Attributes
    ----------
    rows
        (n, d') prepared rows.
    dominant
        Dominant rows, in ascending order; empty if they were not looked for.
    largest_share
        Largest share of a row in the squared length of all rows of the standardized columns; nan if not looked for.
    left
        Share of the variance of the standardized columns that least squares on the controls leaves; nan without
        controls, or where neither `dominance` nor `least_left` was given.
    """

    rows: npt.NDArray[Any]
    dominant: IntArray
    largest_share: float = float("nan")
    left: float = float("nan")


@overload
def prepare(
    x: npt.ArrayLike,
    *,
    scheme: Scheme = ...,
    controls: npt.ArrayLike | None = ...,
    dominance: float | None = ...,
    least_left: float = ...,
    out: None = ...,
) -> FloatArray: ...
@overload
def prepare(
    x: npt.ArrayLike,
    *,
    scheme: Scheme = ...,
    controls: npt.ArrayLike | None = ...,
    dominance: float | None = ...,
    least_left: float = ...,
    out: Floats | Callable[[tuple[int, int]], Floats],
) -> Floats: ...
def prepare(
    x: npt.ArrayLike,
    *,
    scheme: Scheme = "standardized",
    controls: npt.ArrayLike | None = None,
    dominance: float | None = None,
    least_left: float = 0.0,
    out: Output = None,
) -> npt.NDArray[np.floating[Any]]:
    """Scale an embedding for the metrics, and remove what is linear in controls.

    Parameters
    ----------
    x : array_like of shape (n, d)
        Embedding; memory maps are read in blocks of rows.
    scheme : {"standardized", "unit", "raw"}
        ``"raw"``: as given. ``"unit"``: rows of length 1 (the preparation of arXiv:2512.03750). The columns of
        largest deviation dominate: SevenNet-0's alignment doubles once columns are standardized, and on QM9
        trained and untrained networks do not separate. ``"standardized"``: columns of mean 0 and deviation 1,
        constant ones dropped, then rows of length 1: all columns have the same weight. On sparse fingerprints
        this gives rare bits a large weight (Morgan against MiniMol falls from 0.36 to 0.23).
    controls : array_like of shape (n, c), optional
        Properties of each item whose effect is removed, such as composition and size, from the data set. The part
        of the standardized columns that is linear in the (standardized) controls is removed out of fold, before
        rows are scaled: ridge regression on four fifths of the items predicts the last fifth, its strength chosen
        by leave-one-out within the four fifths, one strength for all columns.
        Constant controls are dropped; if none is left, the result is the plain standardized one. On QM9
        this separates trained from untrained networks (discrimination 0.57 unit, 0.98 standardized, 1.00 with
        controls), and on crystals only this does (0.78, 0.78, 1.00).
    dominance : float, optional
        With ``scheme="standardized"``: no row may decide the scale of the columns or the fit to the controls. While
        the squared length of a row of the standardized columns is more than `dominance` times the mean (or a quarter
        of the total, whichever is less), it is set aside, the longest first, and means, deviations and fit are
        estimated anew. The rows stay in the result. Where no row is dominant the result does not change.
        At most a tenth of the rows are set aside. Default: all rows count.
    least_left : float
        With controls: where least squares on them leaves less than this share of the variance of the standardized
        columns, the embedding is linear in the controls, and what would be scored is the error of the fit. Then all
        rows of the result are zero, with a :class:`DegenerateInputWarning`, and every pair metric is ``nan``.
    out : ndarray of shape (n, d') and a float dtype, or callable, optional
        Where the result goes, such as a float32 memory map; `x` itself will do. Since d' is known only once
        the columns have been read, a callable is handed the shape (n, d') and returns the array:
        ``functools.partial(numpy.lib.format.open_memmap, path, "w+", numpy.float32)``. Neither is touched
        when `x` or `controls` is refused. Default: a new float64 array.

    Returns
    -------
    ndarray of shape (n, d')
        `out`, or a new float64 array. d' = d, less the constant columns if standardized. Rows that are zero
        stay zero. When all columns are constant, one column of zeros, for which every pair metric is
        ``nan``.

    Raises
    ------
    ValueError
        `x` or `controls` is refused (see :func:`~consilience.metrics._engine.arrays.as_embedding`), their lengths
        differ, there are controls but fewer than 10 rows, or controls with another scheme; `out` is of
        another shape, of no float dtype, or read-only.

    Notes
    -----
    On sparse bits: one set in 5 of 1,000 items, among 99 set in a fifth of them, makes up 5 % of the squared
    length of its rows with ``"unit"`` and two thirds with ``"standardized"``. On dominant columns: four of 64
    with thirty times the deviation of the others determine 9 in 10 of the ten nearest neighbours with ``"unit"``
    and 1 in 20 with ``"standardized"`` (by chance, 1 in 50).

    A column counts as constant when its deviation is at most four units in the last place of its mean, in
    the dtype given: a float32 column of 1e6 with the noise of a sum is constant. The folds are fixed
    (shuffled with seed 0), so the result depends on the order of the items, slightly, but on nothing else.

    All arithmetic is in float64. Beside the result, memory holds a few blocks of rows (16 MB each), and with
    controls these and their singular vectors, about 5 n c numbers at most.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import prepare
    >>> x = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    >>> prepare(x, scheme="unit").round(2)
    array([[0.2 , 0.98],
           [0.37, 0.93],
           [0.62, 0.78]])
    >>> prepare(x).round(2)  # the constant column is dropped
    array([[-1.],
           [-1.],
           [ 1.]])
    """
    return examine(
        x, scheme=scheme, controls=controls, dominance=dominance, least_left=least_left, out=out, stacklevel=3
    ).rows


def examine(
    x: npt.ArrayLike,
    *,
    scheme: Scheme = "standardized",
    controls: npt.ArrayLike | None = None,
    dominance: float | None = None,
    least_left: float = 0.0,
    out: Output = None,
    stacklevel: int = 2,
) -> Preparation:
    """Prepare an embedding as :func:`prepare` does, and return also what was seen: dominant rows, variance left."""
    check_choice(scheme, get_args(Scheme), "scheme")
    if controls is not None and scheme != "standardized":
        raise ValueError(f"controls: only with scheme='standardized', found scheme={scheme!r}")
    if dominance is not None and (scheme != "standardized" or not dominance > 1):
        raise ValueError(f"dominance: a number above 1, with scheme='standardized'; found {dominance!r}, {scheme!r}")
    if not 0 <= least_left < 1:
        raise ValueError(f"least_left: expected a share from 0 to below 1, found {least_left!r}")
    given = Columns(x, "x")
    n = given.n
    dominant, share, left = np.empty(0, np.intp), float("nan"), float("nan")
    columns: Columns | StandardizedColumns = given
    if dominance is not None:
        columns, dominant, share = without_dominant_rows(given, dominance)
    elif scheme == "standardized":
        columns = StandardizedColumns(given)
    predictors = np.empty((n, 0)) if controls is None else _predictors(controls, n)
    width = columns.width
    kept = np.setdiff1d(np.arange(n), dominant)
    linear = False
    if predictors.any() and (dominance is not None or least_left > 0):
        left, by_chance = variance_left(predictors, columns.read, width, kept)
        linear = left < least_left * by_chance
    result = _output(out, (n, width), dropped=given.width - width)
    fits = []
    if predictors.any() and not linear:
        for fold in folds(n):
            fits.append((fold, ridge(predictors, columns.read, width, np.setdiff1d(kept, fold))))
    for rows in blocks(n, max(width, predictors.shape[1])):
        if linear:
            result[rows] = 0
            continue
        block = columns.read(rows)
        for fold, fit in fits:
            held_out = fold[(fold >= rows.start) & (fold < rows.stop)]
            block[held_out - rows.start] -= fit.predict(predictors[held_out])
        if scheme != "raw":
            scale_rows(block)
        result[rows] = block
    if linear:
        warnings.warn(
            f"x is linear in the controls: they leave {left:.1g} of its variance; pair metrics of it are nan",
            DegenerateInputWarning,
            stacklevel=stacklevel,
        )
    return Preparation(result, dominant, share, left)


def scale_rows(x: FloatArray) -> None:
    """Scale rows to Euclidean length 1, in place; zero rows stay zero."""
    largest = np.maximum(x.max(axis=1), -x.min(axis=1))[:, None]
    x /= np.where(largest > 0, largest, 1.0)  # squares of tiny entries would vanish
    length = np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]
    x /= np.where(length > 0, length, 1.0)


def _predictors(controls: npt.ArrayLike, n: int) -> FloatArray:
    """Return the standardized controls of n items, checked."""
    given = Columns(controls, "controls")
    if given.n != n:
        raise ValueError(f"x and controls: expected the same items, found {n} and {given.n} rows")
    if n < 2 * FOLDS:
        raise ValueError(f"controls: needs at least {2 * FOLDS} rows, found {n}")
    columns = StandardizedColumns(given)
    result = np.empty((n, columns.width))
    for rows in blocks(n, given.width):
        result[rows] = columns.read(rows)
    return result


def _output(out: Any, shape: tuple[int, int], dropped: int) -> npt.NDArray[np.floating[Any]]:
    """Return the array that the result goes into, checked."""
    if out is None:
        return np.empty(shape)
    array = out(shape) if callable(out) else out
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        kind = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"out: expected an array of a float dtype or a callable that returns one, found {kind}")
    if array.shape != shape:
        hint = f"; {dropped} columns are constant and left out, a callable is told the shape" if dropped > 0 else ""
        raise ValueError(f"out: expected shape {shape}, found {array.shape}{hint}")
    if not array.flags.writeable:
        raise ValueError("out: expected an array that can be written to, found a read-only one")
    return array


def folds(n: int) -> list[IntArray]:
    """Return the items of each of the five folds; the same for every embedding of n items."""
    shuffled = np.random.default_rng(FOLD_SEED).permutation(n)
    return [np.sort(fold) for fold in np.array_split(shuffled, FOLDS)]
