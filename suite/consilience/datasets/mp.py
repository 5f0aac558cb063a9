# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "ase==3.29.0", "numpy==2.4.6", "pip==26.3", "pyarrow==26.0.1", "scipy==1.17.1", "spglib==2.8.0",
# ]
# ///
"""Crystals of the Materials Project, from the tables inside the source archive of matminer 0.4.1.

The archive (8 MB) is only unpacked: installing that version asks for dependencies of its day.
"""

from __future__ import annotations

import ast
import csv
import io
import math
import string
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import CONFIRMATION, choose, expect, hill, ranked, without_known
from consilience.cards import Label

ARCHIVE = "matminer==0.4.1"
SHA256 = "26d7e6c023e19bbd7ba5e87b9d4d299c92a523197a8490541fe524d5c5f39459"
FOLDER = "matminer-0.4.1/matminer/datasets"
LABELLED = "flla_2015"
OTHERS = ("elastic_tensor", "dielectric_constant", "piezoelectric_tensor")
RECORDS = 3_938
ALL_RECORDS = 6_317
SYMPREC = 0.01  # Angstrom; the Materials Project's own tolerance is of this order
POLYMORPHS = 1_068
PROTOTYPES, OF_EACH = 50, 20  # structure types and crystals of each

LINEAGE = ("materials-project",)
CITATION = (
    "A. Jain, S. P. Ong, G. Hautier, W. Chen, W. D. Richards, S. Dacek, S. Cholia, D. Gunter, "
    "D. Skinner, G. Ceder, K. A. Persson: The Materials Project. APL Materials 1, 011002 (2013), "
    "doi:10.1063/1.4812323; collected by F. Faber, A. Lindmaa, O. A. von Lilienfeld, R. Armiento: "
    "Crystal structure representations for machine learning models of formation energies. Int. J. "
    "Quantum Chem. 115, 1094-1101 (2015), doi:10.1002/qua.24917"
)
CITATION_OF_OTHERS = (
    CITATION + "; M. de Jong et al., Sci. Data 2, 150009 (2015); "
    "I. Petousis et al., Sci. Data 4, 160134 (2017); M. de Jong et al., Sci. Data 2, 150053 (2015)"
)
SOURCE = (
    "PyPI matminer==0.4.1 sdist, sha256 26d7e6c023e19bbd7ba5e87b9d4d299c92a523197a8490541fe524d5c5f39459 "
    "(package: modified BSD; data: terms of the Materials Project), "
)
THOUSAND = DatasetCard(
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
    lineage=LINEAGE,
    licence="CC-BY-4.0",
    citation=CITATION,
    source=SOURCE + "matminer/datasets/flla_2015.csv: 3,938 relaxed crystals",
    recipe="consilience dataset build mp-1k",
    selection="uniform over all 3,938: the 1,000 ids whose SHA-256 behind 'mp-1k/0/' comes first",
)
FRESH = DatasetCard(
    name="confirmation-mp",
    title="Crystals of the Materials Project that are in no data set of board v1 (docs/studies/v2-confirmation.md)",
    items=672,
    dropped={"in mp-1k or mp-polymorphs": 328},
    revision="4765fd9f4bf5aa4fc46c1a8108b1034bdd69d4aba97d5becd9061d0fec95b65a",
    recipe="consilience dataset build confirmation-mp",
    selection="as mp-1k, drawn behind 'confirmation/1/', without what is in mp-1k or mp-polymorphs",
    **{
        name: getattr(THOUSAND, name)
        for name in ("matter", "views", "energy", "strata", "lineage", "licence", "citation", "source")
    },
)
OF_FOUR_TABLES: dict[str, Any] = {
    "matter": "crystal",
    "views": ("id", "atoms"),
    "lineage": LINEAGE,
    "licence": "CC-BY-4.0",
    "citation": CITATION_OF_OTHERS,
    "source": SOURCE + "the four tables of matminer/datasets: 6,317 crystals",
}
ALL = DatasetCard(
    name="mp",
    title="6,317 inorganic crystals of the Materials Project",
    items=ALL_RECORDS,
    revision="a0bd8e425df065272021399d89fe3eeebc86741a77d7c061a646b143b5c5f6c6",
    strata=("formula", "n_atoms", "prototype", "reduced_formula"),
    recipe="consilience dataset build mp",
    selection=(
        "all ids of the four tables; of an id in several, flla_2015 comes first, then the elastic, dielectric and "
        "piezoelectric ones. The column formation_energy_per_atom (eV) is NaN for the 2,379 that flla_2015 lacks"
    ),
    **OF_FOUR_TABLES,
)
SAME_FORMULA = DatasetCard(
    name="mp-polymorphs",
    title="1,068 crystals of the Materials Project that share their reduced formula with another",
    items=POLYMORPHS,
    revision="e6efd250313c314ae3291c4c4cbfeac808a49eac9e555f7eaf102f2c14a945c8",
    strata=("reduced_formula", "prototype"),
    matched="reduced_formula",
    recipe="consilience dataset build mp-polymorphs",
    selection=(
        "all of the 6,317 whose reduced formula occurs more than once: 418 formulas with 2 to 36 crystals, 317 of them "
        "with 2. Permuted within the column reduced_formula, composition stays where it was: what is left to agree "
        "on is structure (and the size of the cell; two pairs are near duplicates)"
    ),
    **OF_FOUR_TABLES,
)
SAME_PROTOTYPE = DatasetCard(
    name="mp-prototypes-1k",
    title="1,000 crystals of the Materials Project: 50 structure types, 20 chemistries of each",
    items=PROTOTYPES * OF_EACH,
    revision="7968fa163d277a038c86dec3c2b54817e9e41de257c8ac1ded8fb7893006d234",
    strata=("prototype", "reduced_formula"),
    matched="prototype",
    recipe="consilience dataset build mp-prototypes-1k",
    selection=(
        "of the 6,317, the 50 structure types (anonymous formula and space group) with the most crystals of distinct "
        "reduced formula; of each the 20 ids whose SHA-256 behind 'mp-prototypes-1k/0/' comes first, no two of one "
        "formula. Permuted within the column prototype, structure type stays where it was: what is left to agree on "
        "is chemistry"
    ),
    **OF_FOUR_TABLES,
)


