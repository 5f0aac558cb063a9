"""Preparation of an embedding before it is scored; part of every score's name.

Embeddings may be larger than memory: they are read in blocks of rows, once for each statistic of their columns, and are
never copied to float64 as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np
import numpy.typing as npt

from ._engine.arrays import MAX_MAGNITUDE, FloatArray, IntArray, as_embedding, check_choice, float_precision

Scheme = Literal["raw", "unit", "standardized"]
Floats = TypeVar("Floats", bound=npt.NDArray[np.floating[Any]])

#: Raised when a scheme or the removal of controls changes what comes out; a test pins the values of each version.
VERSION = 1
#: From "no penalty" to "predict the mean": with many controls and few items only the latter is safe.
RIDGE_STRENGTHS = np.logspace(-3, 7, 11)
FOLDS = 5
FOLD_SEED = 0
#: Numbers in a block of rows: 16 MB in float64, and up to three arrays of that size at a time.
BLOCK_ENTRIES = 2**21


@overload
def prepare(
    x: npt.ArrayLike, *, scheme: Scheme = ..., controls: npt.ArrayLike | None = ..., out: None = ...
) -> FloatArray: ...
@overload
def prepare(
    x: npt.ArrayLike,
    *,
    scheme: Scheme = ...,
    controls: npt.ArrayLike | None = ...,
    out: Floats | Callable[[tuple[int, int]], Floats],
) -> Floats: ...
def prepare(
    x: npt.ArrayLike,
    *,
    scheme: Scheme = "standardized",
    controls: npt.ArrayLike | None = None,
    out: npt.NDArray[np.floating[Any]] | Callable[[tuple[int, int]], npt.NDArray[np.floating[Any]]] | None = None,
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
    check_choice(scheme, get_args(Scheme), "scheme")
    if controls is not None and scheme != "standardized":
        raise ValueError(f"controls: only with scheme='standardized', found scheme={scheme!r}")
    given = _Columns(x, "x")
    columns = _StandardizedColumns(given) if scheme == "standardized" else given
    predictors = np.empty((given.n, 0)) if controls is None else _predictors(controls, given.n)
    n, width = given.n, columns.width
    result = _output(out, (n, width), dropped=given.width - width)
    fits = []
    if predictors.any():
        for fold in folds(n):
            seen = np.setdiff1d(np.arange(n), fold)
            fits.append((fold, ridge(predictors, columns.read, width, seen)))
    for rows in blocks(n, max(width, predictors.shape[1])):
        block = columns.read(rows)
        for fold, fit in fits:
            held_out = fold[(fold >= rows.start) & (fold < rows.stop)]
            block[held_out - rows.start] -= fit.predict(predictors[held_out])
        if scheme != "raw":
            scale_rows(block)
        result[rows] = block
    return result


def scale_rows(x: FloatArray) -> None:
    """Scale rows to Euclidean length 1, in place; zero rows stay zero."""
    largest = np.maximum(x.max(axis=1), -x.min(axis=1))[:, None]
    x /= np.where(largest > 0, largest, 1.0)  # squares of tiny entries would vanish
    length = np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]
    x /= np.where(length > 0, length, 1.0)


def blocks(n: int, width: int) -> Iterator[slice]:
    """Cut n rows of the given width into blocks."""
    step = max(1, BLOCK_ENTRIES // width)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


class _Columns:
    """A checked embedding, read as float64 a block of rows at a time.

    Refuses what :func:`~consilience.metrics._engine.arrays.as_embedding` refuses, in the same words.
    """

    def __init__(self, x: npt.ArrayLike, name: str) -> None:
        self._array = np.asarray(x)
        self._name = name
        if self._array.ndim != 2 or self._array.shape[1] == 0 or len(self._array) < 2:
            as_embedding(self._array, name)  # says what is wrong
        self.n, self.width = self._array.shape
        self.precision = float_precision(self._array)
        self.low, self.high = np.full(self.width, np.inf), np.full(self.width, -np.inf)
        total = np.zeros(self.width)
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in blocks(self.n, self.width):
                block = self.read(rows)
                self.low, self.high = np.minimum(self.low, block.min(axis=0)), np.maximum(self.high, block.max(axis=0))
                total += block.sum(axis=0)
        if not (np.isfinite(self.low) & np.isfinite(self.high)).all():
            raise ValueError(f"{name}: {self._describe_not_finite()}")
        largest = max(float(self.high.max()), -float(self.low.min()))
        if largest > MAX_MAGNITUDE:
            raise ValueError(f"{name}: found a magnitude of {largest:.3g}, above {MAX_MAGNITUDE:.0e}; rescale")
        self.mean = total / self.n

    def read(self, rows: slice | IntArray) -> FloatArray:
        """Return some rows as a float64 array of the caller's own, C order."""
        part = self._array[rows]
        try:
            return part.astype(np.float64, order="C", casting="unsafe" if part.dtype.kind != "c" else "safe")
        except (TypeError, ValueError):
            raise ValueError(f"{self._name}: expected real numbers, found dtype {part.dtype}") from None

    def _describe_not_finite(self) -> str:
        nans = infinities = 0
        first = ""
        for rows in blocks(self.n, self.width):
            block = self.read(rows)
            finite = np.isfinite(block)
            if not first and not finite.all():
                row, column = np.argwhere(~finite)[0]
                first = f"row {rows.start + row}, column {column}"
            nan = int(np.isnan(block).sum())
            nans, infinities = nans + nan, infinities + int((~finite).sum()) - nan
        return f"found {nans} NaN and {infinities} infinite values, the first in {first}"


