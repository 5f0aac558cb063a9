"""Malformed items are found, and sound ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import chemical_symbols, covalent_radii

from consilience.checks import (
    MalformedDataError,
    ids_fault,
    sequence_fault,
    smiles_fault,
    structure_fault,
)
from consilience.datasets import open_dataset
from consilience.elements import COVALENT_RADII, SYMBOLS

WATER = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def fault_of(atoms: Atoms) -> tuple[str, str] | None:
    return structure_fault(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


@pytest.mark.parametrize("name", ["qm9-1k", "mp-1k", "mof-500-v2"])
def test_structures_of_the_suite_have_no_fault(name: str) -> None:
    for atoms in open_dataset(name).view("atoms"):
        assert fault_of(atoms) is None


def test_two_structures_of_the_first_sample_of_frameworks_have_overlapping_atoms() -> None:
    items = open_dataset("mof-500")
    faults = {
        one: fault for one, atoms in zip(items.ids, items.view("atoms"), strict=True) if (fault := fault_of(atoms))
    }
    assert sorted(faults) == ["IWAYAG_clean", "LIWFOM_clean"]


def test_texts_of_the_suite_have_no_fault() -> None:
    assert not any(smiles_fault(smiles) for smiles in open_dataset("qm9-1k").view("smiles"))
    assert not any(sequence_fault(sequence) for sequence in open_dataset("proteins-500").view("sequence"))
    assert ids_fault(open_dataset("mp-1k").ids) is None


@pytest.mark.parametrize("number", [0, 119, -1, 1.5, np.nan])
def test_an_unknown_element_is_found(number: float) -> None:
    fault = structure_fault([8, number, 1], WATER.positions, np.zeros((3, 3)), [False] * 3)
    assert fault is not None
    assert fault[0] == "numbers"
    assert "atom 2 is of an unknown element" in fault[1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_positions_that_are_not_finite_are_found(value: float) -> None:
    atoms = WATER.copy()
    atoms.positions[2, 1] = value
    fault = fault_of(atoms)
    assert fault is not None
    assert fault[0] == "positions"
    assert "atom 3" in fault[1]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"numbers": []}, "numbers"),
        ({"numbers": [[8, 1, 1]]}, "numbers"),
        ({"numbers": ["O", "H", "H"]}, "numbers"),
        ({"positions": WATER.positions[:2]}, "positions"),
        ({"positions": WATER.positions.ravel()}, "positions"),
        ({"positions": [[0, 0, 0], [1, 0], [0, 1, 0]]}, "positions"),
        ({"positions": None}, "positions"),
        ({"cell": np.zeros(3)}, "cell"),
        ({"cell": np.full((3, 3), np.nan)}, "cell"),
        ({"pbc": True}, "pbc"),
    ],
)
def test_shapes_that_do_not_fit_are_found(change: dict[str, object], column: str) -> None:
    sound = {"numbers": [8, 1, 1], "positions": WATER.positions, "cell": np.zeros((3, 3)), "pbc": [False] * 3}
    assert structure_fault(**sound) is None
    fault = structure_fault(**{**sound, **change})
    assert fault is not None
    assert fault[0] == column


@pytest.mark.parametrize(
    ("cell", "pbc", "faulty"),
    [
        (np.zeros((3, 3)), [True] * 3, True),
        (np.diag([5.0, 5.0, 0.0]), [True] * 3, True),
        (np.diag([5.0, 5.0, 0.0]), [True, True, False], False),  # a slab has no third vector
        ([[5, 0, 0], [5, 0, 0], [0, 0, 5]], [True] * 3, True),
        ([[5, 0, 0], [0, 5, 0], [5, 5, 0]], [True] * 3, True),
        ([[5, 0, 0], [4.9, 1, 0], [4.9, 1, 1]], [True] * 3, False),  # far from a cube, and sound
    ],
)
def test_lattice_vectors_have_to_span_a_cell(cell: list[list[float]], pbc: list[bool], faulty: bool) -> None:
    fault = structure_fault([2], [[0.0, 0.0, 0.0]], cell, pbc)
    assert (fault is not None) == faulty
    assert fault is None or fault[0] == "cell"


def test_atoms_too_close_are_found_and_named() -> None:
    atoms = WATER.copy()
    atoms.positions[2] = atoms.positions[1] + [0.3, 0, 0]
    assert fault_of(atoms) == (
        "positions",
        "atoms 2 (H) and 3 (H) are 0.300 Angstrom apart, 0.48 times the sum of their covalent radii",
    )


@pytest.mark.parametrize(
    ("symbols", "distance", "sound"),
    [
        ("VV", 0.60, False),  # LIWFOM of CoRE MOF
        ("KO", 1.13, False),  # IWAYAG
        ("CdCd", 1.62, True),  # 0.56 of the sum
        ("OH", 0.70, True),  # as X-rays see it
        ("HH", 0.74, True),
        ("HH", 0.49, False),  # half of the sum is 0.31: the least distance holds
        ("CsCs", 2.4, False),
    ],
)
def test_how_near_two_atoms_may_be_depends_on_their_elements(symbols: str, distance: float, sound: bool) -> None:
    pair = Atoms(symbols, [[0, 0, 0], [0, 0, distance]])
    assert (fault_of(pair) is None) == sound
    fixed = structure_fault(pair.numbers, pair.positions, pair.cell.array, pair.pbc, contacts="fixed")
    assert (fixed is None) == (distance >= 0.5)
    pair.set_cell(np.diag([30, 30, 30]))
    pair.pbc = True
    pair.positions[:, 2] -= distance / 2  # the same two, through a face
    pair.wrap()
    assert (fault_of(pair) is None) == sound


def test_radii_and_symbols_are_those_of_ase() -> None:
    assert list(SYMBOLS) == chemical_symbols
    np.testing.assert_allclose(COVALENT_RADII, covalent_radii)


def test_contacts_of_a_large_item_are_found_in_every_block() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(22.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 3.2
    numbers = np.full(len(grid), 26)
    assert structure_fault(numbers, grid, np.zeros((3, 3)), [False] * 3) is None
    for first, second in ((0, 1), (4_000, 10_000), (9_000, 10_600)):
        positions = grid.copy()
        positions[second] = positions[first] + [0.0, 0.0, 1.2]
        fault = structure_fault(numbers, positions, np.zeros((3, 3)), [False] * 3)
        assert fault is not None
        assert fault[1].startswith(f"atoms {first + 1} (Fe) and {second + 1} (Fe) are 1.200 Angstrom apart")


def test_atoms_too_close_through_a_face_are_found() -> None:
    near = Atoms("NaCl", [[0.1, 2, 2], [3.9, 2, 2]], cell=[4, 4, 4])
    assert fault_of(near) is None
    near.pbc = True
    said = "atoms 1 (Na) and 2 (Cl) are 0.200 Angstrom apart, 0.07 times the sum of their covalent radii"
    assert fault_of(near) == ("positions", said)
    near.positions[0] += [400, -80, 4]  # an atom may be written in any cell
    assert fault_of(near) == ("positions", said)


def test_an_atom_too_close_to_its_own_image_is_found() -> None:
    fault = structure_fault([2], [[0, 0, 0]], np.diag([0.4, 5, 5]), [True] * 3)
    assert fault is not None
    assert fault[1].startswith("atom 1 (He) and its own image are 0.400 Angstrom apart, 0.71 times")


def test_the_shortest_distances_agree_with_ase() -> None:
    """Every cell, moved until two of its atoms touch, is judged as ASE's neighbour list judges it."""
    from ase.neighborlist import neighbor_list

    rng = np.random.default_rng(0)
    judged = []
    for _ in range(60):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(0.6 * atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.35, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 1.2, (len(atoms), 3))
        atoms.pbc = rng.random(3) < 0.7
        distances = neighbor_list("d", atoms, 0.5)
        fixed = structure_fault(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, contacts="fixed")
        assert (fixed is not None) == (len(distances) > 0)
        distances = neighbor_list("d", atoms, 1.32)  # half of two covalent radii of copper
        assert (fault_of(atoms) is not None) == (len(distances) > 0)
        judged.append(len(distances) > 0)
    assert 5 < sum(judged) < 55


