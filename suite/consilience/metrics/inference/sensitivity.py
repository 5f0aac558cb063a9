"""How scores depend on their two free numbers: the neighbours k and the items n.

For CKNNA and mutual kNN both sweeps make one set of lists. A pair of items that stands at ranks r and s in two lists
(0: nearest) is shared for every k above max(r, s), so that sums over pairs, put into bins by that rank and accumulated,
give the scores for all k at once. The list of a subset is the list of all items without those left out. Other metrics
are computed anew for each k and each subset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from sys import maxsize
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from consilience.metrics._engine.arrays import (
    TIE_TOLERANCE,
    BoolArray,
    FloatArray,
    IntArray,
    check_k,
    warn_undefined,
)
from consilience.metrics._engine.collection import Collection
from consilience.metrics._engine.neighbors import LONG, smallest
from consilience.metrics._engine.row_source import Source
from consilience.metrics.matrices import pair_metrics, score_all
from consilience.metrics.pairs import neighbors_for, parts_of

from .subsampling import FROM_LISTS

#: Lists of all models are held up to this size, else computed again (in float64) for each block of rows.
HELD_BYTES = 2**32
#: Entries of a block of inner products where lists are made block by block, in bytes.
_BLOCK_BYTES = 2**25
#: Lists for subsets are this many deviations longer than needed on average: about one in 10^9 runs short, and the
#: subset is then scored anew.
_MARGIN = 6.0


@dataclass(frozen=True, eq=False)
class KSweep:
    """Scores of all pairs for several numbers of neighbours.

    Attributes
    ----------
    names : tuple of str
        Names of the M embeddings, in the order given.
    ks : tuple of int
        Numbers of neighbours, in the order given.
    values : ndarray of shape (len(ks), M, M)
        Scores, each embedding against itself on the diagonals; row i, column j is from i to j, the same as from j to
        i unless the metric is directed.
    chance : ndarray of shape (len(ks),)
        Score of unrelated embeddings, k/(n-1); ``nan`` for a metric other than CKNNA and mutual kNN. For mutual kNN
        it is the exact mean over random permutations of the items, for CKNNA an upper bound of it: close while the
        centred kernel varies little among the k nearest, too high where k reaches into the bulk of the items.
    """

    names: tuple[str, ...]
    ks: tuple[int, ...]
    values: FloatArray = field(repr=False)
    chance: FloatArray = field(repr=False)

    def curve(self, first: str, second: str) -> FloatArray:
        """Return the scores of one pair, (len(ks),), by names."""
        result: FloatArray = self.values[:, self.names.index(first), self.names.index(second)]
        return result


@dataclass(frozen=True, eq=False)
class NSweep:
    """Scores of all pairs on random subsets of several sizes.

    Attributes
    ----------
    names : tuple of str
        Names of the M embeddings, in the order given.
    sizes : tuple of int
        Numbers of items, in the order given.
    ks : tuple of int or None
        Neighbours at each size; None for a metric without.
    values : ndarray of shape (len(sizes), draws, M, M)
        Scores of each subset, as if its items were all there are.
    whole : ndarray of shape (M, M)
        Scores of all items.
    metric : str
        What was scored.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    ks: tuple[int | None, ...]
    values: FloatArray = field(repr=False)
    whole: FloatArray = field(repr=False)
    metric: str = "cknna"

    @property
    def mean(self) -> FloatArray:
        """Mean over draws, (len(sizes), M, M)."""
        mean: FloatArray = self.values.mean(axis=1)
        return mean

    @property
    def deviation(self) -> FloatArray:
        """Standard deviation over draws, (len(sizes), M, M).

        Draws of m of the same n items overlap, so that it falls to zero as m nears n; it is no error of the
        score of the whole (see :func:`~consilience.metrics.interval`).
        """
        deviation: FloatArray = self.values.std(axis=1, ddof=1)
        return deviation

    @property
    def chance(self) -> FloatArray:
        """Score of unrelated embeddings at each size, k/(m-1), (len(sizes),); see :class:`KSweep`."""
        return _chance(self.metric, self.ks, np.array(self.sizes))

    def curve(self, first: str, second: str) -> FloatArray:
        """Return the scores of one pair, (len(sizes), draws), by names."""
        result: FloatArray = self.values[:, :, self.names.index(first), self.names.index(second)]
        return result


