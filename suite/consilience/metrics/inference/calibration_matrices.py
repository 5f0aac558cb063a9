"""What the scores of all pairs mean against chance: one set of permutations for a whole collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consilience.metrics._engine.arrays import FloatArray, IntArray
from consilience.metrics._engine.collection import Collection, Progress
from consilience.metrics._engine.factory import engine_for
from consilience.metrics.card import get_metric
from consilience.metrics.matrices import checked_collection, neighbor_numbers, pair_metrics, score_all
from consilience.metrics.pairs import Null, Pairwise, parts_of

from .calibration import Calibration
from .resampling import draw_permutations

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class CalibrationMatrices:
    """Scores of all pairs under one metric, each against its own permutation null.

    All arrays are (M, M): row i, column j is the score from embedding i to embedding j, the items of j
    permuted; symmetric unless the metric is directed, ``nan`` on the diagonal but for `score`.

    Attributes
    ----------
    names : tuple of str
        Names of the M embeddings.
    score, null_mean, null_quantile, p_value, calibrated : ndarray
        As in :class:`~consilience.metrics.Calibration`.
    q_value : ndarray
        p-values adjusted for the number of pairs by Benjamini and Hochberg (1995): among the pairs with
        ``q_value <= 0.05`` about one in twenty is chance.
    permutations : ndarray of int
        Relabellings drawn for each pair.
    note : str
        How the null was drawn, where it is not the plain permutation null of the score.
    """

    names: tuple[str, ...]
    score: FloatArray = field(repr=False)
    null_mean: FloatArray = field(repr=False)
    null_quantile: FloatArray = field(repr=False)
    p_value: FloatArray = field(repr=False)
    calibrated: FloatArray = field(repr=False)
    q_value: FloatArray = field(repr=False)
    permutations: IntArray = field(repr=False)
    note: str = ""

    def pair(self, i: int, j: int) -> Calibration:
        """Score from embedding i to embedding j, without the scores of its null."""
        fields = ("score", "null_mean", "null_quantile", "p_value", "calibrated")
        values = {name: float(getattr(self, name)[i, j]) for name in fields}
        return Calibration(**values, null=np.empty(0))


def calibration_matrices(
    embeddings: Mapping[str, npt.ArrayLike],
    *,
    metrics: Iterable[str] | None = None,
    k: int = 25,
    neighbors: Mapping[str, int] | None = None,
    permutations: int = 200,
    seed: int = 0,
    strata: npt.ArrayLike | None = None,
    alpha: float = 0.05,
    threads: int | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, CalibrationMatrices]:
    """Score all pairs of a collection and set each score against its permutation null.

    The permutations are drawn once for all pairs. Neighbour lists, centred distances and ranks are made once per
    embedding and permuted, which gives exactly what recomputing them would.

    Parameters
    ----------
    embeddings : mapping of str to array_like of shape (n, d)
        Prepared embeddings of the same n items; widths may differ.
    metrics : iterable of str, optional
        Registered pair metrics or variants, see :func:`alignment_matrices`; default: all.
    k, neighbors
        Neighbours, see :func:`alignment_matrices`.
    permutations : int
        Number P of permutations; p cannot fall below 1/(P + 1). Benjamini-Hochberg over many pairs needs small
        ones: with 1,770 pairs a lone p of 1/201 is never significant, many together are.
    seed : int
        Of the permutations.
    strata : array_like of shape (n,), optional
        Permute only among items with the same label; see :func:`draw_permutations`.
    alpha : float
        Share of permutations allowed to pass the null's quantile.
    threads : int, optional
        See :func:`alignment_matrices`.
    progress : callable, optional
        Called with the name of a stage, the steps done and their number.
    device : str or torch.device
        Where scores and the null of I_dCor are computed; other nulls are always drawn on the processor.

    Returns
    -------
    dict of str to CalibrationMatrices
        By metric. Rows and columns of an embedding whose rows are all equal are ``nan``, with a
        :class:`DegenerateInputWarning`.

    Raises
    ------
    ValueError
        As :func:`alignment_matrices`; an option is out of range; or a metric whose null needs the (n, n)
        matrices of all embeddings (information imbalance, CKA) would take more than 8 GiB for them.
    UnknownMetricError
        No metric has one of the names.

    Notes
    -----
    I_dCor: each permutation needs new joint neighbours, so its null is drawn over at most 128 anchor items (which
    look for neighbours among all), for a pair only until ten permutations reach the observed value; p is then
    10 over their number (Besag and Clifford 1991, Biometrika 78, 301). Its `null_mean` and `null_quantile`
    are those of the anchors' I_dCor.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import calibration_matrices
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> result = calibration_matrices({"x": x, "y": y}, metrics=["cka"], permutations=99)["cka"]
    >>> result.calibrated.round(2)
    array([[ nan, 0.57],
           [0.57,  nan]])
    """
    numbers = neighbor_numbers(pair_metrics() if metrics is None else metrics, k, neighbors)
    collection = checked_collection(embeddings, numbers, threads=threads, progress=progress, engine=engine_for(device))
    orders = draw_permutations(len(collection), permutations, seed=seed, strata=strata)
    scores = score_all(collection, numbers)
    models = np.flatnonzero([source.distinct for source in collection.sources])
    distinct = collection.take(models)
    results = {}
    for name, number in numbers.items():
        parts = parts_of(name)
        null = _null(name, parts, distinct, number, orders) if len(models) > 1 else None
        results[name] = _calibrated(
            name, parts, collection, scores[name], models, null, number or 1, permutations, alpha
        )
    return results


def _null(name: str, parts: Pairwise, collection: Collection, k: int | None, orders: IntArray) -> Null:
    if parts.null is not None:
        collection.search(*parts.depths(k or 0, len(collection)))
        null = parts.null(collection, k or 0, orders)
        collection.forget_lists()
        return null
    states = [parts.describe(source.x.astype(np.float64), k) for source in collection.sources]
    models = len(states)
    scores = np.full((len(orders), models, models), np.nan)

    def one(pair: tuple[int, int], scratch: dict[str, Any]) -> None:
        i, j = pair
        scores[:, i, j] = [parts.relabelled(states[i], states[j], p) for p in orders]

    collection.run(f"null of {name}", one, ordered_pairs(models, symmetric=_symmetric(name)))
    return Null(scores)


def ordered_pairs(models: int, *, symmetric: bool) -> list[tuple[int, int]]:
    """Return the pairs of different models, each once if the metric is symmetric."""
    return [(i, j) for i in range(models) for j in range(models) if i < j or (i > j and not symmetric)]


def _symmetric(metric: str) -> bool:
    return bool(get_metric(metric.partition(":")[0]).card.symmetric)


def _calibrated(
    name: str,
    parts: Pairwise,
    collection: Collection,
    score: FloatArray,
    models: IntArray,
    null: Null | None,
    k: int,
    permutations: int,
    alpha: float,
) -> CalibrationMatrices:
    from scipy.stats import false_discovery_control

    names, n = collection.names, len(collection)
    higher = bool(get_metric(name.partition(":")[0]).card.higher_is_more_alike)
    fields = ("null_mean", "null_quantile", "p_value", "calibrated", "q_value")
    matrices = {field_: np.full(score.shape, np.nan) for field_ in fields}
    drawn = np.zeros(score.shape, dtype=np.intp)
    pairs = ordered_pairs(len(models), symmetric=_symmetric(name)) if null is not None else []
    places = [(int(models[i]), int(models[j])) for i, j in pairs]
    for (i, j), place in zip(pairs, places, strict=True):
        assert null is not None
        values = null.scores[:, i, j]
        values = values[~np.isnan(values)]
        observed = score[place] if null.observed is None else null.observed[i, j]
        if np.isnan(score[place]) or np.isnan(observed) or len(values) == 0:
            continue
        result = Calibration.from_null(
            float(observed),
            values,
            alpha=alpha,
            higher=higher,
            best=parts.best(n, k),
            rounding=null.rounding,
            stopped=len(values) < permutations,
        )
        drawn[place] = len(values)
        for field_ in fields[:-1]:
            matrices[field_][place] = getattr(result, field_)
    p_values = np.array([matrices["p_value"][place] for place in places])
    defined = ~np.isnan(p_values)
    if defined.any():
        adjusted = false_discovery_control(p_values[defined])
        for place, q in zip(
            [p for p, is_defined in zip(places, defined, strict=True) if is_defined], adjusted, strict=True
        ):
            matrices["q_value"][place] = q
    if _symmetric(name):
        for matrix in (*matrices.values(), drawn):
            for i, j in places:
                matrix[j, i] = matrix[i, j]
    note = "" if null is None else null.note
    return CalibrationMatrices(names, score, **matrices, permutations=drawn, note=note)
