"""A pair metric taken apart: what is done once per model, what is left to do per pair, what is shared by all pairs.

Each metric file announces its parts with :func:`pairwise`, next to its card; all-pairs matrices and
permutation nulls use them. A metric of a plug-in that announces none still works: its function is called for
each pair. A variant of a metric goes by ``"name:variant"``, as in ``"cknna:platonic-rep"``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._engine.arrays import FloatArray, IntArray
from ._engine.collection import Collection
from ._engine.tiles import Consumer
from .card import get_metric

#: What the (n, n) matrices behind a permutation null may take, in bytes.
LARGEST_NULL = 2**33

Score = float | tuple[float, float]


@dataclass(frozen=True)
class Pairwise:
    """Parts of a pair metric.

    Attributes
    ----------
    state : callable
        ``state(x, k)``, or ``state(x)`` for a metric without neighbours: what is kept of one embedding.
    score : callable
        ``score(a, b)`` of two states: a number, or two (there and back) if the metric is directed.
    relabelled : callable
        ``relabelled(a, b, p)``: the score (there) if row i of the first embedding is set against row
        ``p[i]`` of the second.
    neighbors : int or None
        Default number of neighbours; ``None`` for a metric without.
    best : callable
        ``best(n, k)``: score of an embedding of n items with itself.
    depths : callable
        ``depths(k, n)``: lengths of the neighbour lists, by inner product and by Euclidean distance, that
        `matrix` and `consumer` look up.
    matrix : callable, optional
        ``matrix(collection, k)``: the (M, M) scores of all pairs, ``nan`` nowhere expected but for models that
        leave the score undefined.
    consumer : callable, optional
        ``consumer(collection, k)``: what looks at the tiles of one pass over the distances of all models;
        metrics with the same `consumer` share it.
    read : callable
        ``read(consumer)``: the (M, M) scores after the pass.
    null : callable, optional
        ``null(collection, k, permutations)``: the scores of all pairs under each of the relabellings (P, n),
        faster than `relabelled` pair by pair.
    """

    state: Callable[..., Any]
    score: Callable[[Any, Any], Score]
    relabelled: Callable[[Any, Any, IntArray], float]
    neighbors: int | None = None
    best: Callable[[int, int], float] = lambda n, k: 1.0
    depths: Callable[[int, int], tuple[int, int]] = lambda k, n: (0, 0)
    matrix: Callable[[Collection, int], FloatArray] | None = None
    consumer: Callable[[Collection, int], Consumer] | None = None
    read: Callable[[Any], FloatArray] = lambda consumer: consumer.matrix()
    null: Callable[[Collection, int, IntArray], Null] | None = None

    def describe(self, x: FloatArray, k: int | None) -> Any:
        """Return the state of one embedding."""
        return self.state(x) if self.neighbors is None else self.state(x, k)


@dataclass(frozen=True, eq=False)
class Null:
    """Scores of all pairs with the items of the second embedding relabelled.

    Attributes
    ----------
    scores : ndarray of shape (P, M, M)
        ``nan`` where not drawn: on the diagonal, for symmetric metrics below it, and for pairs whose drawing
        stopped early.
    observed : ndarray of shape (M, M), optional
        What the scores are to be compared with, if that is not the metric itself.
    rounding : float
        Relative difference below which a relabelled score counts as equal to the observed one.
    note : str
        How the null was drawn, where it is not the plain permutation null.
    """

    scores: FloatArray
    observed: FloatArray | None = None
    rounding: float = 1e-12
    note: str = ""


@dataclass(frozen=True)
class Single:
    """Parts of a metric of one embedding.

    Attributes
    ----------
    values : callable
        ``values(collection, k)``: the metric of each of the M embeddings, (M,).
    depths : callable
        As of a pair metric.
    neighbors : int or None
        Default number of neighbours; ``None`` for a metric without.
    """

    values: Callable[[Collection, int], FloatArray]
    depths: Callable[[int, int], tuple[int, int]]
    neighbors: int | None = None


_parts: dict[str, Pairwise] = {}
_singles: dict[str, Single] = {}


def pairwise(name: str, parts: Pairwise) -> None:
    """Announce the parts of the metric `name`, or of a variant, ``"name:variant"``."""
    _parts[name] = parts


def single(name: str, parts: Single) -> None:
    """Announce the parts of a metric of one embedding, or of a variant, ``"name:variant"``."""
    _singles[name] = parts


def single_of(name: str) -> Single | None:
    """Return the parts of a metric of one embedding; None if it is no such metric."""
    return _singles.get(name)


def parts_of(name: str) -> Pairwise:
    """Return the parts of a registered pair metric.

    Raises
    ------
    UnknownMetricError
        No metric has this name.
    ValueError
        The metric describes a single embedding.
    """
    base, _, variant = name.partition(":")
    entry = get_metric(base)
    if variant and name not in _parts:
        known = [other for other in _parts if other.startswith(f"{base}:")]
        raise ValueError(f"metric: expected one of {', '.join(map(repr, [base, *known]))}, found {name!r}")
    if entry.card.inputs != "pair":
        raise ValueError(f"metric: expected a metric of two embeddings, found {name!r}")
    if name in _parts:
        return _parts[name]
    function = entry.function
    return Pairwise(
        state=lambda x: x,
        score=function,
        relabelled=lambda a, b, permutation: forward(function(a, b[permutation])),
    )


def check_dense(metric: str, needed: int) -> None:
    """Raise :class:`ValueError` if the (n, n) matrices of a null would take more than 8 GiB.

    Parameters
    ----------
    metric : str
        For the message.
    needed : int
        Bytes.
    """
    if needed > LARGEST_NULL:
        raise ValueError(
            f"embeddings: the null of {metric} keeps (n, n) matrices of all of them, {needed / 2**30:.0f} GiB here and "
            f"{LARGEST_NULL / 2**30:.0f} at most; calibrate fewer embeddings or items at a time"
        )


def forward(score: Score) -> float:
    """Return the score from the first embedding to the second."""
    return float(score[0] if isinstance(score, tuple) else score)


def neighbors_for(parts: Pairwise, metric: str, k: int | None) -> int | None:
    """Return the number of neighbours that `metric` uses if the caller asks for `k` (``None``: its default).

    Raises
    ------
    ValueError
        `k` is given for a metric without neighbours.
    """
    if k is not None and parts.neighbors is None:
        raise ValueError(f"k: {metric} has no neighbours, found k={k}")
    return parts.neighbors if k is None else k