def k_sweep(
    embeddings: Mapping[str, npt.ArrayLike],
    *,
    metric: str = "cknna",
    ks: Iterable[int] = (2, 25, 50, 100, 1000, 2500),
    threads: int | None = None,
) -> KSweep:
    """Score all pairs for several numbers of neighbours.

    Parameters
    ----------
    embeddings : mapping of str to array_like of shape (n, d)
        Two or more prepared embeddings of the same n items.
    metric : str
        A registered pair metric that takes neighbours. For ``"cknna"`` and ``"mutual_knn"`` lists are made once, at
        the largest k.
    ks : iterable of int
        Numbers of neighbours, all below n; default: those of arXiv:2512.03750, figure A1.
    threads : int, optional
        Default: ``OMP_NUM_THREADS``, or the number of cores this process may use.

    Returns
    -------
    KSweep
        Rows and columns of an embedding whose rows are all equal are ``nan``, with a
        :class:`DegenerateInputWarning`.

    Raises
    ------
    ValueError
        There are fewer than two embeddings, one of them is refused (the message names it), lengths differ,
        `metric` takes no neighbours, `ks` are empty, or one of them does not fit n.
    UnknownMetricError
        No metric has this name.

    Notes
    -----
    Lists of up to 256 neighbours are held for all M embeddings, ``12 M n k`` bytes, where that is at most
    4 GiB; longer ones are made and forgotten block by block: each thread has those of ``2^22 / n`` items at a time
    (of 83 at n=50,000). A pair costs O(n k) for the largest k, however many there are.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import k_sweep
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> result = k_sweep({"x": x, "y": y}, metric="mutual_knn", ks=[5, 10, 99])
    >>> result.curve("x", "y").round(2)
    array([0.29, 0.39, 1.  ])
    """
    collection = _collection(embeddings, metric, threads)
    n = len(collection)
    numbers = tuple(check_k(k, n, name="ks") for k in ks)
    if not numbers:
        raise ValueError("ks: expected at least one, found none")
    if metric not in FROM_LISTS:
        if parts_of(metric).neighbors is None:
            others = [name for name in pair_metrics() if parts_of(name).neighbors is not None]
            raise ValueError(f"metric: expected one that takes neighbours ({', '.join(others)}), found {metric!r}")
        values = np.stack([score_all(collection, {metric: k})[metric] for k in numbers])
        return KSweep(collection.names, numbers, values, _chance(metric, numbers, np.array(n)))
    steps, places = np.unique(numbers, return_inverse=True)
    everything = _Task(np.ones(n, dtype=bool), np.searchsorted(steps, np.arange(steps[-1]), side="right"))
    scores, _ = _score(collection, int(steps[-1]), [everything], metric)
    return KSweep(collection.names, numbers, scores[0, places], _chance(metric, numbers, np.array(n)))


