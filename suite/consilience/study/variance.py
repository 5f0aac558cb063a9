"""Variance of alignment between models: the shares of training data and architecture, and their stability.

A matrix of agreement between models is set against labels of the models (PERMANOVA) or against another matrix
(Mantel); both are scikit-bio's, both permute models, never pairs, which are not independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from consilience.records.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.cards import Card

#: Relabellings of the models behind a p-value, which cannot fall below 1 / (PERMUTATIONS + 1).
PERMUTATIONS = 999
#: Models below which a share of variance, or a correlation of matrices, says nothing.
FEWEST = 5


@dataclass(frozen=True)
class Explained:
    """How much of the agreement between models a label of the models explains.

    Attributes
    ----------
    models, groups
        How many models, under how many different labels.
    share
        PERMANOVA's R2: sum of squares between groups over the total. It rises with the number of groups.
    adjusted
        The same adjusted for the number of groups, as of a regression: labels of different numbers can be compared,
        and random ones are at 0 on average.
    p_value
        Of relabelling the models.
    """

    models: int
    groups: int
    share: float
    adjusted: float
    p_value: float


def permanova(
    distances: NDArray[np.float64], labels: Sequence[str], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Explained | None:
    """Share of squared distances between models that lies between groups of models.

    Parameters
    ----------
    distances
        (M, M) symmetric, without NaN; the diagonal is not read.
    labels
        Group of each model.
    permutations
        Relabellings.
    seed
        Of the relabellings.

    Returns
    -------
    Explained or None
        None where it can't be said: fewer than five models, one group, all groups of one model, or no distance at all.

    Raises
    ------
    ValueError
        The numbers of labels and of models differ, or a distance is NaN.

    References
    ----------
    M. J. Anderson, Austral Ecology 26, 32 (2001).
    """
    distances = _checked(distances)
    count, groups = len(distances), len(set(labels))
    if len(labels) != count:
        raise ValueError(f"labels: expected one for each of {count} models, found {len(labels)}")
    if count < FEWEST or not 1 < groups < count or not distances.any():
        return None
    from skbio.stats.distance import DistanceMatrix
    from skbio.stats.distance import permanova as skbio_permanova
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # starting threads for each of a thousand tiny matrices takes far longer than the sums
        found = skbio_permanova(DistanceMatrix(distances), list(labels), permutations=permutations, seed=seed)
    ratio = float(found["test statistic"])  # F = (SSA / (a - 1)) / (SSW / (N - a))
    if np.isinf(ratio):
        share = 1.0
    else:
        between = ratio * (groups - 1)
        share = between / (between + count - groups)
    return Explained(
        models=count,
        groups=groups,
        share=share,
        adjusted=1 - (1 - share) * (count - 1) / (count - groups),
        p_value=float(found["p-value"]),
    )


@dataclass(frozen=True)
class MatrixCorrelation:
    """Correlation of two matrices over the same models.

    Attributes
    ----------
    models
        How many.
    correlation
        Spearman's rho over pairs, or Pearson's r with a matrix of zeros and ones.
    p_value
        Of relabelling the models of one of them, two-sided.
    """

    models: int
    correlation: float
    p_value: float


def mantel(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    method: str = "spearman",
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> MatrixCorrelation | None:
    """Correlation of two symmetric matrices over pairs of models, with Mantel's permutation p.

    Parameters
    ----------
    first, second
        (M, M) without NaN off the diagonal, which is not read.
    method
        ``spearman`` or ``pearson``.
    permutations
        Relabellings.
    seed
        Of the relabellings.

    Returns
    -------
    MatrixCorrelation or None
        None for fewer than five models, or where one of the matrices is constant.
    """
    first, second = _checked(first), _checked(second)
    if len(first) != len(second):
        raise ValueError(f"second: expected {len(first)} models, found {len(second)}")
    upper = np.triu_indices(len(first), 1)
    if len(first) < FEWEST or np.ptp(first[upper]) == 0 or np.ptp(second[upper]) == 0:
        return None
    from skbio.stats.distance import DistanceMatrix
    from skbio.stats.distance import mantel as skbio_mantel
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        found, p_value, _ = skbio_mantel(
            DistanceMatrix(first), DistanceMatrix(second), method=method, permutations=permutations, seed=seed
        )
    return MatrixCorrelation(len(first), float(found), float(p_value))


def complete(names: Sequence[str], matrix: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    """Leave out models until no pair is missing, the one with most pairs missing first.

    Parameters
    ----------
    names
        Models.
    matrix
        (M, M), NaN where a pair was not scored; the diagonal is not looked at.
    """
    kept = np.arange(len(names))
    missing = np.isnan(matrix)
    np.fill_diagonal(missing, False)
    while len(kept):
        counts = missing[np.ix_(kept, kept)].sum(axis=1)
        if not counts.any():
            break
        kept = np.delete(kept, np.flatnonzero(counts == counts.max())[-1])
    return [names[int(i)] for i in kept], matrix[np.ix_(kept, kept)]


def training_label(card: Card) -> str:
    """Training data of a model as a label: its data sets, in order of the alphabet; ``unknown`` if not stated."""
    return "+".join(sorted(card.trained_on, key=str.casefold)) if card.trained_on else "unknown"


def shared_training(cards: Iterable[Card]) -> NDArray[np.float64]:
    """(M, M) 1 where two models have a training data set in common, 0 elsewhere."""
    seen = [{name.casefold() for name in card.trained_on or ()} for card in cards]
    return np.array([[float(bool(a & b)) for b in seen] for a in seen])


def same(labels: Sequence[str]) -> NDArray[np.float64]:
    """(M, M) 1 where two labels are the same, 0 elsewhere."""
    values = np.array(labels)
    return np.asarray(values[:, None] == values, dtype=np.float64)


def trained_names(records: Mapping[str, Record], modality: str | None = None) -> list[str]:
    """Trained models that were scored, of one modality if asked."""
    return [n for n, r in records.items() if r.trained and modality in (None, r.card.modality)]


def main_modality(records: Mapping[str, Record]) -> str | None:
    """Modality of most trained models: what a comparison of architectures is made within."""
    counts: dict[str, int] = {}
    for record in records.values():
        if record.trained:
            counts[record.card.modality] = counts.get(record.card.modality, 0) + 1
    return max(counts, key=lambda name: counts[name]) if counts else None


def _checked(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.array(matrix, dtype=np.float64)
    np.fill_diagonal(matrix, 0)
    if np.isnan(matrix).any():
        raise ValueError(f"matrix: {int(np.isnan(matrix).sum())} values are NaN; leave those models out (`complete`)")
    return (matrix + matrix.T) / 2
