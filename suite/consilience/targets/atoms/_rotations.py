"""Averages over rotations, for models that learn rotational symmetry instead of having it built in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.weights import Embedded, as_energies, as_features

if TYPE_CHECKING:
    from collections.abc import Callable


def mean_over_rotations(embed: Callable[[list[Any]], Embedded], group: str = "O") -> Callable[[list[Any]], Embedded]:
    """Embed every item in each orientation of a rotation group; average the features and the energies.

    The mean over a finite group is exact for the parts of a feature that vary slowly with the orientation: over
    the 24 rotations of the cube every part of angular momentum 1 to 3 cancels, over the 60 of the icosahedron
    those of 1 to 5. What varies faster remains, so that the mean is nearly, not exactly, invariant.

    Parameters
    ----------
    embed
        What a target's `load` returns, for items with positions and a cell (`ase.Atoms`).
    group
        Name of the rotation group as `scipy.spatial.transform.Rotation.create_group` knows it: ``"T"`` (12
        rotations), ``"O"`` (24), ``"I"`` (60).

    Returns
    -------
    callable
        An `embed` of the same width; an item that fails in one orientation fails as a whole.
    """
    from scipy.spatial.transform import Rotation

    matrices = Rotation.create_group(group).as_matrix()

    def averaged(items: list[Any]) -> Embedded:
        features: Any = 0.0
        energies = np.zeros(len(items))
        reasons: list[str | None] = [None] * len(items)
        for matrix in matrices:
            result = embed([_rotated(atoms, matrix) for atoms in items])
            features = features + as_features(result.features).astype(np.float64)  # failed rows are NaN and stay so
            energies = energies + (np.nan if result.energies is None else as_energies(result.energies))
            for index, reason in enumerate(result.reasons or ()):
                reasons[index] = reasons[index] or reason
        return Embedded(features / len(matrices), energies / len(matrices), reasons)

    averaged.save = getattr(embed, "save", None)  # type: ignore[attr-defined]
    return averaged


def _rotated(atoms: Any, matrix: Any) -> Any:
    """Copy of a structure, its cell included, turned by a rotation matrix."""
    rotated = atoms.copy()
    rotated.positions = atoms.positions @ matrix.T
    rotated.set_cell(np.asarray(atoms.cell) @ matrix.T)
    return rotated
