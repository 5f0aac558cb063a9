# /// script
# requires-python = ">=3.11"
# dependencies = ["rdkit==2026.9.1"]
# ///
"""MACCS: 166 yes-or-no questions about a molecule's structure (Durant et al. 2002, doi:10.1021/ci010132r)."""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch

KEYS = 167


@target(
    Card(
        name="maccs",
        family="maccs",
        modality="baseline",
        view="smiles",
        title="MACCS keys",
        revision="2026.9.1",
        parameters=0,
        dimension=KEYS,
        layer="RDKit's 166 keys; column 0 is empty, so that columns and keys have the same numbers",
        pooling="whether a structural key occurs anywhere in the molecule",
        trained_on=(),
        licence_code="BSD-3-Clause",
        reference="10.1021/ci010132r",
        source="rdkit==2026.9.1",
        distinct=False,
        resources=Resources(batch_size=256, memory_gib=1),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Ask RDKit for the keys."""
    from rdkit import Chem
    from rdkit.Chem import rdMolDescriptors

    def prepare(smiles: str) -> list[int]:
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise ValueError("RDKit reads no molecule from the SMILES")
        return list(rdMolDescriptors.GetMACCSKeysFingerprint(molecule))

    def forward(rows: list[list[int]]) -> tuple[Any, None]:
        return np.array(rows, dtype=np.float32), None

    return embed_by_batch(prepare, forward, KEYS)
