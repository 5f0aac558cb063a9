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

from consilience.metrics.preparation import Preparation, examine
from consilience.records.spec import MEASUREMENT_1
from consilience.registry import UnknownNameError, load_plugins, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.metrics.preparation import Scheme


#: Rows so many times longer than the mean are dominant. Chosen on board v1's data: factors from 25 to 100 give the same
#: scores within 0.01, and no pair without such rows moves.
DOMINANCE = 50.0
#: An embedding with less of its variance left is linear in composition: what would be scored is the error of the fit.
#: Two random element embeddings leave 1e-30, SevenNet-0's untrained twin 4e-4.
LEAST_LEFT = 1e-6


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
    """Raised when the prepared rows of the same embedding change. Boards name the version that they measure."""
    dominance: float | None = None
    """Rows longer than so many times the mean decide no scale (:func:`consilience.metrics.prepare`)."""
    least_left: float = 0.0
    """Share of variance beyond the controls below which an embedding is linear in them, and has no score."""


E = TypeVar("E")
_presets: dict[tuple[str, int], Preset] = {}
_controls: dict[str, Controls] = {}


def register_preset(preset: Preset) -> Preset:
    """Offer a preset under its name and version.

    Raises
    ------
    ValueError
        Another preset has the name and the version.
    """
    if _presets.setdefault((preset.name, preset.version), preset) != preset:
        raise ValueError(f"preset {preset.name!r} is registered twice in version {preset.version}")
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
register_preset(Preset("standardized", "standardized", "standardized", version=2, dominance=DOMINANCE))
register_preset(
    Preset(
        "beyond_composition",
        "beyond linear composition",
        "standardized",
        controls="composition",
        version=2,
        dominance=DOMINANCE,
        least_left=LEAST_LEFT,
    )
)

#: The suite's own presets, as specs of schema 1 measure them.
PRESETS: tuple[str, ...] = tuple(choice.name for choice in MEASUREMENT_1.presets)
#: The preset that such boards rank by.
RANKED: str = MEASUREMENT_1.ranked
#: Their titles.
PRESET_TITLES: dict[str, str] = {one.name: _presets[one.name, one.version].title for one in MEASUREMENT_1.presets}


def get_preset(name: str, version: int | None = None) -> Preset:
    """Look a preset up, by default in its newest version.

    Raises
    ------
    UnknownNameError
        No preset has this name (the message suggests near ones), or it does not have this version.
    """
    if not any(name == one for one, _ in _presets):
        load_plugins()
    versions = {one: [v for n, v in sorted(_presets) if n == one] for one, _ in _presets}
    of_name = _look_up("preset", name, versions)
    if version is not None and version not in of_name:
        raise UnknownNameError(f"preset {name} in version {version}, this suite has {' and '.join(map(str, of_name))}")
    return _presets[name, of_name[-1] if version is None else version]


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


def examine_in(preset: Preset, features: NDArray[np.float32], items: Items) -> Preparation:
    """Prepare an embedding of items as a preset asks for; also what was seen on the way."""
    matrix = None if preset.controls is None else get_controls(preset.controls).matrix(items)
    return examine(
        features, scheme=preset.scheme, controls=matrix, dominance=preset.dominance, least_left=preset.least_left
    )


def prepare_in(preset: Preset, features: NDArray[np.float32], items: Items) -> NDArray[np.float64]:
    """Prepare an embedding of items as a preset asks for."""
    rows: NDArray[np.float64] = examine_in(preset, features, items).rows
    return rows


def controls_sha256(name: str, items: Items) -> str:
    """SHA-256 of the control matrix of these items; it changes if the definition of the controls does."""
    matrix = np.ascontiguousarray(get_controls(name).matrix(items), dtype=np.float64)
    return hashlib.sha256(repr(matrix.shape).encode() + matrix.tobytes()).hexdigest()
