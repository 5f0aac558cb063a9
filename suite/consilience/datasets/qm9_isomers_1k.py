"""1,000 isomers C7H10O2 of QM9: with composition and size constant, only structure is left to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilience.cards import DatasetCard
from consilience.registry import dataset

from ._embedded import load_embedded
from .qm9_1k import CITATION, ENERGY, SOURCE

if TYPE_CHECKING:
    from datasets import Dataset

CARD = DatasetCard(
    name="qm9-isomers-1k",
    title="1,000 of the 6,094 isomers C7H10O2 in QM9: composition is constant",
    matter="molecule",
    views=("id", "smiles", "atoms"),
    items=1000,
    revision="7141a1dcea15ef2339823b5746cdb449f81837a66ce6a76e7d42dba8b6d1e4fe",
    energy=ENERGY,
    strata=("formula", "n_atoms", "scaffold"),
    lineage=("qm9", "gdb-17"),
    licence="MIT",
    citation=CITATION,
    source=SOURCE,
    recipe="uv run --script scripts/datasets/qm9.py",
    selection=(
        "uniform over the 6,094 molecules of formula C7H10O2: the 1,000 ids whose SHA-256 behind "
        "'qm9-isomers-1k/0/' comes first; no two share a canonical SMILES (the source states no "
        "stereochemistry); 4 of them are in qm9-1k too"
    ),
)


@dataset(CARD)
def load() -> Dataset:
    """Return the table: one row per molecule, ordered by id; positions in Angstrom, energies in eV."""
    return load_embedded(CARD)
