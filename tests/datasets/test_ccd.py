"""What the embedded data set of the Protein Data Bank's chemical components holds."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import numpy as np
import pytest
from ase.formula import Formula
from rdkit import Chem
from scipy.spatial.distance import pdist

from consilience.datasets import Items, open_dataset
from consilience.datasets.tables import DATA, table_of
from consilience.registry import get_dataset

NAME = "ccd-1k"
SYMBOLS = "H He B C N O F Ne Si P S Cl Ar As Se Br Kr Te I Xe At Rn"
NONMETALS = set(SYMBOLS.split())


@pytest.fixture(scope="module")
def components() -> Items:
    return open_dataset(NAME)


def test_thousand_unique_components_ordered_by_id(components: Items) -> None:
    assert len(components) == components.card.items == 1000
    assert components.ids == sorted(set(components.ids))
    assert all(re.fullmatch(r"[0-9A-Z]{1,3}|[0-9A-Z]{5}", one) for one in components.ids)


def test_revision_is_the_hash_of_the_file(components: Items) -> None:
    assert components.revision == hashlib.sha256((DATA / f"{NAME}.parquet").read_bytes()).hexdigest()


def test_schema() -> None:
    import datasets

    value, triple = datasets.Value, datasets.List(datasets.Value("float64"), length=3)
    assert dict(table_of(get_dataset(NAME)).features) == {
        "id": value("string"),
        "smiles": value("string"),
        "numbers": datasets.List(value("uint8")),
        "positions": datasets.List(triple),
        "cell": datasets.List(triple, length=3),
        "pbc": datasets.List(value("bool"), length=3),
        "charge": value("int8"),
        "spin": value("uint8"),
        "formula": value("string"),
        "n_atoms": value("uint8"),
        "scaffold": value("string"),
    }


def test_card_declares_what_is_there(components: Items) -> None:
    for view in components.card.views:
        assert len(components.view(view)) == 1000
    for column in components.card.strata:
        assert components.strata(column).shape == (1000,)
    assert components.energy is None


def test_formula_and_size_match_the_atoms(components: Items) -> None:
    atoms = components.view("atoms")
    for text, one in zip(components.column("formula"), atoms, strict=True):
        assert Formula(text).count() == one.symbols.formula.count()
    assert components.column("n_atoms").tolist() == [len(one) for one in atoms]
    assert 2 <= min(len(one) for one in atoms) < 10
    assert 90 < max(len(one) for one in atoms) <= 100


def test_a_tenth_has_metals(components: Items) -> None:
    assert sum(not one <= NONMETALS for one in components.elements) == 100
    assert not any({"X", "D"} & one for one in components.elements)


def test_atoms_keep_apart_and_are_not_periodic(components: Items) -> None:
    for one_id, atoms in zip(components.ids, components.view("atoms"), strict=True):
        assert pdist(atoms.positions).min() >= 0.5, one_id
        assert not atoms.pbc.any()
        assert not atoms.cell.array.any()


def test_charge_and_spin_fit_the_electrons(components: Items) -> None:
    for text, atoms in zip(components.view("smiles"), components.view("atoms"), strict=True):
        assert atoms.info["charge"] == Chem.GetFormalCharge(Chem.MolFromSmiles(text))
        assert atoms.info["spin"] == 1 + (atoms.numbers.sum() - atoms.info["charge"]) % 2
    charges = Counter(components.column("charge").tolist())
    assert charges[0] > 900
    assert len(charges) > 3


def test_smiles_are_canonical_distinct_and_match_the_atoms(components: Items) -> None:
    smiles = components.view("smiles")
    assert len(set(smiles)) == 1000
    for text, atoms in zip(smiles, components.view("atoms"), strict=True):
        parsed = Chem.MolFromSmiles(text)
        assert parsed is not None, text
        found = sorted(atom.GetAtomicNum() for atom in Chem.AddHs(parsed).GetAtoms())
        assert found == sorted(atoms.numbers.tolist()), text


def test_bonds_are_as_long_as_bonds(components: Items) -> None:
    nearest = []
    for atoms in components.view("atoms"):
        distances = atoms.get_all_distances()
        hydrogen, carbon = atoms.numbers == 1, atoms.numbers == 6
        if hydrogen.any() and carbon.any():
            nearest.extend(distances[np.ix_(carbon, hydrogen)].min(axis=0))
    assert np.mean((np.array(nearest) > 0.9) & (np.array(nearest) < 1.2)) > 0.75  # the others are not on carbon
    assert np.median(nearest) == pytest.approx(1.09, abs=0.02)


def test_arrow_reading_equals_row_by_row_reading(components: Items) -> None:
    table = table_of(get_dataset(NAME))
    for i in range(0, 1000, 50):
        row, (atoms,) = table[i], components.view("atoms", [i])
        assert atoms.numbers.tolist() == row["numbers"]
        assert atoms.positions.tolist() == row["positions"]
        assert atoms.info == {"charge": row["charge"], "spin": row["spin"]}
        assert components.ids[i] == row["id"]
