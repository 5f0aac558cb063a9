"""Permutations and subsets of the items, drawn once and shared by every pair."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arrays import IntArray


def draw_permutations(
    n: int, permutations: int = 200, *, seed: int = 0, strata: npt.ArrayLike | None = None
) -> IntArray:
    """Draw random relabellings of n items.

    Parameters
    ----------
    n : int
        Number of items.
    permutations : int
        How many.
    seed : int
        The same seed gives the same relabellings.
    strata : array_like of shape (n,), optional
        Labels (formula, scaffold); items change places only with items of the same label, and an item that
        is alone with its label stays.

    Returns
    -------
    ndarray of shape (permutations, n)
        Item i takes the row of item ``p[i]``. Read-only.

    Raises
    ------
    ValueError
        `permutations` is below 1, or `strata` is not of length n.
    """
    if permutations < 1:
        raise ValueError(f"permutations: expected at least 1, found {permutations}")
    random = np.random.default_rng(seed)
    result = np.tile(np.arange(n, dtype=np.intp), (permutations, 1))
    if strata is None:
        result = random.permuted(result, axis=1)
    else:
        labels = np.asarray(strata)
        if labels.shape != (n,):
            raise ValueError(f"strata: expected one label for each of {n} items, found shape {labels.shape}")
        _, group = np.unique(labels, return_inverse=True)
        for members in np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1]):
            if len(members) > 1:
                result[:, members] = random.permuted(result[:, members], axis=1)
    result.flags.writeable = False
    return result


def draw_subsets(n: int, subsamples: int = 100, *, fraction: float = 0.5, seed: int = 0) -> IntArray:
    """Draw random subsets of n items, without replacement.

    Never with replacement: copies of an item would be each other's nearest neighbours (CKNNA of 0.22 reads
    0.43).

    Parameters
    ----------
    n : int
        Number of items.
    subsamples : int
        How many subsets.
    fraction : float
        Share of the items in each, 0 < fraction < 1.
    seed : int
        The same seed gives the same subsets.

    Returns
    -------
    ndarray of shape (subsamples, round(fraction * n))
        Row numbers, ascending. Read-only.

    Raises
    ------
    ValueError
        `subsamples` is below 1, `fraction` is out of range, or a subset would hold fewer than 2 items.
    """
    if subsamples < 1:
        raise ValueError(f"subsamples: expected at least 1, found {subsamples}")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: expected 0 < fraction < 1, found {fraction}")
    size = round(fraction * n)
    if not 2 <= size < n:
        raise ValueError(f"fraction: {fraction} of {n} items are {size}, expected at least 2 and fewer than {n}")
    random = np.random.default_rng(seed)
    shuffled = random.permuted(np.tile(np.arange(n, dtype=np.intp), (subsamples, 1)), axis=1)
    result = np.sort(shuffled[:, :size], axis=1)
    result.flags.writeable = False
    return result


def check_items(name: str, rows: IntArray, n: int, *, exactly: bool) -> None:
    """Raise :class:`ValueError` unless each of the `rows` relabels (or else is a part of) n items."""
    if rows.ndim != 2 or (rows.shape[1] != n if exactly else rows.shape[1] >= n):
        wanted = f"(number, {n})" if exactly else f"(number, fewer than {n})"
        raise ValueError(f"{name}: expected shape {wanted}, found {rows.shape}")
