"""All pairs of a collection of embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._engine.arrays import FloatArray, check_k, check_same_length, warn_undefined
from ._engine.collection import Collection, Progress
from ._engine.engine import PROCESSOR, Engine
from ._engine.factory import engine_for
from ._engine.tiles import Consumer, sweep
from .card import get_metric, list_metrics
from .pairs import Pairwise, Score, Single, parts_of, single_of

if TYPE_CHECKING:
    import torch

#: Up to this many items the functions of one pair use dense (n, n) matrices in float64, beyond it tiles.
MAX_DENSE_ITEMS = 2048


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
    singles : dict of str to ndarray of shape (M,)
        Values of the metrics of one embedding that were asked for.
    """

    names: tuple[str, ...]
    matrices: dict[str, FloatArray] = field(repr=False)
    singles: dict[str, FloatArray] = field(repr=False, default_factory=dict)

    def __getitem__(self, metric: str) -> FloatArray:
        """Return the matrix (or, of a metric of one embedding, the values) of one metric."""
        return self.singles[metric] if metric in self.singles else self.matrices[metric]

    def score(self, metric: str, first: str, second: str) -> float:
        """Return the score of one pair, by names."""
        return float(self.matrices[metric][self.names.index(first), self.names.index(second)])


def alignment_matrices(
    embeddings: Mapping[str, npt.ArrayLike],
    *,
    metrics: Iterable[str] | None = None,
    k: int = 25,
    neighbors: Mapping[str, int] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> AlignmentMatrices:
    """Score all pairs of a collection of embeddings; nothing that belongs to one embedding is computed twice.

    Neighbour lists are made once per embedding (exactly, see :func:`~consilience.metrics._engine.neighbors`); CKNNA and
    mutual kNN of a pair come from two lists. dCor and information imbalance of all pairs come from one pass
    over tiles of distances, I_dCor from a second one with its own scaling. Memory holds tiles and lists, never
    an (n, n) matrix, so embeddings may be memory-mapped files. CKA comes from the products of centred columns.

    Parameters
    ----------
    embeddings : mapping of str to array_like of shape (n, d)
        Prepared embeddings of the same n items; widths may differ. float32 and float64 arrays are read in
        blocks, not copied.
    metrics : iterable of str, optional
        Registered metrics, or variants (``"cknna:platonic-rep"``, ``"distance_correlation:paper"``,
        ``"distance_correlation:biased"``); default: all metrics of pairs. Metrics of one embedding
        (``"intrinsic_dimension"``, ``"intrinsic_dimension:mle"``) are given as well if named.
    k : int
        Neighbours of CKNNA.
    neighbors : mapping of str to int, optional
        Neighbours of other metrics by name, such as ``{"mutual_knn": 25}``; default: each metric's own.
    threads : int, optional
        Default: ``OMP_NUM_THREADS``, or the number of cores this process may use.
    progress : callable, optional
        Called with the name of a stage, the steps done and their number.
    device : str or torch.device
        Where distances are made and compared, such as ``"cuda"`` or ``"cuda:1"``; results agree to 1e-5.
        Neighbours are put in order by the processor, and a metric without tiles (CKA) is its work altogether.

    Returns
    -------
    AlignmentMatrices
        Rows and columns of an embedding whose rows are all equal are ``nan``, with a
        :class:`DegenerateInputWarning`.

    Raises
    ------
    ValueError
        There are no embeddings, one of them is refused (the message names it), lengths differ, n is not
        above the number of neighbours, or `device` is not there.
    UnknownMetricError
        No metric has one of the names.

    Notes
    -----
    Distances are computed in float32 from centred rows (close pairs from differences): dCor agrees with float64
    to 1e-7, I_dCor to 1e-5. Information imbalances are exact: what float32 leaves open is compared in float64.
    Where more than 32 items share the place of the nearest neighbour, a sample of 32 stands for them.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import alignment_matrices
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> result = alignment_matrices({"x": x, "y": y}, metrics=["cknna", "cka"])
    >>> result["cka"].round(2)
    array([[1.  , 0.58],
           [0.58, 1.  ]])
    >>> round(result.score("cknna", "x", "y"), 2)
    0.56
    """
    numbers = neighbor_numbers(pair_metrics() if metrics is None else metrics, k, neighbors)
    engine = engine_for(device)
    collection = checked_collection(embeddings, numbers, threads=threads, progress=progress, engine=engine)
    scores = score_all(collection, numbers)
    return AlignmentMatrices(
        collection.names,
        {name: values for name, values in scores.items() if values.ndim == 2},
        {name: values for name, values in scores.items() if values.ndim == 1},
    )


def pair_metrics() -> list[str]:
    """Return the names of all registered metrics of pairs."""
    return [name for name, entry in list_metrics().items() if entry.card.inputs == "pair"]


def neighbor_numbers(metrics: Iterable[str], k: int, neighbors: Mapping[str, int] | None) -> dict[str, int | None]:
    """Return the number of neighbours of each metric, None for one without.

    Raises
    ------
    UnknownMetricError
        No metric has one of the names.
    ValueError
        No variant has one of the names.
    """
    return {name: _number(name, k, neighbors or {}) for name in metrics}


def checked_collection(
    embeddings: Mapping[str, npt.ArrayLike],
    numbers: Mapping[str, int | None],
    *,
    threads: int | None,
    progress: Progress | None,
    engine: Engine = PROCESSOR,
) -> Collection:
    """Return the embeddings as a collection; warns of those whose rows are all equal.

    Raises
    ------
    ValueError
        The embeddings are refused, or n is not above a number of neighbours.
    """
    collection = Collection(embeddings, threads=threads, progress=progress, engine=engine)
    for name, number in numbers.items():
        if number is not None:
            check_k(number, len(collection), name=f"k of {name}")
    for source in collection.sources:
        if not source.distinct:
            warn_undefined("alignment", f"all rows of {source.name} are equal")
    return collection


def is_large(x: npt.ArrayLike, y: npt.ArrayLike) -> bool:
    """Whether a pair has too many items for dense (n, n) matrices in float64; both must be arrays of rows."""
    lengths = {len(shape) == 2 and shape[0] > MAX_DENSE_ITEMS for shape in (np.shape(x), np.shape(y))}
    return lengths == {True}


def score_pair(metric: str, x: npt.ArrayLike, y: npt.ArrayLike, k: int = 0) -> tuple[float, float]:
    """Score one pair, there and back, in bounded memory: what a metric's function does for many items."""
    check_same_length(len(np.asarray(x)), len(np.asarray(y)))
    collection = Collection({"x": x, "y": y}, label="{}")
    matrix = score_all(collection, {metric: k})[metric]
    if not all(source.distinct for source in collection.sources):
        warn_undefined(get_metric(metric.partition(":")[0]).card.title, "all rows of an embedding are equal")
    return float(matrix[0, 1]), float(matrix[1, 0])


def score_all(collection: Collection, numbers: Mapping[str, int | None]) -> dict[str, FloatArray]:
    """Return (M, M) scores, or (M,) values of a metric of one embedding, by name.

    Parameters
    ----------
    collection : Collection
        The embeddings.
    numbers : mapping of str to int or None
        Metrics, or their variants, and their numbers of neighbours.
    """
    distinct = np.flatnonzero([source.distinct for source in collection.sources])
    models = len(collection.sources)
    if len(distinct) == models:
        return _score_distinct(collection, numbers)
    scores = _score_distinct(collection.take(distinct), numbers) if len(distinct) else {}
    result = {}
    for name in numbers:
        result[name] = np.full((models,) * (1 if single_of(name) else 2), np.nan)
        if name in scores:
            result[name][np.ix_(*(distinct,) * result[name].ndim)] = scores[name]
    return result


def _score_distinct(collection: Collection, numbers: Mapping[str, int | None]) -> dict[str, FloatArray]:
    scores: dict[str, FloatArray] = {}
    singles = {name: single for name in numbers if (single := single_of(name)) is not None}
    pairs = {name: parts_of(name) for name in numbers if name not in singles}
    counts = {name: number or 0 for name, number in numbers.items()}
    parts_by_name: dict[str, Pairwise | Single] = {**singles, **pairs}
    depths = [part.depths(counts[name], len(collection)) for name, part in parts_by_name.items()]
    collection.search(*(max(depth, default=0) for depth in zip(*depths, strict=True)))
    for name, single in singles.items():
        scores[name] = single.values(collection, counts[name])
    for name, parts in pairs.items():
        if parts.matrix is not None:
            scores[name] = parts.matrix(collection, counts[name])
    consumers: dict[tuple[Any, int], Consumer] = {}
    for name, parts in pairs.items():
        if parts.consumer is not None and (parts.consumer, counts[name]) not in consumers:
            consumers[parts.consumer, counts[name]] = parts.consumer(collection, counts[name])
    collection.forget_lists()
    if consumers:
        progress = collection.progress("distances")
        threads, engine = collection.threads, collection.engine
        sweep(collection.sources, list(consumers.values()), threads=threads, progress=progress, engine=engine)
    for name, parts in pairs.items():
        if parts.consumer is not None:
            scores[name] = parts.read(consumers[parts.consumer, counts[name]])
        elif parts.matrix is None:
            scores[name] = _pair_by_pair(collection, name, parts, numbers[name])
    return {name: scores[name] for name in numbers}


def _pair_by_pair(collection: Collection, name: str, parts: Pairwise, k: int | None) -> FloatArray:
    symmetric = get_metric(name.partition(":")[0]).card.symmetric
    states = [parts.describe(source.x.astype(np.float64), k) for source in collection.sources]
    result = np.empty((len(states), len(states)))
    for i, a in enumerate(states):
        for j, b in enumerate(states[: i + 1]):
            there, back = _both_ways(parts.score(a, b))
            result[i, j], result[j, i] = there, there if symmetric else back
    return result


def _number(metric: str, k: int, neighbors: Mapping[str, int]) -> int | None:
    """Return the number of neighbours of a metric, None for a metric without."""
    if (single := single_of(metric)) is not None:
        return neighbors.get(metric, single.neighbors) if single.neighbors else None
    default = parts_of(metric).neighbors
    if default is None:
        return None
    return neighbors.get(metric, k if metric.partition(":")[0] == "cknna" else default)


def _both_ways(score: Score) -> tuple[float, float]:
    return score if isinstance(score, tuple) else (score, score)