def n_sweep(
    embeddings: Mapping[str, npt.ArrayLike],
    *,
    sizes: Iterable[int],
    metric: str = "cknna",
    k: int | None = None,
    draws: int = 10,
    seed: int = 0,
    scale_k: bool = False,
    threads: int | None = None,
) -> NSweep:
    """Score all pairs on random subsets of several sizes, each as if its items were all there are.

    Parameters
    ----------
    embeddings : mapping of str to array_like of shape (n, d)
        Two or more prepared embeddings of the same n items. They are not prepared again for a subset.
    sizes : iterable of int
        Numbers of items, below n.
    metric : str
        A registered pair metric. For ``"cknna"`` and ``"mutual_knn"`` lists are made once, for all subsets.
    k : int, optional
        Neighbours; with `scale_k`, among all n items. Default: 25 for CKNNA and mutual kNN, else the metric's own.
    draws : int
        Subsets of each size, at least 2; without replacement. Within a draw smaller subsets are parts of larger ones.
    seed : int
        The same seed gives the same subsets.
    scale_k : bool
        Keep k/n: ``round(k m / n)`` neighbours (at least 1) among m items. A neighbourhood then keeps its size in
        space, and the score of unrelated embeddings stays; with fixed k both change with m.
    threads : int, optional
        Default: ``OMP_NUM_THREADS``, or the number of cores this process may use.

    Returns
    -------
    NSweep
        ``nan``, with a :class:`DegenerateInputWarning`, where all rows of an embedding, or all those in a subset, are
        equal.

    Raises
    ------
    ValueError
        There are fewer than two embeddings, one of them is refused (the message names it), lengths differ,
        `k` is given for a metric without neighbours, `sizes` are empty, one of them is not below n or has too few
        items for its number of neighbours, or `draws` is below 2.
    UnknownMetricError
        No metric has this name.

    Notes
    -----
    Lists of all items, up to 256 long, serve every subset that leaves enough of them; they are held or made block
    by block as in :func:`k_sweep`. Smaller subsets are searched anew, which takes less time than longer lists.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import n_sweep
    >>> random = np.random.default_rng(0)
    >>> x = random.normal(size=(100, 8))
    >>> y = np.tanh(x @ random.normal(size=(8, 5)))
    >>> result = n_sweep({"x": x, "y": y}, metric="mutual_knn", sizes=[40, 80], k=10)
    >>> result.values.shape
    (2, 10, 2, 2)
    >>> float(result.whole[0, 1].round(2))
    0.39
    """
    collection = _collection(embeddings, metric, threads)
    n = len(collection)
    whole_k = 25 if k is None and metric in FROM_LISTS else neighbors_for(parts_of(metric), metric, k)
    if whole_k is not None:
        check_k(whole_k, n)
    numbers = tuple(check_k(size, maxsize, name="sizes") for size in sizes)
    if not numbers:
        raise ValueError("sizes: expected at least one, found none")
    if draws < 2:
        raise ValueError(f"draws: expected at least 2, found {draws}")
    ks = tuple(max(1, round(whole_k * size / n)) if scale_k and whole_k else whole_k for size in numbers)
    for size, own in zip(numbers, ks, strict=True):
        if size >= n:
            raise ValueError(f"sizes: expected fewer than {n} items, found {size}")
        if own is not None and own >= size:
            raise ValueError(f"sizes: {own} neighbours need more than {own} items, found {size}")
    random = np.random.default_rng(seed)
    orders = [random.permutation(n) for _ in range(draws)]
    values = np.full((len(numbers), draws, len(collection.names), len(collection.names)), np.nan)
    if metric in FROM_LISTS and whole_k is not None:
        whole, alone = _from_lists(collection, metric, whole_k, numbers, ks, orders, values)
    else:
        whole = score_all(collection, {metric: whole_k})[metric]
        alone = [(s, d) for s in range(len(numbers)) for d in range(draws)]
    for s, d in alone:
        rows = np.sort(orders[d][: numbers[s]])
        items = {name: source.x[rows] for name, source in zip(collection.names, collection.sources, strict=True)}
        values[s, d] = score_all(Collection(items, threads=threads), {metric: ks[s]})[metric]
    distinct = [source.distinct for source in collection.sources]
    if np.isnan(np.diagonal(values, axis1=2, axis2=3)[:, :, distinct]).any():
        warn_undefined(metric, "all rows of an embedding are equal within a subset")
    return NSweep(collection.names, numbers, ks, values, whole, metric)


