# /// script
# requires-python = ">=3.11"
# dependencies = ["biotite==1.6.0", "numpy==2.4.6", "pyarrow==26.0.1", "rdkit==2026.9.1", "scipy==1.17.1"]
# ///
"""Chemical components of the Protein Data Bank, from the dictionary that travels with biotite 1.6.0 (56 MB)."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import CONFIRMATION, expect, hill, ranked, tally, without_known

DICTIONARY = "components.bcif"
SHA256 = "dffdb3a19600d51854058daecfbc9bd1b94aab413a04e7afed8d4b7670621d47"
RECORDS = 49_195
POOLS = (45_897, 728)  # to draw from, without and with metals
DRAWN = (900, 100)
LARGEST = 100  # atoms
CLOSEST = 0.5  # Angstrom
SEED = "ccd-1k/0"
UNKNOWN = frozenset({"D", "X"})
SYMBOLS = "H He B C N O F Ne Si P S Cl Ar As Se Br Kr Te I Xe At Rn"
NONMETALS = frozenset(SYMBOLS.split())
BONDS = {"SING": 1, "DOUB": 2, "TRIP": 3}  # values of biotite's BondType
AXES = "xyz"

COMMON: dict[str, Any] = {
    "matter": "molecule",
    "views": ("id", "smiles", "atoms"),
    "strata": ("formula", "n_atoms", "scaffold"),
    "lineage": ("PDB", "CCD"),
    "licence": "CC0-1.0",
    "citation": (
        "J. D. Westbrook, C. Shao, Z. Feng, M. Zhuravleva, S. Velankar, J. Young: The chemical component dictionary: "
        "complete descriptions of constituent molecules in experimentally determined 3D macromolecules in the Protein "
        "Data Bank. Bioinformatics 31, 1274-1278 (2015), doi:10.1093/bioinformatics/btu789"
    ),
    "source": (
        "PyPI biotite==1.6.0, biotite/structure/info/components.bcif, sha256 "
        "dffdb3a19600d51854058daecfbc9bd1b94aab413a04e7afed8d4b7670621d47 (package: BSD-3-Clause, copyright 2017 The "
        "Biotite contributors; data: wwPDB, CC0 1.0, which the package does not state): "
        "49,195 components with atoms"
    ),
}
THOUSAND = DatasetCard(
    name="ccd-1k",
    title="1,000 chemical components of the Protein Data Bank (37 elements, up to 100 atoms; 100 with metals)",
    items=1000,
    dropped={
        "more than 100 atoms": 1_660,
        "not released": 757,
        "a single atom": 92,
        "incomplete coordinates": 42,
        "two atoms closer than 0.5 Angstrom": 10,
        "deuterium or an unknown element": 9,
    },
    revision="af911714af51a332db5eed62ba1b825b6a88c30017d80e3d9967af1e6afdc488",
    recipe="consilience dataset build ccd-1k",
    contacts="fixed",
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
    **COMMON,
)
ALL = DatasetCard(
    name="ccd",
    title="Chemical components of the Protein Data Bank, of any size",
    items=48_271,
    revision="0859c2c4265f976bed15b2505cb4303da31956082cf4a2a02f7fb8da1dba74dc",
    dropped={
        "not released": 757,
        "a single atom": 92,
        "incomplete coordinates": 53,
        "two atoms closer than 0.5 Angstrom": 13,
        "deuterium or an unknown element": 9,
    },
    recipe="consilience dataset build ccd",
    contacts="fixed",
    selection=(
        "all released components of at least 2 atoms with complete coordinates, without deuterium, unknown elements "
        "or two atoms closer than 0.5 Angstrom; the SMILES is empty where RDKit 2026.9.1 accepts no such molecule"
    ),
    **COMMON,
)
FRESH = DatasetCard(
    name="confirmation-ccd",
    title="Chemical components of the Protein Data Bank that are in no data set of board v1 "
    "(docs/studies/v2-confirmation.md)",
    items=965,
    dropped={**THOUSAND.dropped, "in ccd-1k": 35},
    revision="0c41e5ca5dbc02481714c8e21dea4baafa71a6815367e3fda39e9b4ab84cb559",
    recipe="consilience dataset build confirmation-ccd",
    contacts="fixed",
    selection="as ccd-1k, drawn behind 'confirmation/1/', without what is in ccd-1k",
    **COMMON,
)


@recipe(THOUSAND, ALL, FRESH)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by id; positions in Angstrom."""
    from biotite.structure import info
    from rdkit import Chem, rdBase

    from consilience.building.schemas import COMPONENTS, LARGE_COMPONENTS

    rdBase.DisableLog("rdApp.*")
    Chem.SetAllowNontetrahedralChirality(False)  # marks such as [Ru@OH20], which hardly any other program reads
    warnings.filterwarnings("ignore", message="No hydrogen found")
    sources.installed(Path(info.__file__).parent / DICTIONARY, SHA256)
    found = list(components())
    table, dropped = sound(found, None if card is ALL else LARGEST)
    expect(DICTIONARY, components=(len(found), RECORDS))
    if card is ALL:
        return Draft(
            LARGE_COMPONENTS, sorted(table), lambda one: row_of(table[one], smiles_of(table[one]) or ""), dropped
        )
    pools = [[one for one in table.values() if metallic(one) == wanted] for wanted in (False, True)]
    expect(DICTIONARY, **{"without metals": (len(pools[0]), POOLS[0]), "with metals": (len(pools[1]), POOLS[1])})
    known: set[str] = set()
    seed = CONFIRMATION if card is FRESH else SEED
    drawn = draw(pools[0], DRAWN[0], known, seed) | draw(pools[1], DRAWN[1], known, seed)
    if card is FRESH:
        fresh, known_ones = without_known(drawn, [THOUSAND.name])
        return Draft(COMPONENTS, sorted(fresh), lambda one: row_of(table[one], drawn[one]), dropped | known_ones)
    return Draft(COMPONENTS, sorted(drawn), lambda one: row_of(table[one], drawn[one]), dropped)


