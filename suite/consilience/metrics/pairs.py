"""Parts of a pair metric: the work per embedding, the work per pair, and the work shared by all pairs.

A metric file announces its parts with :func:`pairwise`, next to its card; all-pairs matrices and permutation nulls
use them. A metric that announces none works as well: its function is called for each pair, which is slower. Its number
of neighbours, if it has one, is the keyword `k`. A variant of a metric goes by ``"name:variant"``, as in
``"cknna:platonic-rep"``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from ._engine.arrays import FloatArray, IntArray
from ._engine.collection import Collection
from ._engine.tiles import Consumer
from .card import MetricEntry, get_metric

#: What the (n, n) matrices behind a permutation null may take, in bytes.
MAX_NULL_BYTES = 2**33

Score = float | tuple[float, float]


@dataclass(frozen=True)
class Pairwise:
    """Parts of a pair metric.

    Attributes
    ----------
    state : callable
        ``state(x, k)``, or ``state(x)`` for a metric without neighbours: the state of one embedding.
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
        ``null(collection, k, permutations)``: the scores of all pairs under each of the permutations (P, n),
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
    """Scores of all pairs with the items of the second embedding permuted.

    Attributes
    ----------
    scores : ndarray of shape (P, M, M)
        ``nan`` where not drawn: on the diagonal, for symmetric metrics below it, and for pairs whose drawing
        stopped early.
    observed : ndarray of shape (M, M), optional
        What the scores are to be compared with, if that is not the metric itself.
    rounding : float
        Relative difference below which a permuted score counts as equal to the observed one.
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
    """Announce the parts of the metric `name`, or of a variant, ``"name:variant"``.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import MetricCard, Pairwise, calibrate, metric, pairwise
    >>> card = MetricCard(
    ...     name="first-column",
    ...     title="first column",
    ...     inputs="pair",
    ...     higher_is_more_alike=True,
    ...     invariances=(),
    ...     reference="-",
    ... )
    >>> @metric(card)
    ... def first_column(x, y):
    ...     return float(np.corrcoef(x[:, 0], y[:, 0])[0, 1])
    >>> parts = Pairwise(
    ...     state=lambda x: (x[:, 0] - x[:, 0].mean()) / x[:, 0].std(),
    ...     score=lambda a, b: float(a @ b / len(a)),
    ...     relabelled=lambda a, b, order: float(a @ b[order] / len(a)),
    ... )
    >>> pairwise("first-column", parts)
    >>> x = np.arange(20.0)[:, None]
    >>> round(calibrate(x, x, metric="first-column").score, 2)
    1.0
    """
    _parts[name] = parts


def single(name: str, parts: Single) -> None:
    """Announce the parts of a metric of one embedding, or of a variant, ``"name:variant"``."""
    _singles[name] = parts


def single_of(name: str) -> Single | None:
    """Return the parts of a metric of one embedding; None for a metric of pairs.

    A metric that announces no parts has its function called for each embedding.

    Raises
    ------
    UnknownMetricError
        No metric has this name.
    """
    if name in _singles:
        return _singles[name]
    entry = get_metric(name.partition(":")[0])
    if ":" in name or entry.card.inputs == "pair":
        return None
    call = _with_neighbors(entry)

    def values(collection: Collection, k: int) -> FloatArray:
        return np.array([call(k, source.x.astype(np.float64)) for source in collection.sources])

    return Single(values, depths=lambda k, n: (0, 0), neighbors=_own_neighbors(entry))


def parts_of(name: str) -> Pairwise:
    """Return the parts of a registered pair metric.

    A metric that announces no parts has its function called for each pair; embeddings that agree entirely are taken
    to score 1, or 0 where lower is more alike.

    Raises
    ------
    UnknownMetricError
        No metric has this name.
    ValueError
        The metric describes a single embedding.

    Examples
    --------
    >>> from consilience.metrics import parts_of
    >>> parts_of("mutual_knn").neighbors
    10
    """
    base, _, variant = name.partition(":")
    entry = get_metric(base)
    if variant and name not in _parts:
        variants = [other for other in _parts if other.startswith(f"{base}:")]
        raise ValueError(f"metric: expected one of {', '.join(map(repr, [base, *variants]))}, found {name!r}")
    if entry.card.inputs != "pair":
        raise ValueError(f"metric: expected a metric of two embeddings, found {name!r}")
    return _parts[name] if name in _parts else _parts_of_function(entry)


@dataclass(frozen=True, eq=False)
class _Rows:
    """State of one embedding for a metric without parts."""

    x: FloatArray
    k: int | None


def _parts_of_function(entry: MetricEntry) -> Pairwise:
    """Parts of a metric that has only its function."""
    call, neighbors = _with_neighbors(entry), _own_neighbors(entry)
    identical = 1.0 if entry.card.higher_is_more_alike else 0.0

    def score(a: _Rows, b: _Rows) -> Score:
        value: Score = call(a.k, a.x, b.x)
        if entry.card.symmetric or isinstance(value, tuple):
            return value
        return value, forward(call(b.k, b.x, a.x))  # a directed metric that returns one way at a time

    return Pairwise(
        state=_Rows if neighbors is not None else lambda x: _Rows(x, None),
        score=score,
        relabelled=lambda a, b, permutation: forward(call(a.k, a.x, b.x[permutation])),
        neighbors=neighbors,
        best=lambda n, k: identical,
    )


def _own_neighbors(entry: MetricEntry) -> int | None:
    """Return the default of the keyword `k` of a metric's function; None for a function without."""
    parameter = signature(entry.function).parameters.get("k")
    return parameter.default if parameter is not None and isinstance(parameter.default, int) else None


def _with_neighbors(entry: MetricEntry) -> Callable[..., Any]:
    """Return ``call(k, *embeddings)`` of a metric's function, which may have no neighbours."""
    if _own_neighbors(entry) is None:
        return lambda k, *embeddings: entry.function(*embeddings)
    return lambda k, *embeddings: entry.function(*embeddings, k=k)


def check_dense(metric: str, needed: int) -> None:
    """Raise :class:`ValueError` if the (n, n) matrices of a null would take more than 8 GiB.

    Parameters
    ----------
    metric : str
        For the message.
    needed : int
        Bytes.
    """
    if needed > MAX_NULL_BYTES:
        raise ValueError(
            f"embeddings: the null of {metric} keeps (n, n) matrices of all of them, {needed / 2**30:.0f} GiB here and "
            f"{MAX_NULL_BYTES / 2**30:.0f} at most; calibrate fewer embeddings or items at a time"
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
