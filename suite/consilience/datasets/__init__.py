"""Data sets: versioned lists of items, each with several views of the same matter.

One file per data set, holding its card and its `load`; the rest of the suite reads them through
:func:`open_dataset`. Names load on first use: inside a target's environment only :mod:`.layout` is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .items import Items, open_dataset

__all__ = ["Items", "open_dataset"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import items

        return getattr(items, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
