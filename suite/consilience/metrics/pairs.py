"""A pair metric taken apart: what is done once per model, and what is left to do per pair.

Each metric file announces its parts with :func:`pairwise`, next to its card; all-pairs matrices and
permutation nulls use them. A metric of a plug-in that announces none still works: its function is called for
each pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consilience.registry import get_metric

from .arrays import FloatArray, IntArray

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
    """

    state: Callable[..., Any]
    score: Callable[[Any, Any], Score]
    relabelled: Callable[[Any, Any, IntArray], float]
    neighbors: int | None = None
    best: Callable[[int, int], float] = lambda n, k: 1.0

    def describe(self, x: FloatArray, k: int | None) -> Any:
        """Return the state of one embedding."""
        return self.state(x) if self.neighbors is None else self.state(x, k)


_parts: dict[str, Pairwise] = {}


def pairwise(name: str, parts: Pairwise) -> None:
    """Announce the parts of the metric `name`."""
    _parts[name] = parts


def parts_of(name: str) -> Pairwise:
    """Return the parts of a registered pair metric.

    Raises
    ------
    UnknownNameError
        No metric has this name.
    ValueError
        The metric describes a single embedding.
    """
    entry = get_metric(name)
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
