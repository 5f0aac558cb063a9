"""Rank correlations whose p takes account of families: models of one architecture are not independent of each other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Relabellings unless asked otherwise: the smallest p is then 1 in 1,000.
PERMUTATIONS = 1999
#: Arrangements are counted up to here; beyond, their number limits no p.
_MANY = 10**6


@dataclass(frozen=True)
class Clustered:
    """A statistic with a p that respects families.

    Attributes
    ----------
    value
        The statistic; NaN where it is undefined.
    p_value
        Two-sided permutation p; NaN where the statistic is undefined or the families allow no other arrangement.
    least_p
        The smallest p that the number of models and families allows.
    models
        Number of models.
    families
        Number of families.
    """

    value: float
    p_value: float
    least_p: float
    models: int
    families: int


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation over the places where both are finite.

    Parameters
    ----------
    x, y : array_like of shape (n,)
        Values; NaN where there is none.

    Returns
    -------
    float
        NaN for fewer than three places, or where one side is constant.
    """
    first, second = np.asarray(x, float), np.asarray(y, float)
    there = np.isfinite(first) & np.isfinite(second)
    if there.sum() < 3:
        return math.nan
    return correlation(*(centred_ranks(values[there]) for values in (first, second)))


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Correlation of two vectors whose means are 0; NaN where one of them is constant."""
    scale = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / scale if scale > 0 else math.nan


def centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks about their mean; equal values share theirs."""
    ranks: NDArray[np.float64] = rankdata(values) - (len(values) + 1) / 2
    return ranks


def family_permutation(families: Sequence[Hashable], random: np.random.Generator) -> NDArray[np.intp]:
    """Draw one rearrangement of models that keeps families together.

    Families of the same size change places as wholes, and within each family its members do: the "whole-block and
    within-block" scheme of multi-level permutation (Winkler et al. 2015, doi:10.1016/j.neuroimage.2015.05.092). It is
    exact where families are exchangeable with others of their size, and members with their siblings, however much
    the members of a family resemble each other.

    Parameters
    ----------
    families
        Family of each model.
    random
        Source of random numbers.

    Returns
    -------
    ndarray of shape (n,)
        At each place, the model whose value goes there.
    """
    return _rearranged(_blocks_by_size(families), random)


def _rearranged(blocks: Sequence[NDArray[np.intp]], random: np.random.Generator) -> NDArray[np.intp]:
    order = np.empty(sum(block.size for block in blocks), np.intp)
    for block in blocks:
        moved = block[random.permutation(len(block))]
        order[block] = random.permuted(moved, axis=1) if block.shape[1] > 1 else moved
    return order


def arrangements(families: Sequence[Hashable]) -> int:
    """Number of rearrangements that :func:`family_permutation` draws from (counted up to a million)."""
    found = 1
    for block in _blocks_by_size(families):
        count, size = block.shape
        found *= math.factorial(min(count, 12)) * math.factorial(min(size, 12)) ** min(count, 12)
    return min(found, _MANY)


def _blocks_by_size(families: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    """Places of the members of families: for each size of family one array with a row for each of that size."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, family in enumerate(families):
        members[family].append(place)
    sizes: dict[int, list[list[int]]] = defaultdict(list)
    for block in members.values():
        sizes[len(block)].append(block)
    return [np.array(blocks, np.intp) for blocks in sizes.values()]


def clustered_test(
    statistic: Callable[[NDArray[np.intp]], float],
    families: Sequence[Hashable],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Clustered:
    """Test a statistic of models against rearrangements that keep families together.

    Parameters
    ----------
    statistic
        Takes the order in which one side's values are handed to the models (``arange(n)`` as observed), and returns
        the statistic. Everything chosen from those values, such as the best model, has to be chosen anew in it.
    families
        Family of each model.
    permutations
        Number of rearrangements, at least 999.
    seed
        Seed of the rearrangements.

    Returns
    -------
    Clustered
        The p counts the observed order among the rearrangements (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585)
        and is twice that of the nearer tail: where the best is chosen anew, a statistic need not scatter evenly
        around 0. A rearrangement that leaves the statistic undefined counts against it.
    """
    if permutations < 999:
        raise ValueError(f"permutations: expected at least 999, found {permutations}")
    value = statistic(np.arange(len(families)))
    possible = arrangements(families)
    count = len(set(families))
    if not math.isfinite(value) or possible == 1:
        return Clustered(value, math.nan, math.nan, len(families), count)
    random = np.random.default_rng(seed)
    blocks = _blocks_by_size(families)
    below = above = 1
    for _ in range(permutations):
        other = statistic(_rearranged(blocks, random))
        # Equal but for rounding is equal: the very same order may come with its sums in another order.
        below += not other > value + 1e-12
        above += not other < value - 1e-12
    p_value = min(1.0, 2 * min(below, above) / (permutations + 1))
    least = min(1.0, 2 * max(1 / possible, 1 / (permutations + 1)))
    return Clustered(value, p_value, least, len(families), count)


def rank_correlation(
    x: ArrayLike,
    y: ArrayLike,
    families: Sequence[Hashable],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Clustered:
    """Spearman's rank correlation of two properties of models, with a family-clustered permutation p.

    Models for which one of the two is not finite are left out.

    Parameters
    ----------
    x, y : array_like of shape (n,)
        Properties.
    families
        Family of each model.
    permutations, seed
        As in :func:`clustered_test`.
    """
    first, second = np.asarray(x, float), np.asarray(y, float)
    if not len(first) == len(second) == len(families):
        counts = f"{len(first)} and {len(second)} values"
        raise ValueError(f"families: expected one for each of {counts}, found {len(families)}")
    there = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    # Ranks are ranked but once: another order of the values is the same order of their ranks.
    one, other = (centred_ranks(values[there]) for values in (first, second))
    return clustered_test(
        lambda order: correlation(one[order], other) if len(there) > 2 else math.nan,
        [families[int(place)] for place in there],
        permutations=permutations,
        seed=seed,
    )


def p_in_words(test: Clustered) -> str:
    """Format a p-value, ``p = 0.012``, with its lower bound where that is large."""
    if math.isnan(test.p_value):
        return "too few families for a p"
    text = f"p = {test.p_value:.2g}"
    return f"{text} (no smaller than {test.least_p:.2g} with so few families)" if test.least_p > 0.01 else text
