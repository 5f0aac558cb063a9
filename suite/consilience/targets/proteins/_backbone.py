"""What targets of protein backbones share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience import Backbone


def observed(chain: Backbone) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Residues of a chain whose N, CA, C and O are all known.

    Returns
    -------
    coordinates, places
        (n, 4, 3) positions, Angstrom, and the (n,) places of these residues in the chain: a gap is visible.

    Raises
    ------
    ValueError
        There is no such residue.
    """
    places = np.flatnonzero(np.isfinite(chain.coordinates).all(axis=(1, 2)))
    if not len(places):
        raise ValueError("no residue with N, CA, C and O")
    return chain.coordinates[places], places
