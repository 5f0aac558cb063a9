"""What a target's `embed` receives: copies of the items, and what it did to them.

A batch that fails is embedded again item by item, and a process embeds the items of a check many times. Neither may see
what an earlier call left of them. This module runs inside the target's own environment and needs numpy alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def copies(items: Sequence[Any]) -> list[Any]:
    """Return a list of copies; text is shared, since nobody can change it."""
    return [_copy(item) for item in items]


def reordered(before: Sequence[Any], after: Sequence[Any]) -> bool:
    """Whether a list holds the same objects as before at other places."""
    if sorted(map(id, before)) != sorted(map(id, after)):
        return False
    return any(one is not other and not _same(one, other) for one, other in zip(before, after, strict=True))


def difference(before: Any, after: Any) -> str | None:
    """Name what differs between an item and what became of it; None where they are equal.

    A calculator that a target attaches to `ase.Atoms` is no part of the item.
    """
    parts, others = _parts(before), _parts(after)
    for name in dict.fromkeys((*parts, *others)):
        if name not in parts or name not in others or not _same(parts[name], others[name]):
            return name
    return None


def _copy(item: Any) -> Any:
    if isinstance(item, str | bytes):
        return item
    if hasattr(item, "_make"):  # a named tuple: a chain
        return item._make(part.copy() if isinstance(part, np.ndarray) else part for part in item)
    if hasattr(item, "arrays"):  # ase.Atoms
        return item.copy()
    return copy.deepcopy(item)


def _parts(item: Any) -> Mapping[str, Any]:
    if hasattr(item, "_asdict"):
        return dict(item._asdict())
    if hasattr(item, "arrays"):
        entries = {f"info[{key!r}]": value for key, value in item.info.items()}
        cell = {"cell": item.cell.array, "pbc": item.pbc, "constraints": repr(item.constraints)}
        return {**item.arrays, **cell, **entries}
    return {"content": item}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    try:
        return type(one) is type(other) and bool(one == other or (one != one and other != other))
    except Exception:  # whatever a target put there
        return False
