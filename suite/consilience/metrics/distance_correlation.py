"""Distance correlation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ._engine.arrays import FloatArray, IntArray, as_pair, check_choice, symmetric_distances, undefined
from ._engine.centering import double_centered, matrix_correlation, permuted_correlation, u_centered
from ._engine.collection import Collection
from ._engine.correlations import CorrelationConsumer, permuted_correlations
from ._engine.row_source import Source
from ._engine.tiles import Tile, TilePosition
from .card import MetricCard, metric
from .matrices import is_large, score_pair
from .pairs import Null, Pairwise, pairwise

Variant = Literal["unbiased", "paper", "biased"]

#: Items to which each item's mean distance is estimated.
_LANDMARKS = 64


@metric(
    MetricCard(
        name="distance_correlation",
        title="dCor",
        inputs="pair",
        higher_is_more_alike=True,
        symmetric=True,
        invariances=("orthogonal", "isotropic_scaling", "translation", "permutation"),
        reference="Szekely & Rizzo 2014, Ann. Stat. 42, 2382 (unbiased); arXiv:2512.03750, eq. A18 (paper)",
    )
)
def distance_correlation(x: npt.ArrayLike, y: npt.ArrayLike, *, variant: Variant = "unbiased") -> float:
    """Correlation of the centred Euclidean distances of two embeddings.

    Parameters
    ----------
    x, y : array_like of shape (n, d_x) and (n, d_y)
        Embeddings of the same items.
    variant : {"unbiased", "paper", "biased"}
        ``"unbiased"``: U-centred, *squared*; about 0 for independent embeddings, possibly negative, n >= 4.
        ``"paper"``: doubly centred, *squared* (no outer root), which for independent Gaussians is 0.5 at
        n=1,000 and d=256: use it to compare with published values only. ``"biased"``: the root of
        ``"paper"``, the distance correlation of Szekely et al. 2007.

    Returns
    -------
    float
        At most 1. ``nan``, with a :class:`DegenerateInputWarning`, when all rows of one embedding are equal.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, there are too few rows, or `variant` is unknown.

    References
    ----------
    G. Szekely, M. Rizzo, Ann. Statist. 42, 2382 (2014), equation 3.7; G. Szekely, M. Rizzo, N. Bakirov,
    Ann. Statist. 35, 2769 (2007), definition 5; arXiv:2512.03750, equation A18.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import distance_correlation
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> round(distance_correlation(x, y), 2)
    0.59
    >>> round(distance_correlation(x, y, variant="biased"), 2)
    0.8
    """
    check_choice(variant, get_args(Variant), "variant")
    if is_large(x, y):
        return score_pair("distance_correlation" + ("" if variant == "unbiased" else f":{variant}"), x, y)[0]
    x, y = as_pair(x, y, minimum=4 if variant == "unbiased" else 2)
    if undefined("distance correlation", x=x, y=y):
        return float("nan")
    squared = _score(_centered_distances(x, variant), _centered_distances(y, variant))
    return float(np.sqrt(max(squared, 0.0))) if variant == "biased" else squared


def _centered_distances(x: FloatArray, variant: Variant = "unbiased") -> FloatArray:
    distances = symmetric_distances(x)
    np.sqrt(distances, out=distances)
    return u_centered(distances) if variant == "unbiased" else double_centered(distances)


class _Correlations(CorrelationConsumer):
    """Distance correlations of all pairs."""

    def shift(self, source: Source) -> FloatArray:
        """Return each item's mean distance to a few landmarks, less half the mean of all."""
        from scipy.spatial.distance import cdist

        n = len(source)
        landmarks = source.rows(np.linspace(0, n - 1, min(_LANDMARKS, n)).astype(np.intp), np.float64)
        means = [cdist(block, landmarks).mean(axis=1) for block in source.blocks()]
        mean = np.concatenate(means)
        shift: FloatArray = mean - mean.mean() / 2
        return shift

    def diagonal(self, source: Source) -> FloatArray:
        """Return the distance of each item to itself."""
        return np.zeros(len(source))

    def distances(self, model: int, tile: Tile, place: TilePosition, scratch: dict[str, Any]) -> None:
        """Keep the distances of one model."""
        self.store(model, tile, place, scratch, root=True)


def _unbiased(consumer: _Correlations) -> FloatArray:
    return consumer.correlations(unbiased=True)


def _paper(consumer: _Correlations) -> FloatArray:
    return consumer.correlations(unbiased=False)


def _biased(consumer: _Correlations) -> FloatArray:
    root: FloatArray = np.sqrt(np.maximum(_paper(consumer), 0.0))
    return root


def _score(a: FloatArray, b: FloatArray) -> float:
    return matrix_correlation(a, b, "distance correlation")


def _biased_score(a: FloatArray, b: FloatArray) -> float:
    return float(np.sqrt(max(_score(a, b), 0.0)))


def _biased_permuted(a: FloatArray, b: FloatArray, permutation: IntArray) -> float:
    return float(np.sqrt(max(permuted_correlation(a, b, permutation), 0.0)))


def _null(variant: Variant) -> Callable[[Collection, int, IntArray], Null]:
    def null(collection: Collection, k: int, permutations: IntArray) -> Null:
        centred = partial(_centered_distances, variant=variant)
        squared = permuted_correlations(collection, centred, "distance correlation", permutations)
        return replace(squared, scores=np.sqrt(np.maximum(squared.scores, 0.0))) if variant == "biased" else squared

    return null


_squared = Pairwise(
    state=_centered_distances,
    score=_score,
    relabelled=permuted_correlation,
    consumer=lambda collection, k: _Correlations(collection.engine),
    read=_unbiased,
    null=_null("unbiased"),
)
pairwise("distance_correlation", _squared)
pairwise(
    "distance_correlation:paper",
    replace(_squared, state=partial(_centered_distances, variant="paper"), read=_paper, null=_null("paper")),
)
pairwise(
    "distance_correlation:biased",
    replace(
        _squared,
        state=partial(_centered_distances, variant="biased"),
        score=_biased_score,
        relabelled=_biased_permuted,
        read=_biased,
        null=_null("biased"),
    ),
)