class _StandardizedColumns:
    """Columns of mean 0 and deviation 1 without the constant ones; one zero column if none is left."""

    def __init__(self, given: _Columns) -> None:
        self._given = given
        n, mean = given.n, given.mean
        largest = np.maximum(given.high - mean, mean - given.low)
        unit = np.where(largest > 0, largest, 1.0)  # squares neither overflow nor vanish
        total, squares = np.zeros(given.width), np.zeros(given.width)
        for rows in blocks(n, given.width):
            block = given.read(rows)
            block -= mean
            block /= unit
            total += block.sum(axis=0)
            squares += np.einsum("ij,ij->j", block, block)
        # The mean of a column with a large offset has a rounding error of its own: here it is.
        rest = total / n
        deviation = unit * np.sqrt(np.maximum(squares / n - rest**2, 0))
        varying = deviation > 4 * given.precision * np.abs(mean)
        self._varying: slice | IntArray = slice(None) if varying.all() else np.flatnonzero(varying)
        self._mean, self._rest, self._deviation = mean[varying], (unit * rest)[varying], deviation[varying]
        self.width = max(1, len(self._mean))

    def read(self, rows: slice | IntArray) -> FloatArray:
        """Return some rows as an array of the caller's own."""
        block = self._given.read(rows)
        if not len(self._mean):
            return np.zeros((len(block), 1))
        block = block[:, self._varying]
        block -= self._mean
        block -= self._rest
        block /= self._deviation
        return block


def _predictors(controls: npt.ArrayLike, n: int) -> FloatArray:
    """Return the standardized controls of n items, checked."""
    given = _Columns(controls, "controls")
    if given.n != n:
        raise ValueError(f"x and controls: expected the same items, found {n} and {given.n} rows")
    if n < 2 * FOLDS:
        raise ValueError(f"controls: needs at least {2 * FOLDS} rows, found {n}")
    columns = _StandardizedColumns(given)
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


@dataclass(frozen=True)
class LinearFit:
    """What a linear regression predicts from c predictors for d responses."""

    center: FloatArray
    mean: FloatArray
    weights: FloatArray

    def predict(self, predictors: FloatArray) -> FloatArray:
        """Return the responses, (n, d), that belong to `predictors`, (n, c)."""
        result: FloatArray = (predictors - self.center) @ self.weights
        result += self.mean
        return result


