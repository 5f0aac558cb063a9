# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0", "dscribe==2.1.2"]
# ///
"""SOAP: power spectra of smoothed neighbour densities (Bartók et al. 2013, doi:10.1103/PhysRevB.87.184115).

The full spectrum of 96 elements has a million columns. Two of dscribe's own compressions (Darby et al. 2022,
doi:10.1038/s41524-022-00847-y) stand side by side instead: a coarse one that tells every element apart, and
a fine one that sees the geometry and is blind to elements. Molecules and crystals share all columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

if TYPE_CHECKING:
    from ase import Atoms

CUTOFF = 5.0  # angstrom
WIDTH = 0.5  # of the Gaussian on each neighbour, angstrom
#: H to Cm; the list fixes the columns.
HEAVIEST = 96
#: 96 x 3 x 3 x 1 columns: each element's radial density against that of all elements together.
BY_ELEMENT = {"n_max": 3, "l_max": 0, "compression": {"mode": "mu1nu1", "species_weighting": None}}
#: 6 (6 + 1) / 2 x 6 columns: radial and angular, all elements as one.
GEOMETRY = {"n_max": 6, "l_max": 5, "compression": {"mode": "mu2", "species_weighting": None}}


@target(
    Card(
        name="soap",
        family="soap",
        modality="baseline",
        view="atoms",
        title="SOAP (mu1nu1 + mu2)",
        revision="2.1.2",
        parameters=0,
        dimension=990,
        layer="power spectrum: 864 columns by element (n=3, l=0), 126 columns of geometry (n=6, l=5)",
        pooling="mean over atoms",
        trained_on=(),
        licence_code="Apache-2.0",
        reference="10.1103/PhysRevB.87.184115",
        source="dscribe==2.1.2",
        distinct=False,  # mirror images share a row
        resources=Resources(batch_size=64, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[Atoms]], Embedded]:
    """Set up one descriptor for molecules and one, with periodic images, for crystals."""
    from dscribe.descriptors import SOAP

    # "outer" averages the atoms' finished spectra: the mean over atoms; "inner" would average densities.
    shared = {"r_cut": CUTOFF, "sigma": WIDTH, "species": range(1, HEAVIEST + 1), "average": "outer"}
    descriptors: dict[bool, list[Any]] = {
        periodic: [SOAP(periodic=periodic, **shared, **part) for part in (BY_ELEMENT, GEOMETRY)]
        for periodic in (False, True)
    }

    def embed(items: list[Atoms]) -> Embedded:
        features = np.full((len(items), card.dimension or 0), np.nan, dtype=np.float32)
        reasons: list[str | None] = [None] * len(items)
        for i, atoms in enumerate(items):
            if atoms.numbers.max(initial=0) > HEAVIEST:
                reasons[i] = f"an element beyond Z = {HEAVIEST}"
                continue
            inside = atoms.copy()
            inside.wrap()  # dscribe misses neighbours of periodic atoms that lie outside the cell
            try:
                parts = [soap.create(inside) for soap in descriptors[bool(atoms.pbc.any())]]
            except (ValueError, RuntimeError) as error:  # no atoms, no cell, overlapping cells
                reasons[i] = str(error)
            else:
                features[i] = np.concatenate(parts)
        return Embedded(features, None, reasons)

    return embed
