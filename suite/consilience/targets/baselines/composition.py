# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0"]
# ///
"""Composition: how many atoms of each element, and in which proportion; what the formula alone knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

if TYPE_CHECKING:
    from ase import Atoms

ELEMENTS = 118


@target(
    Card(
        name="composition",
        family="composition",
        modality="baseline",
        view="atoms",
        title="Element counts and fractions",
        revision="1",
        parameters=0,
        dimension=2 * ELEMENTS,
        layer="counts of Z = 1..118, then fractions of Z = 1..118",
        pooling="counts: sum over the atoms given; fractions: mean",
        trained_on=(),
        licence_code="MIT",
        reference="none",
        source="this file",
        distinct=False,
        supercell_deviation=1.0,  # counts are extensive
        resources=Resources(batch_size=1024, memory_gib=1),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[Atoms]], Embedded]:
    """Count elements; the counts of a crystal are those of the cell it comes in, its fractions are not."""

    def embed(items: list[Atoms]) -> Embedded:
        counts = np.stack([np.bincount(atoms.numbers, minlength=ELEMENTS + 1)[1:] for atoms in items])
        return Embedded(np.hstack([counts, counts / counts.sum(1, keepdims=True)]).astype(np.float32))

    return embed
