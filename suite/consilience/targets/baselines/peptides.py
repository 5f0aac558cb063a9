# /// script
# requires-python = ">=3.11"
# dependencies = ["mini3di==0.2.1", "numpy==2.4.6", "peptides==0.5.0"]
# ///
"""Peptides: published scales of amino acids, averaged over a chain (peptides.py, a port of the R package Peptides)."""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch

DESCRIPTORS = 102


@target(
    Card(
        name="peptides",
        family="peptides",
        modality="baseline",
        view="sequence",
        title="Peptides (scales of amino acids)",
        revision="0.5.0",
        parameters=0,
        dimension=DESCRIPTORS,
        layer="BLOSUM indices, Cruciani properties, Kidera factors, z-scales and others",
        pooling="mean over residues",
        trained_on=(),
        licence_code="GPL-3.0-only",  # the licence its metadata quote in full; their classifier says MIT
        reference="none",
        source="peptides==0.5.0",
        distinct=False,
        remark="A linear function of the fractions of the amino acids. Unknown residues count as zero.",
        resources=Resources(batch_size=256, memory_gib=1),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Average every scale that the package has."""
    from peptides import Peptide

    def prepare(sequence: str) -> Any:
        if not sequence:
            raise ValueError("no residues")
        return np.array(list(Peptide(sequence).descriptors().values()))

    def forward(rows: list[Any]) -> tuple[Any, None]:
        return np.stack(rows), None

    return embed_by_batch(prepare, forward, DESCRIPTORS)