class Crystal(NamedTuple):
    """One cell."""

    id: str
    symbols: list[str]
    positions: NDArray[np.float64]  # (n, 3) Angstrom
    fractional: NDArray[np.float64]
    cell: NDArray[np.float64]  # (3, 3) Angstrom
    formation_energy_per_atom: float  # eV, NaN where not known


@recipe(ALL, THOUSAND, SAME_FORMULA, SAME_PROTOTYPE, FRESH)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by id; lengths in Angstrom, energies in eV."""
    from consilience.building.schemas import CRYSTALS, UNLABELLED_CRYSTALS

    archive = sources.package(ARCHIVE, SHA256, wheel=False)
    table = {record["material_id"]: record for record in records(archive, LABELLED)}
    expect(ARCHIVE, crystals=(len(table), RECORDS))
    if card is THOUSAND:
        drawn = choose(table, card.items or 0, seed="mp-1k/0")
        return Draft(CRYSTALS, sorted(drawn, key=number), lambda one: row_of(labelled(table[one])))
    if card is FRESH:
        fresh, dropped = without_known(
            choose(table, THOUSAND.items or 0, CONFIRMATION), (THOUSAND.name, SAME_FORMULA.name)
        )
        return Draft(CRYSTALS, sorted(fresh, key=number), lambda one: row_of(labelled(table[one])), dropped)
    for name in OTHERS:
        for record in records(archive, name):
            table.setdefault(record["material_id"], record)
    expect(ARCHIVE, crystals=(len(table), ALL_RECORDS))
    found = {one: crystal(record) for one, record in table.items()}
    chosen = polymorphs(found) if card is SAME_FORMULA else prototypes(found) if card is SAME_PROTOTYPE else list(found)
    return Draft(UNLABELLED_CRYSTALS, sorted(chosen, key=number), lambda one: row_of(found[one], energies=False))


def polymorphs(found: dict[str, Crystal]) -> list[str]:
    """Ids of the crystals whose reduced formula is another's too."""
    often = Counter(reduced(one.symbols) for one in found.values())
    return [name for name, one in found.items() if often[reduced(one.symbols)] > 1]


