"""Consilience: alignment of independently trained models of matter.

Importing this package costs numpy and nothing heavier; everything else loads on first use. A target file
needs only the names listed first.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, metrics, testing
    from .building.draft import Draft
    from .building.sources import Sources
    from .cards import Card, DatasetCard, Resources
    from .datasets.layout import Backbone
    from .registry import dataset, get_dataset, get_target, list_datasets, list_targets, recipe, target
    from .session.session import run
    from .weights import Embedded, Weights

from ._moved import install

__version__ = "0.1.0"

install()

_HOME = {
    "Card": "cards",
    "Backbone": "datasets.layout",
    "Embedded": "weights",
    "Weights": "weights",
    "target": "registry",
    "DatasetCard": "cards",
    "Resources": "cards",
    "dataset": "registry",
    "get_dataset": "registry",
    "get_target": "registry",
    "list_datasets": "registry",
    "list_targets": "registry",
    "recipe": "registry",
    "run": "session.session",
    "Draft": "building.draft",
    "Sources": "building.sources",
}
_MODULES = ("datasets", "metrics", "testing")

__all__ = [
    "Backbone",
    "Card",
    "DatasetCard",
    "Draft",
    "Embedded",
    "Resources",
    "Sources",
    "Weights",
    "__version__",
    "dataset",
    "datasets",
    "get_dataset",
    "get_target",
    "list_datasets",
    "list_targets",
    "metrics",
    "recipe",
    "run",
    "target",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