@pytest.mark.parametrize("smiles", [None, "", "  ", "c1ccc", "C(C)(C)(C)(C)C", "hello"])
def test_unreadable_smiles_are_found(smiles: str | None) -> None:
    fault = smiles_fault(smiles)
    assert fault is not None
    assert fault[0] == "smiles"


@pytest.mark.parametrize(("sequence", "reason"), [("", "is empty"), ("MK1", "residue 3"), ("MK-V", "residue 3 is '-'")])
def test_letters_that_are_no_residues_are_found(sequence: str, reason: str) -> None:
    fault = sequence_fault(sequence)
    assert fault is not None
    assert reason in fault[1]
    assert sequence_fault("MKVX") is None


def test_ids_have_to_be_there_and_unique() -> None:
    assert ids_fault(["a", "b"]) is None
    assert ids_fault(["a", "b", "a"]) == (3, "'a' is the id of item 1 already")
    assert ids_fault(["a", None]) == (2, "is empty")


def test_the_message_is_one_line_naming_file_row_and_column() -> None:
    error = MalformedDataError("mine.csv", "two\nlines", row=7, column="smiles", unit="line")
    assert str(error) == "mine.csv: line 7, column 'smiles': two lines"


def test_an_echo_of_a_long_item_is_cut(tmp_path: Path) -> None:
    smiles = "C(" * 100_000
    fault = smiles_fault(smiles)
    assert fault is not None
    assert len(fault[1]) < 300
    error = MalformedDataError(tmp_path / "x.smi", f"unreadable {smiles}", row=1)
    assert len(str(error)) < 700
    assert str(error).startswith(str(tmp_path / "x.smi"))
