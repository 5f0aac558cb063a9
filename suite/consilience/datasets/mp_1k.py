"""1,000 crystals of the Materials Project, of up to 25 atoms in the cell, with formation energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilience.cards import DatasetCard, Label
from consilience.registry import dataset

from ._embedded import load_embedded

if TYPE_CHECKING:
    from datasets import Dataset

CARD = DatasetCard(
    name="mp-1k",
    title="1,000 inorganic crystals of the Materials Project (83 elements, up to 25 atoms per cell)",
    matter="crystal",
    views=("id", "atoms"),
    items=1000,
    revision="aba2375163255db10113005ab57d5e746e0900521ec957b8da5d242ef3ef7bbe",
    energy=Label(
        name="energy",
        unit="eV",
        description="formation energy of the whole cell; the column energy_per_atom holds it in eV/atom",
        level_of_theory=("PBE GGA and GGA+U of the Materials Project as of 2015 (vintage inferred from the file name)"),
    ),
    strata=("formula", "n_atoms", "prototype"),
    lineage=("materials-project", "mptrj", "matpes-pbe", "matpes-r2scan"),
    licence="CC-BY-4.0",
    citation=(
        "A. Jain, S. P. Ong, G. Hautier, W. Chen, W. D. Richards, S. Dacek, S. Cholia, D. Gunter, "
        "D. Skinner, G. Ceder, K. A. Persson: The Materials Project. APL Materials 1, 011002 (2013), "
        "doi:10.1063/1.4812323; collected by F. Faber, A. Lindmaa, O. A. von Lilienfeld, R. Armiento: "
        "Crystal structure representations for machine learning models of formation energies. Int. J. "
        "Quantum Chem. 115, 1094-1101 (2015), doi:10.1002/qua.24917"
    ),
    source=(
        "PyPI matminer==0.4.1 sdist, sha256 26d7e6c023e19bbd7ba5e87b9d4d299c92a523197a8490541fe524d5c5f39459 "
        "(package: modified BSD; data: terms of the Materials Project), "
        "matminer/datasets/flla_2015.csv: 3,938 relaxed crystals"
    ),
    recipe="uv run --script scripts/datasets/mp.py",
    selection="uniform over all 3,938: the 1,000 ids whose SHA-256 behind 'mp-1k/0/' comes first",
)


@dataset(CARD)
def load() -> Dataset:
    """Return the table: one row per crystal, ordered by id; lengths in Angstrom, energies in eV."""
    return load_embedded(CARD)
