"""Presets: how embeddings are prepared before they are scored, and what is controlled for.

A preset is a scheme of :func:`consilience.metrics.prepare` with a set of controls; a set of controls is a function of
items. Both have a name and a version. The registry here offers them; a board's spec names those that it measures
(:mod:`.protocol`), so that one more preset changes no published board. A plug-in package registers its own with
:func:`register_preset` and :func:`register_controls` in a module of the entry-point group ``consilience``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from consilience.metrics import prepare
from consilience.records.spec import MEASUREMENT_1
from consilience.registry import UnknownNameError, load_plugins, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.metrics.preparation import Scheme


@dataclass(frozen=True)
class Controls:
    """A set of controls: properties of the items whose linear part is removed before scoring."""

    name: str
    """Unique name."""
    version: int
    """Raised when the matrix for the same items changes."""
    matrix: Callable[[Items], NDArray[np.float64]]
    """Returns (n, c) numbers for n items."""


@dataclass(frozen=True)
class Preset:
    """A preparation of embeddings."""

    name: str
    """Unique name, a key of records."""
    title: str
    """Name as people read it."""
    scheme: Scheme
    """Scheme of :func:`consilience.metrics.prepare`."""
    controls: str | None = None
    """Name of the controls that are removed."""
    version: int = 1
    """Raised when the prepared rows of the same embedding change."""


E = TypeVar("E")
_presets: dict[str, Preset] = {}
_controls: dict[str, Controls] = {}


def register_preset(preset: Preset) -> Preset:
    """Offer a preset under its name.

    Raises
    ------
    ValueError
        Another preset has the name.
    """
    if _presets.setdefault(preset.name, preset) != preset:
        raise ValueError(f"preset {preset.name!r} is registered twice")
    return preset


def register_controls(controls: Controls) -> Controls:
    """Offer a set of controls under its name.

    Raises
    ------
    ValueError
        Another set of controls has the name.
    """
    if _controls.setdefault(controls.name, controls).matrix is not controls.matrix:
        raise ValueError(f"controls {controls.name!r} are registered twice")
    return controls


register_controls(Controls("composition", 1, lambda items: items.controls()))
register_preset(Preset("paper", "paper (rows L2)", "unit"))
register_preset(Preset("standardized", "standardized", "standardized"))
register_preset(Preset("beyond_composition", "beyond composition", "standardized", controls="composition"))

#: The suite's own presets, as specs of schema 1 measure them.
PRESETS: tuple[str, ...] = tuple(choice.name for choice in MEASUREMENT_1.presets)
#: The preset that such boards rank by.
RANKED: str = MEASUREMENT_1.ranked
#: Their titles.
PRESET_TITLES: dict[str, str] = {name: _presets[name].title for name in PRESETS}


def get_preset(name: str) -> Preset:
    """Look a preset up; raises `UnknownNameError` with near names."""
    return _look_up("preset", name, _presets)


def get_controls(name: str) -> Controls:
    """Look a set of controls up; raises `UnknownNameError` with near names."""
    return _look_up("set of controls", name, _controls)


def _look_up(kind: str, name: str, table: dict[str, E]) -> E:
    if name not in table:
        load_plugins()
    if name in table:
        return table[name]
    near = near_names(name, table)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(table)}"
    raise UnknownNameError(f"no {kind} is named {name!r}; {hint}")


def prepare_in(preset: str, features: NDArray[np.float32], items: Items) -> NDArray[np.float64]:
    """Prepare an embedding of items as a preset asks for."""
    chosen = get_preset(preset)
    matrix = None if chosen.controls is None else get_controls(chosen.controls).matrix(items)
    return prepare(features, scheme=chosen.scheme, controls=matrix)


def controls_sha256(name: str, items: Items) -> str:
    """SHA-256 of the control matrix of these items; it changes if the definition of the controls does."""
    matrix = np.ascontiguousarray(get_controls(name).matrix(items), dtype=np.float64)
    return hashlib.sha256(repr(matrix.shape).encode() + matrix.tobytes()).hexdigest()