class Component(NamedTuple):
    """One entry of the dictionary."""

    id: str
    released: bool
    symbols: list[str]
    charges: list[int]
    positions: NDArray[np.float64] | None  # (n, 3) in Angstrom
    ideal: bool
    bonds: list[tuple[int, int, int]]  # two atoms and the order


def components() -> Iterator[Component]:
    """All entries of the dictionary that state atoms, by id.

    biotite's own `info.residue` searches the whole dictionary for each entry, which takes hours; its atoms and bonds
    are the same, but for marks of aromatic bonds.
    """
    from biotite.structure.info.ccd import get_ccd

    dictionary = get_ccd()
    about, atoms, bonds = (dictionary[name] for name in ("chem_comp", "chem_comp_atom", "chem_comp_bond"))
    status = dict(zip(text(about, "id"), text(about, "pdbx_release_status"), strict=True))
    places = blocks(text(atoms, "comp_id"))
    bond_places = blocks(text(bonds, "comp_id"))
    names, symbols, charges = text(atoms, "atom_id"), text(atoms, "type_symbol"), text(atoms, "charge")
    firsts, seconds, orders = text(bonds, "atom_id_1"), text(bonds, "atom_id_2"), text(bonds, "value_order")
    ideal, model = (
        [coordinates(atoms, pattern.format(axis)) for axis in AXES]
        for pattern in ("pdbx_model_Cartn_{}_ideal", "model_Cartn_{}")
    )
    for one in sorted(places):
        place = places[one]
        found = [np.stack([column[place] for column in columns], axis=-1) for columns in (ideal, model)]
        whole = [bool(np.isfinite(positions).all()) for positions in found]
        number = {name: i for i, name in enumerate(names[place])}
        between = bond_places.get(one, slice(0, 0))
        yield Component(
            one,
            status[one] == "REL",
            [symbol.capitalize() for symbol in symbols[place]],
            [int(charge) if charge not in ("?", ".") else 0 for charge in charges[place]],
            found[0] if whole[0] else found[1] if whole[1] else None,
            whole[0],
            [
                (number[first], number[second], BONDS[order])
                for first, second, order in zip(firsts[between], seconds[between], orders[between], strict=True)
            ],
        )


def text(category: Any, name: str) -> list[str]:
    """Return a column as strings."""
    values: list[str] = category[name].as_array(str).tolist()
    return values