def decompose(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Singular value decomposition, thin: u, s (descending) and vt.

    LAPACK's fast driver (gesdd) fails on some finite matrices, and on which ones depends on the processor: controls
    of low rank can be such matrices. Then the slower driver (gesvd) is asked, and should that fail too, the
    eigenvectors of the smaller Gram matrix are taken. In a Gram matrix singular values are squared, so those below
    sqrt(eps max(n, c)) of the largest can't be told from zero and are left out; a ridge of strength 1e-3 or more
    hardly uses them.
    """
    try:
        return np.linalg.svd(x, full_matrices=False)
    except np.linalg.LinAlgError:
        pass
    import scipy.linalg

    try:
        u, s, vt = scipy.linalg.svd(x, full_matrices=False, lapack_driver="gesvd", check_finite=False)
        return u, s, vt
    except np.linalg.LinAlgError:
        return _decompose_gram(x)


def _decompose_gram(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the same without the singular values that a Gram matrix can't resolve; at least one is kept."""
    if len(x) < x.shape[1]:
        v, s, ut = _decompose_gram(x.T)
        return ut.T, s, v.T
    values, vectors = np.linalg.eigh(x.T @ x)
    values, vectors = values[::-1], vectors[:, ::-1]
    resolved = values > np.finfo(float).eps * max(x.shape) * values[0]
    resolved[0] = True
    s, v = np.sqrt(np.maximum(values[resolved], 0)), vectors[:, resolved]
    return (x @ v) / np.where(s > 0, s, 1.0), s, v.T


def ridge(predictors: FloatArray, read: Callable[[IntArray], FloatArray], width: int, seen: IntArray) -> LinearFit:
    """Ridge regression with the strength of least leave-one-out error, summed over all responses.

    Parameters
    ----------
    predictors : ndarray of shape (n, c)
        Of all items.
    read : callable
        Returns the responses, (len(rows), width), of the rows asked for, as a new array.
    width : int
        Number of responses.
    seen : ndarray of int
        Rows to fit to.
    """
    centered = predictors[seen]
    center = centered.mean(axis=0)
    centered -= center
    u, s, vt = decompose(centered)
    del centered
    rank = int(np.sum(s > 1e-10 * s[0]))
    u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    step = max(width, rank)
    total, projected = np.zeros(width), np.zeros((rank, width))
    for part in blocks(len(u), step):
        block = read(seen[part])
        total += block.sum(axis=0)
        projected += u[part].T @ block
    mean = total / len(u)
    projected -= np.outer(u.sum(axis=0), mean)
    # The residuals of an item are what no fit reaches plus what the penalty leaves of the rest. Their sum of
    # squares, over responses, is taken from these two: where the controls explain all, both are small, while
    # in the difference of squared responses and squared predictions only rounding noise would be left.
    inner = projected @ projected.T
    lost = RIDGE_STRENGTHS[:, None] / (s**2 + RIDGE_STRENGTHS[:, None])
    errors = np.zeros(len(lost))
    for part in blocks(len(u), step):
        block, own = read(seen[part]), u[part]
        block -= mean
        block -= own @ projected
        squares = np.einsum("id,id->i", block, block)
        crossed = 2 * block @ projected.T
        outside = 1 - 1 / len(u) - np.einsum("ir,ir->i", own, own)
        for place, share in enumerate(lost):
            penalized = own * share
            residual = squares + np.einsum("ir,ir->i", penalized, crossed + penalized @ inner)
            left = outside + np.einsum("ir,ir->i", own, penalized)
            errors[place] += np.sum(residual / np.maximum(left, 1e-9) ** 2)
    best = RIDGE_STRENGTHS[int(np.argmin(errors))]
    weights = vt.T @ ((s / (s**2 + best))[:, None] * projected)
    return LinearFit(center, mean, weights)
