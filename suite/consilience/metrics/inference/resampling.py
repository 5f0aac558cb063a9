"""Permutations and halves of the items, drawn once and shared by every pair."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from consilience.metrics._engine.arrays import IntArray


def draw_permutations(
    n: int, permutations: int = 200, *, seed: int = 0, strata: npt.ArrayLike | None = None
) -> IntArray:
    """Draw random permutations of n items.

    Parameters
    ----------
    n : int
        Number of items.
    permutations : int
        How many.
    seed : int
        The same seed gives the same permutations.
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

    Examples
    --------
    >>> from consilience.metrics import draw_permutations
    >>> draw_permutations(4, 2, strata=["a", "b", "a", "b"]).shape
    (2, 4)
    >>> draw_permutations(3, 1, strata=["a", "b", "c"])
    array([[0, 1, 2]])
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


def draw_halves(n: int, splits: int = 50, *, seed: int = 0) -> IntArray:
    """Draw random splits of n items into two halves.

    A sample with replacement would be biased: copies of an item are each other's nearest neighbours (a CKNNA of 0.22
    becomes 0.43).

    Parameters
    ----------
    n : int
        Number of items.
    splits : int
        How many splits.
    seed : int
        The same seed gives the same splits.

    Returns
    -------
    ndarray of shape (2 * splits, n // 2)
        Row numbers, ascending. Rows 2p and 2p + 1 are the halves of split p, without a common item; of an odd
        number of items each split leaves one out. Read-only.

    Raises
    ------
    ValueError
        `splits` is below 1, or there are fewer than 4 items.

    Examples
    --------
    >>> from consilience.metrics import draw_halves
    >>> halves = draw_halves(6, 1)
    >>> halves.shape
    (2, 3)
    >>> sorted(halves.ravel().tolist())
    [0, 1, 2, 3, 4, 5]
    """
    if splits < 1:
        raise ValueError(f"splits: expected at least 1, found {splits}")
    if n < 4:
        raise ValueError(f"n: halves need at least 4 items, found {n}")
    random = np.random.default_rng(seed)
    half = n // 2
    shuffled = random.permuted(np.tile(np.arange(n, dtype=np.intp), (splits, 1)), axis=1)
    result = np.sort(shuffled[:, : 2 * half].reshape(2 * splits, half), axis=1)
    result.flags.writeable = False
    return result


def check_items(name: str, rows: IntArray, n: int, *, exactly: bool) -> None:
    """Raise :class:`ValueError` unless each of the `rows` permutes (or else is a part of) n items."""
    if rows.ndim != 2 or (rows.shape[1] != n if exactly else rows.shape[1] >= n):
        shape = f"(number, {n})" if exactly else f"(number, fewer than {n})"
        raise ValueError(f"{name}: expected shape {shape}, found {rows.shape}")


def check_halves(halves: IntArray, n: int) -> None:
    """Raise :class:`ValueError` unless rows 2p and 2p + 1 of `halves` are parts of n items without a common one."""
    check_items("halves", halves, n, exactly=False)
    if len(halves) % 2:
        raise ValueError(f"halves: expected two for each split, found {len(halves)}")
    taken = np.zeros((len(halves) // 2, n), dtype=bool)
    split = np.arange(len(taken))[:, None]
    taken[split, halves[::2]] = True
    if taken[split, halves[1::2]].any():
        raise ValueError("halves: rows 2p and 2p + 1 have items in common; see draw_halves")
