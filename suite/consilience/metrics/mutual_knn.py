"""Overlap of nearest-neighbour lists (mutual k-nearest neighbours)."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ._engine.arrays import FloatArray, IntArray, as_embedding, check_same_length, undefined
from ._engine.collection import Collection
from ._engine.neighbor_kernel import NeighborKernel
from ._engine.neighbors import Neighbors, neighbors
from .card import MetricCard, metric
from .cknna import shared_edges, undefined_kernels
from .pairs import Null, Pairwise, pairwise


@metric(
    MetricCard(
        name="mutual_knn",
        title="mutual kNN",
        inputs="pair",
        higher_is_more_alike=True,
        symmetric=True,
        invariances=("orthogonal", "isotropic_scaling", "permutation"),
        reference="Huh et al. 2024, arXiv:2405.07987, section 2",
    )
)
def mutual_knn(x: npt.ArrayLike | Neighbors, y: npt.ArrayLike | Neighbors, *, k: int = 10) -> float:
    """Mean share of the `k` nearest neighbours that two embeddings have in common.

    Parameters
    ----------
    x, y : array_like of shape (n, d_x) and (n, d_y), or Neighbors
        Embeddings of the same items, or their ready lists (of any similarity). Neighbours of an array are
        the items with the largest inner products, the item itself left out, ties to the lower index.
    k : int
        Neighbours of each item.

    Returns
    -------
    float
        Between 0 and 1; k/(n-1) on average for independent embeddings. ``nan``, with a
        :class:`DegenerateInputWarning`, when all rows of one embedding are equal.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, n <= k, or lists are shorter than k.

    References
    ----------
    M. Huh et al., "The Platonic Representation Hypothesis", ICML 2024, arXiv:2405.07987.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import mutual_knn
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> round(mutual_knn(x, y), 2)
    0.39
    >>> round(mutual_knn(x, x), 2)
    1.0
    """
    given = {name: as_embedding(z, name) for name, z in (("x", x), ("y", y)) if not isinstance(z, Neighbors)}
    check_same_length(
        len(x) if isinstance(x, Neighbors) else len(given["x"]),
        len(y) if isinstance(y, Neighbors) else len(given["y"]),
    )
    if undefined("mutual kNN", **given):
        return float("nan")
    first = x if isinstance(x, Neighbors) else neighbors(given["x"], k)
    second = y if isinstance(y, Neighbors) else neighbors(given["y"], k)
    return overlap(first.nearest(k), second.nearest(k))


def overlap(first: npt.NDArray[np.int32], second: npt.NDArray[np.int32]) -> float:
    """Mean share of common entries, row by row, of two (n, k) lists without repeats."""
    together = np.sort(np.concatenate([first, second], axis=1), axis=1)
    return float(np.count_nonzero(np.diff(together, axis=1) == 0) / first.size)


def mutual_knn_from(a: NeighborKernel, b: NeighborKernel) -> float:
    """Mutual kNN of two models from the lists that CKNNA uses, at their own k.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import NeighborKernel, mutual_knn_from
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> a, b = NeighborKernel(x, k=10), NeighborKernel(y, k=10)
    >>> round(mutual_knn_from(a, b), 2)
    0.39
    """
    if undefined_kernels("mutual kNN", a, b):
        return float("nan")
    return overlap(a.neighbors.nearest(a.k), b.neighbors.nearest(b.k))


def _permuted(a: NeighborKernel, b: NeighborKernel, permutation: IntArray) -> float:
    return len(shared_edges(a, b, permutation)[0]) / a.edges.size


def _matrix(collection: Collection, k: int) -> FloatArray:
    """Mutual kNN of all pairs of models from their lists."""
    from ._engine import compiled

    counts, lock = np.zeros((len(collection.sources),) * 2, dtype=np.int64), Lock()

    def rows(part: slice, scratch: dict[str, Any]) -> None:
        if not scratch:
            scratch.update(row=np.zeros(len(collection), dtype=np.int32), order=np.arange(len(collection)))
        block_counts = np.zeros_like(counts)
        lists = (collection.inner_indices, k, scratch["order"])
        compiled.shared_counts(*lists, part.start, part.stop, scratch["row"], block_counts)
        with lock:
            counts[:] += block_counts

    collection.run("mutual kNN", rows, collection.row_blocks())
    shared: FloatArray = (counts + counts.T) / (len(collection) * k)
    np.fill_diagonal(shared, 1.0)
    return shared


def _null(collection: Collection, k: int, permutations: IntArray) -> Null:
    """Mutual kNN of all pairs under each permutation, from the same lists."""
    from ._engine import compiled

    n, models = len(collection), len(collection.sources)
    counts = np.zeros((len(permutations), models, models), dtype=np.int64)

    def one(draw: int, scratch: dict[str, Any]) -> None:
        if not scratch:
            scratch["row"] = np.zeros(n, dtype=np.int32)
        compiled.shared_counts(collection.inner_indices, k, permutations[draw], 0, n, scratch["row"], counts[draw])

    collection.run("null of mutual kNN", one, range(len(permutations)))
    return Null(counts / (n * k))


pairwise(
    "mutual_knn",
    Pairwise(
        state=NeighborKernel,
        score=mutual_knn_from,
        relabelled=_permuted,
        neighbors=10,
        depths=lambda k, n: (k, 0),
        matrix=_matrix,
        null=_null,
    ),
)
