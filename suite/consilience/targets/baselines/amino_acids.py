# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Amino acids: how many of each, and in which proportion; what the composition of a protein alone knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


@target(
    Card(
        name="amino-acids",
        family="amino-acids",
        modality="baseline",
        view="sequence",
        title="Amino acid counts and fractions",
        revision="1",
        parameters=0,
        dimension=2 * len(RESIDUES),
        layer="counts of the 20 amino acids, then their fractions",
        pooling="counts: sum over residues; fractions: mean",
        trained_on=(),
        licence_code="MIT",
        reference="none",
        source="this file",
        distinct=False,
        resources=Resources(batch_size=1024, memory_gib=1),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Count amino acids; other letters have no column, but count in a chain's length."""

    def prepare(sequence: str) -> Any:
        if not sequence:
            raise ValueError("no residues")
        counts = np.array([sequence.count(residue) for residue in RESIDUES])
        return np.concatenate([counts, counts / len(sequence)])

    def forward(rows: list[Any]) -> tuple[Any, None]:
        return np.stack(rows), None

    return embed_by_batch(prepare, forward, 2 * len(RESIDUES))
