"""What the two embedded data sets of crystals hold that pair like with like: equal formulas, equal structure types."""

from __future__ import annotations

import hashlib
from collections import Counter
from math import gcd

import numpy as np
import pytest
from ase.formula import Formula
from ase.neighborlist import neighbor_list

from consilience.datasets import Items, open_dataset
from consilience.datasets.mp import number
from consilience.datasets.tables import DATA
from consilience.metrics.inference.resampling import draw_permutations


@pytest.fixture(scope="module", params=["mp-polymorphs", "mp-prototypes-1k"])
def items(request: pytest.FixtureRequest) -> Items:
    return open_dataset(request.param)


@pytest.fixture(scope="module")
def polymorphs() -> Items:
    return open_dataset("mp-polymorphs")


@pytest.fixture(scope="module")
def prototypes() -> Items:
    return open_dataset("mp-prototypes-1k")


def test_unique_items_in_the_order_of_their_ids(items: Items) -> None:
    assert len(items) == items.card.items == len(set(items.ids))
    assert items.ids == sorted(items.ids, key=number)


def test_revision_is_the_hash_of_the_file(items: Items) -> None:
    assert items.revision == hashlib.sha256((DATA / f"{items.name}.parquet").read_bytes()).hexdigest()


def test_crystals_have_a_sane_geometry(items: Items) -> None:
    for one_id, atoms in zip(items.ids, items.view("atoms"), strict=True):
        assert atoms.pbc.all()
        assert atoms.info == {"charge": 0, "spin": 1}
        assert len(neighbor_list("i", atoms, 0.5)) == 0, one_id
        assert 4 < atoms.cell.volume / len(atoms) < 130, one_id


def test_labels_match_the_atoms(items: Items) -> None:
    columns = [items.column(name) for name in ("formula", "reduced_formula", "n_atoms", "prototype")]
    for formula, reduced, size, prototype, atoms in zip(*columns, items.view("atoms"), strict=True):
        counts = atoms.symbols.formula.count()
        divisor = gcd(*counts.values())
        assert Formula(formula).count() == counts
        assert Formula(reduced).count() == {symbol: count // divisor for symbol, count in counts.items()}
        assert size == len(atoms)
        anonymous = sorted(count // divisor for count in counts.values())
        assert anonymous_counts(prototype.partition("-")[0]) == anonymous


def anonymous_counts(text: str) -> list[int]:
    """Counts in ``AB2C13``, where the letters are no elements."""
    places = [i for i, letter in enumerate(text) if letter.isalpha()]
    return [int(text[i + 1 : j] or 1) for i, j in zip(places, [*places[1:], len(text)], strict=True)]


def test_formation_energies_are_those_of_the_other_table_where_known(items: Items) -> None:
    known = open_dataset("mp-1k")
    energies = dict(zip(known.ids, known.column("energy_per_atom"), strict=True))
    found = dict(zip(items.ids, items.column("formation_energy_per_atom"), strict=True))
    shared = energies.keys() & found.keys()
    assert len(shared) > 80
    assert all(found[one] == energies[one] for one in shared)
    assert items.energy is None  # some have none, so it is no label


def test_every_formula_occurs_more_than_once(polymorphs: Items) -> None:
    often = Counter(polymorphs.strata("reduced_formula").tolist())
    assert len(often) == 418
    assert min(often.values()) == 2
    assert max(often.values()) == 36
    assert sum(count == 2 for count in often.values()) == 317


def test_polymorphs_differ_in_structure(polymorphs: Items) -> None:
    """All but two pairs: of AuMn and of NaOH the Materials Project has a structure twice, relaxed anew."""
    volumes = [atoms.cell.volume / len(atoms) for atoms in polymorphs.view("atoms")]
    labels = zip(polymorphs.column("reduced_formula"), polymorphs.column("prototype"), volumes, strict=True)
    distinct = {(formula, prototype, round(volume, 3)) for formula, prototype, volume in labels}
    assert len(distinct) == len(polymorphs) - 2


def test_relabelled_within_a_formula_composition_stays_where_it_was(polymorphs: Items) -> None:
    counts, _ = polymorphs.composition()
    fractions = counts / counts.sum(axis=1, keepdims=True)
    permutations = draw_permutations(len(polymorphs), 20, strata=polymorphs.strata("reduced_formula"))
    assert (permutations != np.arange(len(polymorphs))).any(axis=0).mean() > 0.95
    for permutation in permutations:
        np.testing.assert_array_equal(fractions[permutation], fractions)


def test_fifty_structure_types_of_twenty_formulas_each(prototypes: Items) -> None:
    types, formulas = prototypes.strata("prototype"), prototypes.strata("reduced_formula")
    assert Counter(Counter(types.tolist()).values()) == {20: 50}
    assert len(set(zip(types, formulas, strict=True))) == 1000
    assert "AB-225" in types  # rock salt


def test_rock_salt_is_rock_salt(prototypes: Items) -> None:
    """In all of one type, atoms of the two kinds have the neighbours that the type asks for."""
    for i in np.flatnonzero(prototypes.strata("prototype") == "AB-225"):
        (atoms,) = prototypes.view("atoms", [i])
        edge = (4 * 2 * atoms.cell.volume / len(atoms)) ** (1 / 3)
        neighbors = np.bincount(neighbor_list("i", atoms, 0.6 * edge))
        assert neighbors.tolist() == [6] * len(atoms)
