# /// script
# requires-python = ">=3.11"
# dependencies = ["rdkit==2026.9.1"]
# ///
"""Morgan: counts of circular fragments, ECFP4 (Rogers and Hahn 2010, doi:10.1021/ci100050t)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

BITS = 2048


@target(
    Card(
        name="morgan",
        family="morgan",
        modality="baseline",
        view="smiles",
        title="Morgan fragment counts (ECFP4)",
        revision="2026.9.1",
        parameters=0,
        dimension=BITS,
        layer=f"fragments of radius 0, 1 and 2, hashed into {BITS} columns; no chirality",
        pooling="count over atoms",
        trained_on=(),
        licence_code="BSD-3-Clause",
        reference="10.1021/ci100050t",
        source="rdkit==2026.9.1",
        distinct=False,
        resources=Resources(batch_size=256, memory_gib=1),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[str]], Embedded]:
    """Hash the fragments around every heavy atom."""
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS)

    def embed(items: list[str]) -> Embedded:
        features = np.full((len(items), BITS), np.nan, dtype=np.float32)
        reasons: list[str | None] = [None] * len(items)
        for i, smiles in enumerate(items):
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is None or molecule.GetNumAtoms() == 0:
                reasons[i] = "RDKit reads no molecule from the SMILES"
            else:
                features[i] = generator.GetCountFingerprintAsNumPy(molecule)
        return Embedded(features, None, reasons)

    return embed