def prototypes(found: dict[str, Crystal]) -> list[str]:
    """Ids of so many crystals of each of the most frequent structure types, no two of one type alike in formula."""
    members: dict[str, dict[str, str]] = {}
    for name in ranked(found, seed="mp-prototypes-1k/0"):
        members.setdefault(prototype(found[name]), {}).setdefault(reduced(found[name].symbols), name)
    most = sorted(members, key=lambda kind: (-len(members[kind]), kind))[:PROTOTYPES]
    return [name for kind in most for name in list(members[kind].values())[:OF_EACH]]


def reduced(symbols: list[str]) -> str:
    """Hill formula of the smallest unit."""
    counts = Counter(symbols)
    divisor = math.gcd(*counts.values())
    return hill({symbol: count // divisor for symbol, count in counts.items()})


def number(one: str) -> int:
    """Order of ids such as mp-149; those of other kinds (mvc-) come last."""
    kind, _, digits = one.partition("-")
    return int(digits) + (0 if kind == "mp" else 10**9)


def records(archive: Path, name: str) -> list[dict[str, str]]:
    """Rows of a table, whose first line is a comment naming the paper; some rows begin with a number of no column."""
    csv.field_size_limit(2**31 - 1)
    with tarfile.open(archive) as tar:
        raw = tar.extractfile(f"{FOLDER}/{name}.csv")
        if raw is None:
            raise ValueError(f"{archive.name} has no {name}.csv")
        lines = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        next(lines)
        head, *rows = csv.reader(lines)
        return [dict(zip(head, row[len(row) - len(head) :], strict=True)) for row in rows]


def crystal(record: dict[str, str]) -> Crystal:
    """Read a record of any of the tables."""
    return labelled(record) if "formation_energy_per_atom" in record else unlabelled(record)


def labelled(record: dict[str, str]) -> Crystal:
    """Read a record whose structure is the Python repr of a pymatgen dictionary."""
    structure = ast.literal_eval(record["structure"])
    sites = structure["sites"]
    if any(len(site["species"]) != 1 or site["species"][0]["occu"] != 1 for site in sites):
        raise ValueError(f"{record['material_id']}: partly occupied sites")
    return Crystal(
        record["material_id"],
        [site["species"][0]["element"] for site in sites],
        np.array([site["xyz"] for site in sites], dtype=float),
        np.array([site["abc"] for site in sites], dtype=float),
        np.array(structure["lattice"]["matrix"], dtype=float),
        float(record["formation_energy_per_atom"]),
    )


def unlabelled(record: dict[str, str]) -> Crystal:
    """Read a record with a POSCAR; rounded, so that no library's last digit matters."""
    from ase.io import read

    atoms = read(io.StringIO(record["poscar"]), format="vasp")
    return Crystal(
        record["material_id"],
        atoms.get_chemical_symbols(),
        atoms.positions.round(8) + 0.0,
        atoms.get_scaled_positions(wrap=False),
        atoms.cell.array,
        math.nan,
    )


def prototype(found: Crystal) -> str:
    """Anonymous reduced formula and space group, such as ``AB2-164``: letters by rising count."""
    import spglib

    counts = sorted(Counter(found.symbols).values())
    divisor = math.gcd(*counts)
    formula = "".join(
        letter + (str(count // divisor) if count > divisor else "")
        for letter, count in zip(string.ascii_uppercase, counts, strict=False)
    )
    cell = (found.cell, found.fractional, numbers(found))
    return f"{formula}-{spglib.get_symmetry_dataset(cell, symprec=SYMPREC).number}"


def numbers(found: Crystal) -> list[int]:
    """Atomic numbers."""
    from ase.data import atomic_numbers

    return [atomic_numbers[symbol] for symbol in found.symbols]


def row_of(found: Crystal, energies: bool = True) -> dict[str, Any]:
    """One item."""
    per_atom = found.formation_energy_per_atom
    labels = (
        {"energy": per_atom * len(found.symbols), "energy_per_atom": per_atom}
        if energies
        else {"formation_energy_per_atom": per_atom, "reduced_formula": reduced(found.symbols)}
    )
    return {
        "id": found.id,
        "numbers": numbers(found),
        "positions": found.positions.tolist(),
        "cell": found.cell.tolist(),
        "pbc": [True] * 3,
        "charge": 0,
        "spin": 1,  # the source states no magnetic moments
        "formula": hill(Counter(found.symbols)),
        "n_atoms": len(found.symbols),
        "prototype": prototype(found),
        **labels,
    }
