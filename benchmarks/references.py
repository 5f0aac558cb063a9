"""The metrics once more, dense and in float64, for ``against_peers.py``: from their definitions, no code of the suite.

The loops of ``tests/metrics/oracles.py`` are the authority, and the tests hold these to them; loops take minutes where
it matters, beyond the 1,024 items up to which the suite itself works in float64. No ties, no degenerate inputs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def _neighbors(x: Array, k: int) -> Mask:
    """Whether j is among the k rows with the largest inner products with row i, itself left out."""
    products = x @ x.T
    np.fill_diagonal(products, -np.inf)
    mask = np.zeros(products.shape, dtype=bool)
    np.put_along_axis(mask, np.argpartition(-products, k - 1, axis=1)[:, :k], True, axis=1)
    return mask


def cknna(x: Array, y: Array, k: int) -> float:
    """arXiv:2512.03750, equations A13 to A16."""
    a, b = (kernel - kernel.mean(axis=1, keepdims=True) for kernel in (x @ x.T, y @ y.T))
    in_x, in_y = _neighbors(x, k), _neighbors(y, k)
    shared = in_x & in_y
    return float((a[shared] @ b[shared]) / np.sqrt((a[in_x] @ a[in_x]) * (b[in_y] @ b[in_y])))


def mutual_knn(x: Array, y: Array, k: int) -> float:
    """Mean share of common neighbours."""
    return int((_neighbors(x, k) & _neighbors(y, k)).sum()) / (len(x) * k)


def distance_correlation(x: Array, y: Array, *, unbiased: bool) -> float:
    """Squared: Szekely & Rizzo 2014, equation 3.7, or the doubly centred one (arXiv:2512.03750, equation A18)."""
    n = len(x)
    a, b = (_u_centered(cdist(z, z)) if unbiased else _doubly_centered(cdist(z, z)) for z in (x, y))
    assert a.shape == (n, n)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def _doubly_centered(d: Array) -> Array:
    return d - d.mean(axis=0) - d.mean(axis=1)[:, None] + d.mean()


def _u_centered(d: Array) -> Array:
    n, sums = len(d), d.sum(axis=1)
    centered = d - sums / (n - 2) - sums[:, None] / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centered, 0.0)
    return centered


def information_imbalance(x: Array, y: Array) -> float:
    """From x to y with one neighbour: Glielmo et al. 2022, equation 3."""
    near, ranked = cdist(x, x), cdist(y, y)
    for distances in (near, ranked):
        np.fill_diagonal(distances, np.inf)  # an item is no neighbour of itself
    ranks = rankdata(ranked, axis=1)
    return float(2 * ranks[np.arange(len(x)), near.argmin(axis=1)].sum() / len(x) ** 2)


def two_nn(x: Array, fraction: float = 0.9) -> float:
    """Facco et al. 2017: slope through the origin over the lowest ratios of second to first distance."""
    _, first, second = np.partition(cdist(x, x), 2, axis=1)[:, :3].T
    ratios = np.sort(np.log(second / first))
    n = len(ratios)
    kept = min(int(n * fraction), n - 1)
    heights = -np.log(1 - np.arange(1, kept + 1) / n)
    return float(ratios[:kept] @ heights / (ratios[:kept] @ ratios[:kept]))


def dimension_correlation(x: Array, y: Array) -> float:
    """Basile et al. 2024, equation 2, on standardized columns."""
    x, y = ((z - z.mean(axis=0)) / (z.std(axis=0, ddof=1) + 1e-9) for z in (x, y))
    a, b, both = two_nn(x), two_nn(y), two_nn(np.hstack([x, y]))
    return (a + b - both) / max(a, b)
