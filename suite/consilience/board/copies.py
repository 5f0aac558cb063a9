"""Finding the rows of other targets in a submission: turned, scaled, padded, concatenated or noised.

Two figures tell how much of a known target's rows another's rows hold. CKNNA compares neighbours, which a rotation, a
scaling or an order of columns leaves as they are. A ridge regression from the submitted rows to the principal
components of the known ones, out of fold, also sees rows that stand beside others or are mixed with them. Each
component counts alike: the strongest ones are composition and size, which all models of matter know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.metrics import NeighborKernel, cknna

#: Folds of the regression, and its penalties relative to the largest singular value squared; the best one counts.
FOLDS = 5
PENALTIES = (1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2)
#: Singular values below this share of the largest one are the rounding of float32.
_ROUNDING = 3e-7
#: A component more needs so many items more: of rows with more columns than items, most components of a copy, too,
#: can't be predicted out of fold.
ITEMS_PER_COMPONENT = 10
#: A row whose squared distance from the median row is so many times the median one is left out: one item that is blown
#: up would decide every column.
DOMINANCE = 100.0
NEIGHBOURS = 25
#: Components count whose variance is at least this share of a column's: below, noise of 10 % hides them. Rows with
#: fewer than so many are easily predicted, and compared by their neighbours alone.
LEAST_VARIANCE, LEAST_COMPONENTS = 0.05, 8
#: Rows that predict this share of a known target's, or have nearly all of its neighbours, are a copy. So are those
#: that have most of its neighbours and predict most of it: noise of 10 % hides components and few neighbours, a
#: sibling shares neighbours and few components. Measured on the seven data sets of board v1 (17 disguises of each
#: shipped reference, 22 honest siblings). Copies with 10 % noise: CKNNA 0.917 to 0.996, predicted 0.929 to 0.98; the
#: others predict 0.98 or more, but for unirep-1900, which has more columns than items (0.934), and foldseek-3di beside
#: another model (0.33, CKNNA 0.19), where the other one is recognised. Honest siblings: CKNNA up to 0.955 with 0.16
#: predicted (sevennet-mf-0-pbe), 0.916 with 0.54 (proteinmpnn); a fine-tuned one 0.919 with 0.929 (chgnet-r2scan),
#: which is marked. Other families reach 0.852 and 0.938 (scripts/measure_likeness.py, qm9-1k).
MOST_PREDICTED, MOST_CKNNA = 0.98, 0.97
BOTH_CKNNA, BOTH_PREDICTED = 0.88, 0.9
#: Fewer items than this can't be told apart by their neighbours.
LEAST_ITEMS = 4 * NEIGHBOURS


class Known(NamedTuple):
    """Rows of a known target."""

    target: str
    """Its name."""
    rows: NDArray[np.float32]
    """(n, d), on the items of the submission."""
    trained: bool = True
    """False for untrained networks and baselines, whose rows any good model predicts: they are compared by their
    neighbours alone."""


class Likeness(NamedTuple):
    """How much of a known target's rows some submitted rows hold."""

    target: str
    """The known target."""
    cknna: float
    """CKNNA of both: with columns as they are, or standardized, whichever is larger."""
    predicted: float
    """Share of the variance of the known rows' principal components (columns standardized) that the submitted rows
    predict out of fold, mean over the components; NaN where it is not measured."""


def likenesses(rows: NDArray[np.float32], known: Iterable[Known]) -> list[Likeness]:
    """Compare submitted rows (n, d) with those of known targets on the same items; NaN rows are left out."""
    alike_targets = []
    embedded = _usual(rows)
    fits: dict[bytes, tuple[list[_Fold], list[NeighborKernel]]] = {}
    for name, other, trained in known:
        common = embedded & _usual(other)
        theirs = _standardized(other[common])
        if common.sum() < LEAST_ITEMS or theirs.shape[1] == 0:
            continue
        key = common.tobytes()
        if key not in fits:
            ours = _standardized(rows[common])
            if ours.shape[1] == 0:
                return []
            fits = {key: (_folds(ours), _kernels(rows[common], ours))}
        folds, kernels = fits[key]
        alike = [cknna(a, b, k=NEIGHBOURS) for a, b in zip(kernels, _kernels(other[common], theirs), strict=True)]
        components = _components(theirs)
        measured = trained and components.shape[1] >= LEAST_COMPONENTS
        alike_targets.append(Likeness(name, max(alike), _predicted(folds, components) if measured else float("nan")))
    return alike_targets


