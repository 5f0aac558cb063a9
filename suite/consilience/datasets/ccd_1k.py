"""1,000 chemical components of the Protein Data Bank: ligands, cofactors, residues, a tenth of them with metals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilience.cards import DatasetCard
from consilience.registry import dataset

from ._embedded import load_embedded

if TYPE_CHECKING:
    from datasets import Dataset

CARD = DatasetCard(
    name="ccd-1k",
    title="1,000 chemical components of the Protein Data Bank (37 elements, up to 100 atoms; 100 with metals)",
    matter="molecule",
    views=("id", "smiles", "atoms"),
    items=1000,
    revision="af911714af51a332db5eed62ba1b825b6a88c30017d80e3d9967af1e6afdc488",
    strata=("formula", "n_atoms", "scaffold"),
    lineage=("PDB", "CCD"),
    licence="CC0-1.0",
    citation=(
        "J. D. Westbrook, C. Shao, Z. Feng, M. Zhuravleva, S. Velankar, J. Young: The chemical component dictionary: "
        "complete descriptions of constituent molecules in experimentally determined 3D macromolecules in the Protein "
        "Data Bank. Bioinformatics 31, 1274-1278 (2015), doi:10.1093/bioinformatics/btu789"
    ),
    source=(
        "PyPI biotite==1.6.0, biotite/structure/info/components.bcif, sha256 "
        "dffdb3a19600d51854058daecfbc9bd1b94aab413a04e7afed8d4b7670621d47 (package: BSD-3-Clause, copyright 2017 The "
        "Biotite contributors; data: wwPDB, CC0 1.0, which the package does not state): "
        "49,195 components with atoms"
    ),
    recipe="uv run --script scripts/datasets/ccd.py",
    selection=(
        "uniform within two strata, 900 of 45,897 without and 100 of 728 with metals (a uniform draw of 1,000 has "
        "11): in the order of the SHA-256 of the id behind 'ccd-1k/0/', the first that RDKit 2026.9.1 can write a "
        "SMILES for, no two with the same. Of the 49,195 we left out 757 not released, 9 with deuterium or an unknown "
        "element, 1,752 of 1 or more than 100 atoms, 42 without complete coordinates and 10 with two atoms closer "
        "than 0.5 Angstrom. While drawing we passed over 14 without a SMILES, 13 of them with metals; of all 728 with "
        "metals 632 have one. Positions are the dictionary's ideal ones, which are computed, or for 44 the model's, "
        "from experiment; the SMILES states the stereochemistry of these positions, not that of metals. Charge is the "
        "sum of formal charges; spin 1 or 2, the lowest that the number of electrons allows, is nominal"
    ),
)


@dataset(CARD)
def load() -> Dataset:
    """Return the table: one row per component, ordered by id; positions in Angstrom."""
    return load_embedded(CARD)