def _from_lists(
    collection: Collection,
    metric: str,
    k: int,
    sizes: Sequence[int],
    ks: Sequence[int | None],
    orders: Sequence[IntArray],
    values: FloatArray,
) -> tuple[FloatArray, list[tuple[int, int]]]:
    """Fill `values` from lists of all items; return the scores of all items, and the subsets that need their own.

    `orders` are random orders of the items: the subset of size m in draw d is the first m of ``orders[d]``.
    """
    n = len(collection)
    everything = _Task(np.ones(n, dtype=bool), np.zeros(k, dtype=np.intp))
    depth, tasks, places, alone = k, [everything], [], []
    for s, (size, own) in enumerate(zip(sizes, ks, strict=True)):
        needed = _needed(own or k, size, n)
        for d, order in enumerate(orders):
            if needed <= max(k, LONG):
                depth = max(depth, needed)
                tasks.append(_Task(np.isin(np.arange(n), order[:size]), np.zeros(own or k, dtype=np.intp)))
                places.append((s, d))
            else:
                alone.append((s, d))
    scores, complete = _score(collection, depth, tasks, metric)
    for place, subset_scores, all_there in zip(places, scores[1:, 0], complete[1:], strict=True):
        if all_there:
            values[place] = subset_scores
        else:
            alone.append(place)
    return scores[0, 0], alone


def _chance(metric: str, ks: Sequence[int | None], items: npt.NDArray[np.intp]) -> FloatArray:
    """Score of unrelated embeddings for each k and number of items; ``nan`` where it is not known."""
    if metric not in FROM_LISTS:
        return np.full(len(ks), np.nan)
    chance: FloatArray = np.array(ks, dtype=np.float64) / (items - 1.0)
    return chance


@dataclass(frozen=True)
class _Task:
    """Which items take part, (n,) bool, and the bin of each rank, ascending, one for each neighbour."""

    member: BoolArray
    bins: IntArray


def _collection(embeddings: Mapping[str, npt.ArrayLike], metric: str, threads: int | None) -> Collection:
    parts_of(metric)  # says what is wrong with a name
    if len(embeddings) < 2:
        raise ValueError(f"embeddings: expected at least two, found {len(embeddings)}")
    collection = Collection(embeddings, threads=threads)
    for source in collection.sources:
        if not source.distinct:
            warn_undefined(metric, f"all rows of {source.name} are equal")
    return collection


def _needed(k: int, size: int, n: int) -> int:
    """Length of lists that hold k members of a random subset, but for a negligible probability (see `_MARGIN`)."""
    share = size / n
    spread = _MARGIN * sqrt(1 - share)
    # t^2 = mean number of members, of which t sqrt(1 - share) is the deviation
    root = (spread + sqrt(spread**2 + 4 * k)) / 2
    return min(ceil(root**2 / share), n - 1)


def _score(collection: Collection, depth: int, tasks: Sequence[_Task], metric: str) -> tuple[FloatArray, BoolArray]:
    """Score all pairs for each task from one set of lists.

    Parameters
    ----------
    collection : Collection
        M embeddings.
    depth : int
        Length of the lists.
    tasks : sequence of _Task
        All with the same number B of bins.
    metric : {"cknna", "mutual_knn"}
        What to score.

    Returns
    -------
    scores : ndarray of shape (len(tasks), B, M, M)
        One score for all ranks up to the end of each bin; ``nan`` where an embedding has only equal rows.
    complete : ndarray of shape (len(tasks),), bool
        Whether the lists were long enough; if not, the scores of the task are of no use.
    """
    every = len(collection.sources)
    chosen = np.flatnonzero([source.distinct for source in collection.sources])
    count = int(tasks[0].bins[-1]) + 1
    result = np.full((len(tasks), count, every, every), np.nan)
    if not len(chosen):
        return result, np.ones(len(tasks), dtype=bool)
    distinct = collection.take(chosen)
    sums, complete = _sums(distinct, depth, tasks, counting=metric == "mutual_knn")
    sums = np.cumsum(sums, axis=1)
    own = np.diagonal(sums, axis1=2, axis2=3)
    defined = np.array([[_distinct(source.x, task.member) for source in distinct.sources] for task in tasks])
    own = np.where((own > 0) & defined[:, None], own, np.nan)
    sums = sums + np.swapaxes(np.triu(sums, 1), 2, 3)
    if metric == "mutual_knn":  # each own sum is the number of neighbours
        scores = sums / own[..., :, None] * (own / own)[..., None, :]
    else:
        scale = np.sqrt(own)
        scores = sums / (scale[..., :, None] * scale[..., None, :])
    result[..., chosen[:, None], chosen] = scores
    return result, complete