def coordinates(category: Any, name: str) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where the dictionary has none."""
    column = category[name]
    values: NDArray[np.float64] = column.as_array(np.float64, masked_value=np.nan).copy()
    return values.round(3)  # as the dictionary states them


def blocks(ids: list[str]) -> dict[str, slice]:
    """Rows of each id, which lie together."""
    names = np.array(ids)
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]).tolist()
    found = {ids[start]: slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True)}
    if len(found) != len(starts):
        raise ValueError(f"{DICTIONARY}: the rows of a component do not lie together")
    return found


def fault(found: Component, largest: int | None) -> str | None:
    """Why a component is left out before the draw, if it is."""
    if not found.released:
        return "not released"
    if UNKNOWN & set(found.symbols):
        return "deuterium or an unknown element"
    if len(found.symbols) < 2:
        return "a single atom"
    if largest is not None and len(found.symbols) > largest:
        return f"more than {largest} atoms"
    if found.positions is None:
        return "incomplete coordinates"
    between = np.linalg.norm(found.positions[:, None] - found.positions[None], axis=-1)
    if between[~np.eye(len(between), dtype=bool)].min() < CLOSEST:
        return f"two atoms closer than {CLOSEST} Angstrom"
    return None


def smiles_of(found: Component) -> str | None:
    """Canonical SMILES with the stereochemistry of the positions; ``None`` where RDKit accepts no such molecule.

    Bonds are those of the dictionary with its alternating single and double bonds: RDKit finds aromatic rings
    itself. No hydrogen is implied, so that the SMILES stands for these atoms and no others.
    """
    from biotite.interface.rdkit import to_mol
    from biotite.structure import AtomArray, BondList
    from rdkit import Chem

    atoms = AtomArray(len(found.symbols))
    atoms.coord = np.asarray(found.positions, dtype=np.float32)
    atoms.element = np.array([symbol.upper() for symbol in found.symbols])
    atoms.set_annotation("charge", np.array(found.charges))
    atoms.bonds = BondList(len(atoms), np.array(found.bonds).reshape(-1, 3))
    try:
        molecule = to_mol(atoms, explicit_hydrogen=True)
        Chem.SanitizeMol(molecule)
        Chem.AssignStereochemistryFrom3D(molecule)
        read = Chem.MolFromSmiles(Chem.MolToSmiles(Chem.RemoveHs(molecule)))
    except (ValueError, RuntimeError):  # what RDKit raises of valences and of rings without alternating bonds
        return None
    if read is None or Chem.GetFormalCharge(read) != sum(found.charges):
        return None
    if Counter(atom.GetSymbol() for atom in Chem.AddHs(read).GetAtoms()) != Counter(found.symbols):
        return None
    return str(Chem.MolToSmiles(read))


def metallic(found: Component) -> bool:
    """Whether there is a metal among its atoms."""
    return not NONMETALS.issuperset(found.symbols)


def sound(found: list[Component], largest: int | None) -> tuple[dict[str, Component], dict[str, int]]:
    """Components to draw from, by id, and why the others are left out."""
    reasons = {one.id: fault(one, largest) for one in found}
    return {one.id: one for one in found if reasons[one.id] is None}, tally(reasons.values())


def draw(pool: list[Component], count: int, known: set[str], seed: str = SEED) -> dict[str, str]:
    """Draw `count` components, uniformly among those with a SMILES, and of one SMILES the first to be drawn."""
    table = {one.id: one for one in pool}
    drawn: dict[str, str] = {}
    for name in ranked(table, seed):
        if len(drawn) == count:
            break
        smiles = smiles_of(table[name])
        if smiles is not None and smiles not in known:
            known.add(smiles)
            drawn[name] = smiles
    return drawn


def row_of(found: Component, smiles: str) -> dict[str, Any]:
    """One item; the spin is the lowest that the number of electrons allows."""
    from rdkit import Chem
    from rdkit.Chem.Scaffolds import MurckoScaffold

    assert found.positions is not None
    numbers = [Chem.GetPeriodicTable().GetAtomicNumber(symbol) for symbol in found.symbols]
    charge = sum(found.charges)
    molecule = Chem.MolFromSmiles(smiles)  # of an empty SMILES, an empty molecule
    scaffold = MurckoScaffold.GetScaffoldForMol(molecule)  # type: ignore[no-untyped-call]
    return {
        "id": found.id,
        "smiles": smiles,
        "numbers": numbers,
        "positions": (found.positions + 0.0).tolist(),
        "cell": [[0.0] * 3] * 3,
        "pbc": [False] * 3,
        "charge": charge,
        "spin": 1 + (sum(numbers) - charge) % 2,
        "formula": hill(Counter(found.symbols)),
        "n_atoms": len(numbers),
        "scaffold": Chem.MolToSmiles(scaffold, isomericSmiles=False),
    }