def _usual(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a row is defined, and not so long that it alone decides what the columns say of all others."""
    defined: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    if not defined.any():
        return defined
    wide = rows.astype(np.float64)
    length = ((wide - np.median(wide[defined], axis=0)) ** 2).sum(axis=1)
    typical = np.median(length[defined])
    return np.asarray(defined & ~(length > DOMINANCE * typical)) if typical > 0 else defined


def _kernels(rows: NDArray[np.float32], standardized: NDArray[np.float64]) -> list[NeighborKernel]:
    """Neighbours with the columns as they are, which no rotation changes, and standardized, which no scaling does."""
    wide = rows.astype(np.float64)
    return [NeighborKernel(one, NEIGHBOURS) for one in (wide - wide.mean(axis=0), standardized)]


class _Fold(NamedTuple):
    """Rows of one fold, ready to predict anything."""

    train: NDArray[np.bool_]
    basis: NDArray[np.float64]
    values: NDArray[np.float64]
    test: NDArray[np.float64]


def _standardized(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Columns that vary, with mean 0 and standard deviation 1."""
    wide = rows.astype(np.float64)
    deviation = wide.std(axis=0)
    varying = deviation > 1e-6 * np.maximum(np.abs(wide).max(axis=0, initial=0.0), 1e-30)
    return np.asarray((wide[:, varying] - wide[:, varying].mean(axis=0)) / deviation[varying])


def _folds(rows: NDArray[np.float64]) -> list[_Fold]:
    place = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    folds = []
    for number in range(FOLDS):
        train = place != number
        centre = rows[train].mean(axis=0)
        basis, values, directions = np.linalg.svd(rows[train] - centre, full_matrices=False)
        strong = values > _ROUNDING * values[0]
        test = (rows[~train] - centre) @ directions[strong].T
        folds.append(_Fold(train, basis[:, strong], values[strong], test))
    return folds


def _components(standardized: NDArray[np.float64]) -> NDArray[np.float64]:
    """Principal components of rows with standardized columns that hold more than noise; each with variance 1."""
    basis, values, _ = np.linalg.svd(standardized, full_matrices=False)
    count = int((values**2 / len(standardized) >= LEAST_VARIANCE).sum())
    count = min(count, len(standardized) // ITEMS_PER_COMPONENT)
    return np.asarray(basis[:, :count] * np.sqrt(len(standardized)))


def _predicted(folds: list[_Fold], known: NDArray[np.float64]) -> float:
    """Share of each column's variance that is predicted with the best penalty, mean over the columns."""
    residuals, total = np.zeros((len(PENALTIES), known.shape[1])), np.zeros(known.shape[1])
    for fold in folds:
        centre = known[fold.train].mean(axis=0)
        wanted = known[~fold.train] - centre
        total += (wanted**2).sum(axis=0)
        projected = fold.basis.T @ (known[fold.train] - centre)
        for number, penalty in enumerate(PENALTIES):
            shrunk = fold.values / (fold.values**2 + penalty * fold.values[0] ** 2)
            residuals[number] += ((wanted - fold.test @ (shrunk[:, None] * projected)) ** 2).sum(axis=0)
    return float((1 - residuals.min(axis=0) / total).mean())


def copies(rows: NDArray[np.float32], known: Iterable[Known]) -> list[Likeness]:
    """Known targets whose rows the submitted ones repeat, the likest first."""
    return sorted(filter(_repeats, likenesses(rows, known)), key=lambda one: -one.cknna)


def _repeats(one: Likeness) -> bool:
    if one.predicted >= MOST_PREDICTED or one.cknna >= MOST_CKNNA:
        return True
    # Where the components are too few to be predicted, neighbours alone tell.
    return one.cknna >= BOTH_CKNNA and (np.isnan(one.predicted) or one.predicted >= BOTH_PREDICTED)