def _sums(
    collection: Collection, depth: int, tasks: Sequence[_Task], *, counting: bool
) -> tuple[FloatArray, BoolArray]:
    """Sum over shared neighbours the products of centred kernels, or ones if `counting`, by task and bin."""
    from consilience.metrics._engine import compiled

    n, models, count = len(collection), len(collection.sources), int(tasks[0].bins[-1]) + 1
    longest = max(len(task.bins) for task in tasks)
    sums, lock = np.zeros((len(tasks), count, models, models)), Lock()
    complete = np.ones(len(tasks), dtype=bool)
    members = np.stack([task.member for task in tasks])
    means = [_means(source, members) for source in collection.sources]
    held = depth <= LONG and 12 * models * n * depth <= HELD_BYTES
    if held:
        collection.search(depth, 0)

    def rows(part: slice, scratch: dict[str, Any]) -> None:
        if not scratch:
            scratch["near"] = np.empty((models, longest), dtype=np.int32)
            scratch["kernel"] = np.empty((models, longest))
            scratch["bins"] = np.full(n, count, dtype=np.int32)
            scratch["left"] = np.zeros(n)
        if held:
            indices = np.ascontiguousarray(collection.inner_indices[:, part])
            values = np.ascontiguousarray(collection.inner_values[:, part])
        else:
            indices = np.empty((models, part.stop - part.start, depth), dtype=np.int32)
            values = np.empty(indices.shape)
            for m, source in enumerate(collection.sources):
                indices[m], values[m] = _search_rows(source, np.arange(part.start, part.stop), depth)
        shifts = np.zeros((len(tasks), *indices.shape[:2]))
        if counting:
            values.fill(1.0)
        else:
            for m, source in enumerate(collection.sources):
                shifts[:, m] = means[m] @ source.x[part].astype(np.float64).T
        block_sums, enough = np.zeros_like(sums), np.ones_like(complete)
        buffers = tuple(scratch[name] for name in ("near", "kernel", "bins", "left"))
        for t, task in enumerate(tasks):
            items = np.flatnonzero(task.member[part])
            enough[t] = compiled.shared_by_rank(
                indices, values, shifts[t], items, task.member, task.bins, buffers, block_sums[t]
            )
        with lock:
            sums[:] += block_sums
            complete[:] &= enough

    blocks = collection.row_blocks() if held else collection.row_blocks(max(1, _BLOCK_BYTES // (8 * n)))
    collection.run("sweep", rows, blocks)
    collection.forget_lists()
    return sums, complete


def _means(source: Source, members: BoolArray) -> FloatArray:
    """Mean of the centred rows of each subset, (tasks, d)."""
    total = np.zeros((len(members), source.x.shape[1]))
    start = 0
    for block in source.blocks():
        total += members[:, start : start + len(block)].astype(np.float64) @ block
        start += len(block)
    means: FloatArray = total / members.sum(axis=1)[:, None] / source.factors
    # of all items it is zero: no rounding error of it shall reach their scores
    means[members.all(axis=1)] = 0.0
    return means


def _search_rows(source: Source, rows: IntArray, depth: int) -> tuple[IntArray, FloatArray]:
    """Lists of some items as :func:`~consilience.metrics._engine.neighbors.search` makes them in float64."""
    tolerance = TIE_TOLERANCE * source.lengths[rows] * np.sqrt(source.squares.max()) / source.factors[0]
    keys = -source.inner_products(rows)
    keys[np.arange(len(rows)), rows] = np.inf
    chosen = smallest(keys, depth, tolerance)
    return chosen, -np.take_along_axis(keys, chosen, axis=1)


def _distinct(x: npt.NDArray[Any], member: BoolArray) -> bool:
    """Whether the rows of a subset are not all the same; most often the first few say so."""
    rows = np.flatnonzero(member)
    return any((x[part] != x[rows[0]]).any() for part in np.array_split(rows, ceil(len(rows) / 256)))
