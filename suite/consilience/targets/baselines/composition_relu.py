# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0"]
# ///
"""Random ReLU features of composition: what a network that never saw a structure or a label makes of the formula.

A control beside `composition`, whose linear part a board can remove: these features are not linear in the formula.
Nothing is trained. Three cards are three draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

if TYPE_CHECKING:
    from ase import Atoms

ELEMENTS, COLUMNS = 118, 256
#: Deviation of the thresholds: about that of the sums, so that each feature is zero for about half of the formulas.
THRESHOLD = 0.5


def _card(number: int) -> Card:
    return Card(
        name=f"composition-relu-{number}",
        family="composition",
        modality="baseline",
        view="atoms",
        title=f"Random ReLU features of the element fractions, draw {number}",
        revision="1",
        parameters=0,
        dimension=COLUMNS,
        layer="max(0, fractions of Z = 1..118 times a standard normal matrix + normal thresholds)",
        pooling="none: fractions are of the whole item",
        trained_on=(),
        licence_code="MIT",
        reference="none",
        source="this file",
        distinct=False,
        resources=Resources(batch_size=1024, memory_gib=1),
    )


@target(*(_card(number) for number in (1, 2, 3)))
def load(card: Card, weights: Weights, device: str) -> Callable[[list[Atoms]], Embedded]:
    """Draw the matrix from a generator seeded by the card's number."""
    rng = np.random.default_rng(int(card.name.rpartition("-")[2]))
    matrix = rng.standard_normal((ELEMENTS, COLUMNS))
    thresholds = THRESHOLD * rng.standard_normal(COLUMNS)

    def embed(items: list[Atoms]) -> Embedded:
        counts = np.stack([np.bincount(atoms.numbers, minlength=ELEMENTS + 1)[1:] for atoms in items])
        fractions = counts / counts.sum(axis=1, keepdims=True)
        return Embedded(np.maximum(fractions @ matrix + thresholds, 0).astype(np.float32))

    return embed
