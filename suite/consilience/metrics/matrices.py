"""All pairs of a collection of embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from consilience.registry import list_metrics

from .arrays import FloatArray, as_embedding, check_k, check_same_length, rows_equal, warn_undefined
from .neighbor_kernel import NeighborKernel
from .pairs import Score, parts_of


@dataclass(frozen=True, eq=False)
class AlignmentMatrices:
    """Scores of all pairs.

    Attributes
    ----------
    names : tuple of str
        Names of the M embeddings, in the order given.
    matrices : dict of str to ndarray of shape (M, M)
        One matrix per metric. Row i, column j: from embedding i to embedding j; symmetric unless the metric
        is directed. The diagonal holds each embedding against itself.
    """

    names: tuple[str, ...]
    matrices: dict[str, FloatArray] = field(repr=False)

    def __getitem__(self, metric: str) -> FloatArray:
        """Return the matrix of one metric."""
        return self.matrices[metric]

    def score(self, metric: str, first: str, second: str) -> float:
        """Return the score of one pair, by names."""
        return float(self.matrices[metric][self.names.index(first), self.names.index(second)])


def alignment_matrices(
    embeddings: Mapping[str, npt.ArrayLike],
    *,
    metrics: Iterable[str] | None = None,
    k: int = 25,
    neighbors: Mapping[str, int] | None = None,
) -> AlignmentMatrices:
    """Score all pairs of a collection of embeddings; what belongs to one embedding is computed once.

    Parameters
    ----------
    embeddings : mapping of str to array_like of shape (n, d)
        Prepared embeddings of the same n items; widths may differ.
    metrics : iterable of str, optional
        Registered pair metrics; default: all of them.
    k : int
        Neighbours of CKNNA.
    neighbors : mapping of str to int, optional
        Neighbours of other metrics by name, such as ``{"mutual_knn": 25}``; default: each metric's own.

    Returns
    -------
    AlignmentMatrices
        Rows and columns of an embedding whose rows are all equal are ``nan``, with a
        :class:`DegenerateInputWarning`.

    Raises
    ------
    ValueError
        There are no embeddings, one of them is refused (the message names it), lengths differ, n is not
        above the number of neighbours, or a metric is not one of pairs.
    UnknownNameError
        No metric has one of the names.
    """
    if not embeddings:
        raise ValueError("embeddings: expected at least one, found none")
    if metrics is None:
        metrics = [name for name, entry in list_metrics().items() if entry.card.inputs == "pair"]
    arrays = {name: as_embedding(x, f"embeddings[{name!r}]") for name, x in embeddings.items()}
    n = len(next(iter(arrays.values())))
    for x in arrays.values():
        check_same_length(n, len(x))
    for name, x in arrays.items():
        if rows_equal(x):
            warn_undefined("alignment", f"all rows of embeddings[{name!r}] are equal")
    wanted: dict[str, int | None] = {}
    for metric in metrics:
        default = parts_of(metric).neighbors
        wanted[metric] = k if metric == "cknna" else (neighbors or {}).get(metric, default)
        if wanted[metric] is not None:
            check_k(wanted[metric] or 0, n, name=f"k of {metric}")
    lists: dict[str, NeighborKernel] = {}
    return AlignmentMatrices(
        tuple(arrays), {metric: _matrix(metric, number, arrays, lists) for metric, number in wanted.items()}
    )


def _matrix(metric: str, k: int | None, arrays: dict[str, FloatArray], lists: dict[str, NeighborKernel]) -> FloatArray:
    parts, symmetric = parts_of(metric), list_metrics()[metric].card.symmetric
    states: list[Any] = []
    for name, x in arrays.items():
        if rows_equal(x):
            states.append(None)
        elif parts.state is NeighborKernel and k is not None:
            states.append(_shared_lists(lists, name, x, k))
        else:
            states.append(parts.describe(x, k))
    result = np.full((len(states), len(states)), np.nan)
    for i, a in enumerate(states):
        for j, b in enumerate(states[: i + 1]):
            if a is not None and b is not None:
                there, back = _both_ways(parts.score(a, b))
                result[i, j], result[j, i] = there, there if symmetric else back
    return result


def _shared_lists(lists: dict[str, NeighborKernel], name: str, x: FloatArray, k: int) -> NeighborKernel:
    """Return the lists of one embedding at `k`, made by an earlier metric where they are deep enough."""
    if name not in lists or lists[name].neighbors.depth < k:
        lists[name] = NeighborKernel(x, k)
    return lists[name].at(k)


def _both_ways(score: Score) -> tuple[float, float]:
    return score if isinstance(score, tuple) else (score, score)
