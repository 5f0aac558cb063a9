"""What the embedded data set of metal-organic frameworks holds."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from math import gcd

import numpy as np
import pytest
from ase.data import chemical_symbols
from ase.formula import Formula
from ase.neighborlist import neighbor_list

from consilience.datasets import Items, open_dataset
from consilience.datasets.tables import DATA, table_of
from consilience.registry import get_dataset

NAME = "mof-500"
SYMBOLS = "H He B C N O F Ne Si P S Cl Ar As Se Br Kr Te I Xe At Rn"
NONMETALS = set(SYMBOLS.split())


@pytest.fixture(scope="module")
def frameworks() -> Items:
    return open_dataset(NAME)


def test_five_hundred_unique_frameworks_ordered_by_id(frameworks: Items) -> None:
    assert len(frameworks) == frameworks.card.items == 500
    assert frameworks.ids == sorted(set(frameworks.ids))
    assert not any(one.endswith("_charged") for one in frameworks.ids)


def test_revision_is_the_hash_of_the_file(frameworks: Items) -> None:
    assert frameworks.revision == hashlib.sha256((DATA / f"{NAME}.parquet").read_bytes()).hexdigest()


def test_schema() -> None:
    import datasets

    value, triple = datasets.Value, datasets.List(datasets.Value("float64"), length=3)
    assert dict(table_of(get_dataset(NAME)).features) == {
        "id": value("string"),
        "numbers": datasets.List(value("uint8")),
        "positions": datasets.List(triple),
        "cell": datasets.List(triple, length=3),
        "pbc": datasets.List(value("bool"), length=3),
        "charge": value("int8"),
        "spin": value("uint8"),
        "formula": value("string"),
        "n_atoms": value("uint8"),
        "metals": value("string"),
    }


def test_card_declares_what_is_there(frameworks: Items) -> None:
    for view in frameworks.card.views:
        assert len(frameworks.view(view)) == 500
    for column in frameworks.card.strata:
        assert frameworks.strata(column).shape == (500,)
    assert frameworks.energy is None
    with pytest.raises(ValueError, match="has no view 'smiles'"):
        frameworks.view("smiles")


def test_formula_size_and_metals_match_the_atoms(frameworks: Items) -> None:
    atoms = frameworks.view("atoms")
    for formula, metals, one in zip(frameworks.column("formula"), frameworks.column("metals"), atoms, strict=True):
        assert Formula(formula).count() == one.symbols.formula.count()
        assert metals == "-".join(sorted(set(one.symbols) - NONMETALS))
    assert frameworks.column("n_atoms").tolist() == [len(one) for one in atoms]
    assert max(len(one) for one in atoms) <= 200


def test_frameworks_are_metal_organic(frameworks: Items) -> None:
    assert (frameworks.column("metals") != "").mean() > 0.95  # the database has some of silicon, boron or arsenic
    assert np.mean(["C" in one for one in frameworks.elements]) > 0.85  # and some inorganic ones
    metals = Counter("-".join(frameworks.column("metals")).split("-"))
    assert {one for one, _ in metals.most_common(3)} <= {"Zn", "Cu", "Cd", "Co", "Mn"}
    assert max(Counter(frameworks.strata("metals").tolist()).values()) > 20  # nothing to shuffle otherwise


def test_atoms_keep_apart_in_a_sane_cell(frameworks: Items) -> None:
    for one_id, atoms in zip(frameworks.ids, frameworks.view("atoms"), strict=True):
        assert atoms.pbc.all()
        assert atoms.info == {"charge": 0, "spin": 1}
        assert len(neighbor_list("i", atoms, 0.499)) == 0, one_id  # positions are rounded behind the gate of 0.5
        assert 5 < atoms.cell.volume / len(atoms) < 150
        assert (1 / np.linalg.norm(atoms.cell.reciprocal(), axis=1) > 2).all()


def test_bonds_are_as_long_as_bonds(frameworks: Items) -> None:
    # A cell with rows for columns, or fractional coordinates for Cartesian ones, would leave none of this.
    lengths: dict[tuple[str, str], list[float]] = {("C", "H"): [], ("C", "C"): [], ("C", "O"): []}
    for atoms in frameworks.view("atoms")[::10]:
        i, j, distance = neighbor_list("ijd", atoms, 1.7)
        for a, b, d in zip(atoms.numbers[i], atoms.numbers[j], distance, strict=True):
            if (pair := (chemical_symbols[a], chemical_symbols[b])) in lengths:
                lengths[pair].append(d)
    assert np.median(lengths["C", "H"]) == pytest.approx(0.95, abs=0.03)  # as X-rays see it
    assert np.median(lengths["C", "C"]) == pytest.approx(1.39, abs=0.03)
    assert np.median(lengths["C", "O"]) == pytest.approx(1.26, abs=0.04)


def test_no_two_frameworks_are_the_same(frameworks: Items) -> None:
    refcodes = [one[:6] for one in frameworks.ids if re.match(r"[A-Z]{6}([0-9]{2})?_", one)]
    assert 470 < len(refcodes) == len(set(refcodes))
    sizes = []
    for atoms in frameworks.view("atoms"):
        counts = atoms.symbols.formula.count()
        divisor = gcd(*counts.values())
        sizes.append((sorted((s, n // divisor) for s, n in counts.items()), atoms.cell.volume / len(atoms)))
    for (formula, volume), (other, larger) in itertools.pairwise(sorted(sizes)):
        assert formula != other or larger / volume > 1.0009


def test_arrow_reading_equals_row_by_row_reading(frameworks: Items) -> None:
    table = table_of(get_dataset(NAME))
    for i in range(0, 500, 50):
        row, (atoms,) = table[i], frameworks.view("atoms", [i])
        assert atoms.numbers.tolist() == row["numbers"]
        assert atoms.positions.tolist() == row["positions"]
        assert atoms.cell.array.tolist() == row["cell"]
        assert frameworks.ids[i] == row["id"]
