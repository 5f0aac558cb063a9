"""A cell for molecules, for model codes that know only periodic structures."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Edge of the cubic cell, angstrom; larger only for a molecule that would not leave the vacuum asked for.
EDGE = 30.0


def in_box(atoms: Any, vacuum: float = 12.0) -> Any:
    """Put a non-periodic molecule into the middle of a cubic cell; return a crystal as it is.

    The edge depends on nothing but the molecule's extent, measured from its centroid, so that it does not
    change with rotation, translation or atom order. Where `vacuum` exceeds a model's cutoff, no atom sees an
    image of another and the edge has no influence at all.

    Parameters
    ----------
    atoms
        An `ase.Atoms`, periodic in all directions or in none.
    vacuum
        Least distance between the molecule and its images, angstrom.

    Raises
    ------
    ValueError
        The structure is periodic in one or two directions only, or periodic without a cell.
    """
    if np.all(atoms.pbc):
        if atoms.cell.rank < 3:
            raise ValueError("periodic in three directions, but the cell does not span space")
        return atoms
    if np.any(atoms.pbc):
        raise ValueError("periodic in some directions only")
    boxed = atoms.copy()
    centred = boxed.positions - boxed.positions.mean(axis=0)
    edge = max(EDGE, 2 * float(np.linalg.norm(centred, axis=1).max()) + vacuum)
    boxed.cell = [edge, edge, edge]
    boxed.positions = centred + edge / 2
    boxed.pbc = True
    return boxed
