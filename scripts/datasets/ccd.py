# /// script
# requires-python = ">=3.11"
# dependencies = ["biotite==1.6.0", "numpy==2.4.6", "pyarrow==26.0.1", "rdkit==2026.9.1"]
# ///
"""Make `ccd-1k.parquet` from the chemical components of the Protein Data Bank that travel with biotite 1.6.0.

Usage: ``uv run --script scripts/datasets/ccd.py [--output DIR]``. Downloads 56 MB, biotite itself, whose wheels all
hold one dictionary; same bytes each time.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _build import COMPONENTS, hill, output_folder, ranked, write
from biotite.interface.rdkit import to_mol
from biotite.structure import AtomArray, BondList, BondType, info
from biotite.structure.info.ccd import get_ccd
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

DICTIONARY = "components.bcif"
SHA256 = "dffdb3a19600d51854058daecfbc9bd1b94aab413a04e7afed8d4b7670621d47"
RECORDS = 49_195
POOLS = (45_897, 728)  # to draw from, without and with metals
DRAWN = (900, 100)
LARGEST = 100  # atoms
CLOSEST = 0.5  # Angstrom
UNKNOWN = frozenset({"D", "X"})
SYMBOLS = "H He B C N O F Ne Si P S Cl Ar As Se Br Kr Te I Xe At Rn"
NONMETALS = frozenset(SYMBOLS.split())
BONDS = {"SING": BondType.SINGLE, "DOUB": BondType.DOUBLE, "TRIP": BondType.TRIPLE}
AXES = "xyz"


class Component(NamedTuple):
    """One entry of the dictionary."""

    id: str
    released: bool
    symbols: list[str]
    charges: list[int]
    positions: NDArray[np.float64] | None  # (n, 3) in Angstrom
    ideal: bool
    bonds: list[tuple[int, int, BondType]]


def components() -> Iterator[Component]:
    """All entries of the dictionary that state atoms, by id.

    biotite's own `info.residue` searches the whole dictionary for each entry, which takes hours; its atoms and bonds
    are the same, but for marks of aromatic bonds.
    """
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
        raise SystemExit(f"{DICTIONARY}: the rows of a component do not lie together")
    return found


def fault(found: Component) -> str | None:
    """Why a component is left out before the draw, if it is."""
    if not found.released:
        return "not released"
    if UNKNOWN & set(found.symbols):
        return "deuterium or an unknown element"
    if not 2 <= len(found.symbols) <= LARGEST:
        return f"not 2 to {LARGEST} atoms"
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


def sound(found: list[Component]) -> dict[str, Component]:
    """Components to draw from, by id."""
    reasons = {one.id: fault(one) for one in found}
    dropped = Counter(reason for reason in reasons.values() if reason)
    kept = {one.id: one for one in found if reasons[one.id] is None}
    print(f"{len(found)} components, {len(kept)} kept; dropped: {dict(dropped)}")
    return kept


def draw(pool: list[Component], count: int, known: set[str]) -> list[tuple[Component, str]]:
    """Draw `count` components, uniformly among those with a SMILES, and of one SMILES the first to be drawn."""
    table = {one.id: one for one in pool}
    drawn: list[tuple[Component, str]] = []
    passed: Counter[str] = Counter()
    for name in ranked(table, "ccd-1k/0"):
        if len(drawn) == count:
            break
        smiles = smiles_of(table[name])
        if smiles is None:
            passed["no SMILES"] += 1
        elif smiles in known:
            passed["the SMILES of another"] += 1
        else:
            known.add(smiles)
            drawn.append((table[name], smiles))
    print(f"{len(drawn)} drawn of {len(pool)}; passed over meanwhile: {dict(passed)}")
    return drawn


def row_of(found: Component, smiles: str) -> dict[str, Any]:
    """One item; the spin is the lowest that the number of electrons allows."""
    assert found.positions is not None
    numbers = [Chem.GetPeriodicTable().GetAtomicNumber(symbol) for symbol in found.symbols]
    charge = sum(found.charges)
    scaffold = MurckoScaffold.GetScaffoldForMol(Chem.MolFromSmiles(smiles))
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


def main() -> None:
    """Check the dictionary, sift, draw, write."""
    folder = output_folder(__doc__)
    rdBase.DisableLog("rdApp.*")
    Chem.SetAllowNontetrahedralChirality(False)  # marks such as [Ru@OH20], which hardly any other program reads
    warnings.filterwarnings("ignore", message="No hydrogen found")
    content = (Path(info.__file__).parent / DICTIONARY).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{DICTIONARY}: SHA-256 is {hashlib.sha256(content).hexdigest()}, expected {SHA256}")
    found = list(components())
    table = sound(found)
    pools = [[one for one in table.values() if metallic(one) == wanted] for wanted in (False, True)]
    if (len(found), *map(len, pools)) != (RECORDS, *POOLS):
        raise SystemExit(f"{DICTIONARY}: {len(found)} components, {[*map(len, pools)]} to draw from")
    known: set[str] = set()
    drawn = [one for pool, count in zip(pools, DRAWN, strict=True) for one in draw(pool, count, known)]
    print(f"{sum(not one.ideal for one, _ in drawn)} with model coordinates")
    rows = [row_of(one, smiles) for one, smiles in drawn]
    write(sorted(rows, key=lambda row: row["id"]), COMPONENTS, folder / "ccd-1k.parquet")


if __name__ == "__main__":
    main()
