# /// script
# requires-python = ">=3.11"
# dependencies = ["rdkit==2026.9.1"]
# ///
"""RDKit's 217 descriptors of a molecule without coordinates: sizes, counts, charges, surface areas, graph indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch

DESCRIPTORS = 217


@target(
    Card(
        name="rdkit2d",
        family="rdkit2d",
        modality="baseline",
        view="smiles",
        title="RDKit 2D descriptors",
        revision="2026.9.1",
        parameters=0,
        dimension=DESCRIPTORS,
        layer="all descriptors of rdkit.Chem.Descriptors; the information content Ipc as log(1 + Ipc)",
        pooling="per molecule",
        trained_on=(),
        licence_code="BSD-3-Clause",
        reference="10.5281/zenodo.591637",
        source="rdkit==2026.9.1",
        distinct=False,  # the descriptors tell few stereoisomers apart
        remark="Ipc grows exponentially with a molecule's size, hence its logarithm; the other columns are as RDKit's.",
        resources=Resources(batch_size=64, memory_gib=1),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Ask RDKit for the descriptors."""
    from rdkit import Chem
    from rdkit.Chem import Descriptors

    describe: Any = Descriptors.CalcMolDescriptors

    def prepare(smiles: str) -> list[float]:
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise ValueError("RDKit reads no molecule from the SMILES")
        found = {name: float(value) for name, value in describe(molecule, silent=True).items()}
        found["Ipc"] = float(np.log1p(found["Ipc"]))
        undefined = [name for name, value in found.items() if not np.isfinite(value)]
        if undefined:
            raise ValueError(f"descriptors without a value: {' '.join(undefined)}")
        return list(found.values())

    def forward(rows: list[list[float]]) -> tuple[Any, None]:
        return np.array(rows, dtype=np.float32), None

    return embed_by_batch(prepare, forward, DESCRIPTORS)
