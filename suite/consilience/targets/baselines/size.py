# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0"]
# ///
"""Size: the number of atoms n, as n, n^2 and 1/n; what is left when even the formula is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

if TYPE_CHECKING:
    from ase import Atoms


@target(
    Card(
        name="size",
        family="size",
        modality="baseline",
        view="atoms",
        title="Number of atoms",
        revision="1",
        parameters=0,
        dimension=3,
        layer="n, n^2, 1/n",
        pooling="count of the atoms given",
        trained_on=(),
        licence_code="MIT",
        reference="none",
        source="this file",
        distinct=False,
        supercell_deviation=3.0,  # the size doubles, its square grows fourfold
        resources=Resources(batch_size=1024, memory_gib=1),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[Atoms]], Embedded]:
    """Count atoms; the count of a crystal is that of the cell it comes in."""

    def embed(items: list[Atoms]) -> Embedded:
        n = np.array([len(atoms) for atoms in items], dtype=np.float64)
        return Embedded(np.stack([n, n**2, 1 / n], axis=1).astype(np.float32))

    return embed
