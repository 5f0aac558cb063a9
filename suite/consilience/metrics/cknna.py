"""Centred kernel nearest-neighbour alignment (CKNNA)."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ._engine.arrays import FloatArray, IntArray, check_choice, check_same_length, warn_undefined
from ._engine.collection import Collection
from ._engine.neighbor_kernel import NeighborKernel
from .card import MetricCard, metric
from .pairs import Null, Pairwise, pairwise

Variant = Literal["paper", "platonic-rep"]
#: What platonic-rep adds to the denominator.
PLATONIC_EPS = 1e-6


@metric(
    MetricCard(
        name="cknna",
        title="CKNNA",
        inputs="pair",
        higher_is_more_alike=True,
        symmetric=True,
        invariances=("orthogonal", "isotropic_scaling", "permutation"),
        reference="arXiv:2512.03750, eq. A13-A16; Huh et al. 2024, arXiv:2405.07987",
    )
)
def cknna(
    x: npt.ArrayLike | NeighborKernel,
    y: npt.ArrayLike | NeighborKernel,
    *,
    k: int = 25,
    variant: Variant = "paper",
    eps: float = PLATONIC_EPS,
) -> float:
    r"""Centred kernel alignment of two embeddings, restricted to the neighbours they share.

    Parameters
    ----------
    x, y : array_like of shape (n, d_x) and (n, d_y), or NeighborKernel
        Embeddings of the same items. Rows are used as they are: the papers normalise them first, which is
        :func:`~consilience.metrics.prepare`.
    k : int
        Neighbours of each item: those with the largest inner products, the item itself left out, ties to
        the lower index.
    variant : {"paper", "platonic-rep"}
        ``"paper"``: the kernel minus its row mean (over all n columns, the diagonal included), summed over
        the pairs (i, j) where j is among the k nearest of i in *both* embeddings, divided by the root of the
        two self terms. ``"platonic-rep"``: the published code of Huh et al.: unbiased HSIC of the kernels,
        not centred, set to zero outside the shared neighbours. Its masks are directed, so that only
        reciprocal neighbours enter the main term, and it is symmetric only to about 1e-3.
    eps : float
        Added to the denominator of ``"platonic-rep"`` as its code does; 0 turns it off. With rows of unit
        length it lowers the score by 0.1 % at n=2,000 and k=10, by more for larger n. No part of ``"paper"``.

    Returns
    -------
    float
        1 for embeddings with the same neighbours and similarities, about k/n for independent ones.
        ``nan``, with a :class:`DegenerateInputWarning`, when all rows of one embedding are equal.

    Raises
    ------
    ValueError
        An argument is no embedding, lengths differ, n <= k, `variant` is unknown, or a
        :class:`NeighborKernel` was made for another k.

    References
    ----------
    arXiv:2512.03750, appendix A (the formula); M. Huh et al., "The Platonic Representation Hypothesis",
    ICML 2024, arXiv:2405.07987 (the code).

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import cknna, prepare
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> round(cknna(prepare(x), prepare(y)), 2)
    0.58
    >>> round(cknna(x, x), 2)
    1.0
    """
    check_choice(variant, get_args(Variant), "variant")
    a, b = as_kernel(x, "x", k), as_kernel(y, "y", k)
    return cknna_from(a, b) if variant == "paper" else _platonic_from(a, b, eps)


def as_kernel(x: npt.ArrayLike | NeighborKernel, name: str, k: int, depth: int | None = None) -> NeighborKernel:
    """Return `x` if it is a :class:`NeighborKernel` with this `k`, else make one.

    Raises
    ------
    ValueError
        `x` is no embedding (the message calls it `name`), or a kernel made for another k.
    """
    if not isinstance(x, NeighborKernel):
        try:
            return NeighborKernel(x, k, depth)
        except ValueError as error:
            raise ValueError(str(error).replace("x:", f"{name}:", 1)) from None
    if x.k != k:
        raise ValueError(f"{name}: made for k={x.k} neighbours, found k={k}")
    return x


def cknna_from(a: NeighborKernel, b: NeighborKernel) -> float:
    """CKNNA (``"paper"``) of two models from their ready lists, in O(n k).

    Raises
    ------
    ValueError
        The models have different numbers of items or of neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import NeighborKernel, cknna_from
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> a, b = NeighborKernel(x, k=10), NeighborKernel(y, k=10)
    >>> round(cknna_from(a, b), 2)
    0.41
    """
    if undefined_kernels("CKNNA", a, b):
        return float("nan")
    if norm(a, b) == 0:
        warn_undefined("CKNNA", "the kernel of an embedding vanishes at all of its neighbours")
        return float("nan")
    return aligned_sum(a, b) / norm(a, b)


def undefined_kernels(name: str, a: NeighborKernel, b: NeighborKernel) -> bool:
    """Whether a score of `a` and `b` is ``nan`` (a warning says why); checks that they fit together.

    Raises
    ------
    ValueError
        The models have different numbers of items or of neighbours.
    """
    check_same_length(len(a), len(b))
    if a.k != b.k:
        raise ValueError(f"a and b: expected the same k, found {a.k} and {b.k}")
    if a.degenerate or b.degenerate:
        warn_undefined(name, "all rows of an embedding are equal")
        return True
    return False


def norm(a: NeighborKernel, b: NeighborKernel) -> float:
    """Denominator of CKNNA, the root of the product of the self terms (roots first: no overflow)."""
    return float(np.sqrt(a.self_term) * np.sqrt(b.self_term))


def shared_edges(
    a: NeighborKernel, b: NeighborKernel, order: IntArray | None = None
) -> tuple[IntArray, IntArray, IntArray]:
    """Find the pairs (i, j) that are neighbours in `a` and, after permutation, in `b`.

    Parameters
    ----------
    a, b : NeighborKernel
        Two models of n items.
    order : ndarray of shape (n,), optional
        Permutation p: row i of `a` is set against row ``p[i]`` of `b`.

    Returns
    -------
    places : ndarray of shape (m,)
        Which of the n k entries of the lists of `a` are shared.
    rows, ranks : ndarray of shape (m,)
        Where the same pairs stand in the lists of `b`.
    """
    if order is None:
        edges = a.edges
    else:
        edges = order.take(a.columns)
        edges += (order * len(a))[:, None]
        edges = edges.ravel()
    ranks = b.ranks_at(edges)
    places = np.flatnonzero(ranks < b.k)
    rows = places // a.k
    return places, rows if order is None else order[rows], ranks[places]


def aligned_sum(a: NeighborKernel, b: NeighborKernel, order: IntArray | None = None) -> float:
    """Numerator of CKNNA: the sum of products of both centred kernels over the shared neighbours."""
    places, rows, ranks = shared_edges(a, b, order)
    # not `@`: BLAS would start threads for a few thousand products and wait longer than it computes
    return float(np.einsum("e,e->", a.kernel_values.ravel()[places], b.kernel_values[rows, ranks]))


def _platonic_from(a: NeighborKernel, b: NeighborKernel, eps: float) -> float:
    if undefined_kernels("CKNNA", a, b):
        return float("nan")
    if len(a) < 4:
        raise ValueError(f"x and y: the unbiased HSIC needs at least 4 rows, found {len(a)}")
    products = _masked_hsic(a, a) * _masked_hsic(b, b)
    if products <= 0:
        warn_undefined("CKNNA", "the unbiased HSIC of an embedding with itself is not positive")
        return float("nan")
    return _masked_hsic(a, b) / (float(np.sqrt(products)) + eps)


def _masked_hsic(a: NeighborKernel, b: NeighborKernel, order: IntArray | None = None) -> float:
    """Unbiased HSIC (Song et al. 2012, eq. 5) of two kernels set to zero outside their shared edges."""
    n = len(a)
    places, rows, ranks = shared_edges(a, b, order)
    columns = a.columns.ravel()[places]
    first: FloatArray = a.raw_values.ravel()[places]
    second: FloatArray = b.raw_values[rows, ranks]
    items = places // a.k
    other = columns if order is None else order[columns]
    reciprocal = (a.ranks_at(columns * n + items) < a.k) & (b.ranks_at(other * n + rows) < b.k)
    trace = float(np.sum((first * second)[reciprocal]))
    crossed = np.bincount(columns, first, n) @ np.bincount(items, second, n)
    total = trace + first.sum() * second.sum() / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)
    return float(total / (n * (n - 3)))


def _permuted(a: NeighborKernel, b: NeighborKernel, permutation: IntArray) -> float:
    return aligned_sum(a, b, permutation) / norm(a, b)


def _matrix(collection: Collection, k: int) -> FloatArray:
    """CKNNA of all pairs of models from their lists."""
    from ._engine import compiled

    sums, lock = np.zeros((len(collection.sources),) * 2), Lock()

    def rows(part: slice, scratch: dict[str, Any]) -> None:
        if not scratch:
            scratch.update(row=np.zeros(len(collection)), order=np.arange(len(collection)))
        block_sums = np.zeros_like(sums)
        lists = (collection.inner_indices, collection.inner_values, k, scratch["order"])
        compiled.shared_products(*lists, part.start, part.stop, scratch["row"], block_sums)
        with lock:
            sums[:] += block_sums

    collection.run("CKNNA", rows, collection.row_blocks())
    own, scale = _self_terms(collection, k)
    result: FloatArray = (sums + sums.T + np.diag(own)) / scale[:, None] / scale
    return result


def _self_terms(collection: Collection, k: int) -> tuple[FloatArray, FloatArray]:
    """Self terms of all models, and their roots, ``nan`` for zero."""
    own = np.array([np.einsum("ip,ip->", v[:, :k], v[:, :k]) for v in collection.inner_values])
    return own, np.sqrt(np.where(own > 0, own, np.nan))


def _null(collection: Collection, k: int, permutations: IntArray) -> Null:
    """CKNNA of all pairs under each permutation, from the same lists."""
    from ._engine import compiled

    n, models = len(collection), len(collection.sources)
    scores = np.zeros((len(permutations), models, models))

    def one(draw: int, scratch: dict[str, Any]) -> None:
        if not scratch:
            scratch["row"] = np.zeros(n)
        lists = (collection.inner_indices, collection.inner_values, k, permutations[draw])
        compiled.shared_products(*lists, 0, n, scratch["row"], scores[draw])

    collection.run("null of CKNNA", one, range(len(permutations)))
    _, scale = _self_terms(collection, k)
    return Null(scores / scale[:, None] / scale)


def _platonic_score(a: NeighborKernel, b: NeighborKernel) -> float:
    return _platonic_from(a, b, PLATONIC_EPS)


def _platonic_permuted(a: NeighborKernel, b: NeighborKernel, permutation: IntArray) -> float:
    products = _masked_hsic(a, a) * _masked_hsic(b, b)
    return _masked_hsic(a, b, permutation) / (float(np.sqrt(products)) + PLATONIC_EPS)


def _platonic_matrix(collection: Collection, k: int) -> FloatArray:
    """CKNNA of all pairs of models as platonic-rep computes it, from their lists; row model first."""
    from ._engine import compiled

    n, models = len(collection), len(collection.sources)
    indices = np.ascontiguousarray(collection.inner_indices[:, :, :k])
    values = np.empty(indices.shape)
    back = np.empty(indices.shape, dtype=np.bool_)
    hsic = np.empty((models, models))

    def model(m: int, scratch: dict[str, Any]) -> None:
        source = collection.sources[m]
        # back to the kernel that is not centred
        values[m] = collection.inner_values[m, :, :k] + source.products_with(source.mean[None]).T
        compiled.reciprocal_edges(indices[m], back[m])

    def row(a: int, scratch: dict[str, Any]) -> None:
        if not scratch:
            scratch.update(places=np.full(n, -1, dtype=np.int32), columns=np.empty(n), rows=np.empty(n))
        for b in range(models):
            first, second = (indices[a], values[a], back[a]), (indices[b], values[b], back[b])
            hsic[a, b] = compiled.masked_hsic(*first, *second, *scratch.values())

    collection.run("CKNNA", model, range(models))
    collection.run("CKNNA", row, range(models))
    hsic /= n * (n - 3)
    own = hsic.diagonal()
    scale = np.sqrt(np.where(own > 0, own, np.nan))
    result: FloatArray = hsic / (np.outer(scale, scale) + PLATONIC_EPS)
    return result


_parts = Pairwise(
    state=NeighborKernel,
    score=cknna_from,
    relabelled=_permuted,
    neighbors=25,
    depths=lambda k, n: (k, 0),
    matrix=_matrix,
    null=_null,
)
pairwise("cknna", _parts)
pairwise(
    "cknna:platonic-rep",
    replace(_parts, score=_platonic_score, relabelled=_platonic_permuted, matrix=_platonic_matrix, null=None),
)
