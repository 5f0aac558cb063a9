"""What a target's `embed` returns, judged and copied before the next batch: real numbers, and nothing taken on trust.

This module runs inside the target's own environment and needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.circumstances import cut
from consilience.weights import Embedded, real_numbers

#: A reason is cut to so many characters, its head and tail kept.
REASON_LENGTH = 300
_LARGEST = float(np.finfo(np.float32).max)


class ContractError(RuntimeError):
    """`embed` returned something that breaks the contract of a target."""


def features_of(values: Any) -> NDArray[np.float32]:
    """Return a copy as a float32 matrix.

    Raises
    ------
    ContractError
        They are no real numbers, no matrix, or too large for float32.
    """
    array = _real(values, "features", truth_values=True)
    if array.ndim != 2:
        raise ContractError(f"features have to be (n_items, dimension), embed returned shape {array.shape}")
    if array.dtype.itemsize > 4 and array.dtype.kind == "f":
        large = np.isfinite(array) & (np.abs(array) > _LARGEST)
        if large.any():
            item, column = (int(one) for one in np.argwhere(large)[0])
            text = f"{array[item, column]:.3g} in row {item}, column {column} of the batch, is too large for float32"
            raise ContractError(f"features: {text} (largest: {_LARGEST:.1e})")
    return np.array(array, dtype=np.float32, order="C", copy=True)


def energies_of(values: Any, n: int) -> NDArray[np.float64]:
    """Return a copy as a float64 vector; NaN where there is none.

    Raises
    ------
    ContractError
        They are no real numbers, of another shape, or infinite.
    """
    if values is None:
        return np.full(n, np.nan)
    array = _real(values, "energies")
    if array.shape != (n,):
        raise ContractError(f"energies have to be ({n},), embed returned shape {array.shape}")
    with np.errstate(over="ignore"):
        energies = np.array(array, dtype=np.float64, copy=True)
    if np.isinf(energies).any():
        item = int(np.flatnonzero(np.isinf(energies))[0])
        raise ContractError(f"energies: {energies[item]} in row {item} of the batch (NaN where there is none)")
    return energies


def truncated_of(values: Any, n: int) -> NDArray[np.float32]:
    """Return a copy as a float32 vector of shares; 0 where nothing is said.

    Raises
    ------
    ContractError
        They are no real numbers, of another shape, or no shares.
    """
    if values is None:
        return np.zeros(n, np.float32)
    array = _real(values, "truncated")
    if array.shape != (n,):
        raise ContractError(f"truncated has to be ({n},) shares between 0 and 1, embed returned shape {array.shape}")
    shares = np.array(array, dtype=np.float32, copy=True)
    wrong = ~((shares >= 0) & (shares <= 1))
    if wrong.any():
        item = int(np.flatnonzero(wrong)[0])
        text = f"embed returned {array[item]} in row {item} of the batch"
        raise ContractError(f"truncated has to be ({n},) shares between 0 and 1, {text}")
    return shares


def reasons_of(values: Iterable[Any] | None, n: int) -> list[str | None]:
    """Return a copy of the reasons, each cut to one short line; None where an item was embedded.

    Raises
    ------
    ContractError
        Their number is wrong, or one is neither text nor None.
    """
    if values is None:
        return [None] * n
    if isinstance(values, str | bytes):
        raise ContractError(
            f"reasons have to be a list with one entry per item, embed returned {type(values).__name__}"
        )
    reasons = list(values)
    if len(reasons) != n:
        raise ContractError(f"embed returned {len(reasons)} reasons for {n} items")
    for row, reason in enumerate(reasons):
        if reason is None:
            continue
        if not isinstance(reason, str) or not reason.strip():
            what = "an empty text" if isinstance(reason, str) else type(reason).__name__
            raise ContractError(f"reasons: {what} in row {row} of the batch, expected text or None")
        reasons[row] = cut(str(reason), REASON_LENGTH)
    return reasons


def parts(result: Any) -> dict[str, Any]:
    """Numbers that `embed` returned by their names, without those that are None.

    Raises
    ------
    ContractError
        It is no `Embedded`.
    """
    if not isinstance(result, Embedded):
        raise ContractError(f"embed has to return consilience.Embedded, it returned {type(result).__name__}")
    named = {"features": result.features, "energies": result.energies, "truncated": result.truncated}
    return {name: values for name, values in named.items() if values is not None}


def _real(values: Any, name: str, *, truth_values: bool = False) -> NDArray[Any]:
    try:
        return real_numbers(values, name, truth_values=truth_values)
    except ValueError as error:
        raise ContractError(f"embed returned {error}") from error
