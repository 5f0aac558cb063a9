# /// script
# requires-python = ">=3.11"
# dependencies = ["gemmi==0.7.5", "numpy==2.4.6", "pyarrow==26.0.1", "scipy==1.17.1"]
# ///
"""Protein chains of the Protein Data Bank, selected by a list of the PISCES server.

A user gets the list and the entries it names (as mmCIF, gzipped or not, in any tree of folders) and names their folder:
the list is made on request, and an archive of tens of thousands of entries is fetched with rsync, not by us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import DroppedError, tally
from consilience.building.errors import SourceError

SHORTEST, LONGEST = 40, 1000  # residues
RESOLUTION = 3.0  # Angstrom, of X-ray structures
R_FACTOR = 0.25
IDENTITY = 70.0  # percent
BACKBONE = ("N", "CA", "C", "O")

CARD = DatasetCard(
    name="rcsb",
    title="Protein chains of the Protein Data Bank by the criteria of PISCES (40 to 1,000 residues, backbone atoms)",
    matter="protein",
    views=("id", "sequence", "backbone"),
    strata=("length_bin",),
    lineage=("PDB", "UniProt"),  # sequences of the former are in the latter, but for few
    licence="CC0-1.0",
    citation=(
        "H. M. Berman, J. Westbrook, Z. Feng, G. Gilliland, T. N. Bhat, H. Weissig, I. N. Shindyalov, P. E. Bourne: "
        "The Protein Data Bank. Nucleic Acids Research 28, 235-242 (2000), doi:10.1093/nar/28.1.235; selected by "
        "G. Wang, R. L. Dunbrack: PISCES: a protein sequence culling server. Bioinformatics 19, 1589-1591 (2003), "
        "doi:10.1093/bioinformatics/btg224"
    ),
    source=(
        "a list of the PISCES server (cullpdb_pc70...) and the entries it names, as mmCIF files of the wwPDB archive; "
        "the manifest of a build names the digest of what it read"
    ),
    recipe="consilience dataset build rcsb --from FOLDER",
    selection=(
        "the list's chains solved by X-ray diffraction to 3.0 Angstrom or better with R of 0.25 or less, or by NMR, of "
        "40 to 1,000 residues, at most 70 % identical (by the list's name); breaks and disorder are allowed. Residues "
        "without N, CA, C or O are left out and counted in the column missing, as are those of the full sequence that "
        "were not seen; a chain that keeps fewer than 40 is left out. First model, first conformer; each is moved so "
        "that the mean of its CA lies at the origin; bins of length are 10 % wide, from 40 on"
    ),
)


class Wanted(NamedTuple):
    """A chain of the list."""

    entry: str
    chain: str

    @property
    def id(self) -> str:
        """Id such as ``1ABC_A``."""
        return f"{self.entry}_{self.chain}"


@recipe(CARD)
def build(card: DatasetCard, sources: Sources) -> Draft:
    """Rows ordered by id; positions of N, CA, C, O in Angstrom."""
    import pyarrow as pa

    from consilience.building.schemas import CHAINS

    hint = "Get a list of the PISCES server and the mmCIF files of its entries (wwPDB's rsync archive)"
    files = sources.files("PISCES list and mmCIF files", ["*cullpdb_*", "*.cif", "*.cif.gz"], hint=hint)
    wanted, dropped = selected(the_list(files.paths))
    entries = {path.name.split(".")[0].upper(): path for path in files.paths if ".cif" in path.name}
    schema = pa.schema([field for field in CHAINS if field.name != "secondary"] + [("missing", pa.uint16())])
    return Draft(
        schema, sorted(wanted), lambda one: row_of(one, entries.get(one.entry)), dropped, {"source": files.origin}
    )


def the_list(paths: Iterable[Path]) -> Path:
    """The one list among the files, by the name that the server gives it."""
    found = [path for path in paths if re.fullmatch(r"cullpdb_pc[0-9.]+_.*chains\d+(\.txt)?", path.name)]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise SourceError(f"expected one list named cullpdb_pc..._chains..., found {names}")
    identity = float(re.findall(r"_pc(\d+(?:\.\d+)?)_", found[0].name)[0])
    if identity > IDENTITY:
        raise SourceError(f"{found[0].name}: culled at {identity:g} % identity, expected at most {IDENTITY:g} %")
    return found[0]


def selected(path: Path) -> tuple[list[Wanted], dict[str, int]]:
    """Chains of a list that meet the criteria, and why others do not.

    Columns of a line: entry and chain in one word, length, method, resolution, R factor, free R factor.
    """
    wanted: dict[Wanted, None] = {}
    reasons = []
    for number, line in enumerate(path.read_text("ascii").splitlines()[1:], 2):
        words = line.split()
        if not words:
            continue
        if len(words) < 5 or len(words[0]) < 5 or not words[1].isdecimal():
            raise SourceError(f"{path.name}: line {number} is not one of a PISCES list: {line[:60]!r}")
        reason = fault(int(words[1]), words[2], words[3], words[4])
        reasons.append(reason)
        if reason is None:
            wanted[Wanted(words[0][:4].upper(), words[0][4:])] = None
    return list(wanted), tally(reasons)


def fault(length: int, method: str, resolution: str, r_factor: str) -> str | None:
    """Which criterion a line of the list fails, if any; NMR has neither resolution nor R factor."""
    if not SHORTEST <= length <= LONGEST:
        return f"not of {SHORTEST} to {LONGEST} residues"
    if method.upper().startswith("NMR"):
        return None
    if method.upper() != "XRAY":
        return "neither X-ray nor NMR"
    if not _at_most(resolution, RESOLUTION):
        return f"resolution beyond {RESOLUTION:g} Angstrom"
    return None if _at_most(r_factor, R_FACTOR) else f"R factor above {R_FACTOR:g}"


def _at_most(text: str, limit: float) -> bool:
    try:
        return float(text) <= limit
    except ValueError:  # NA
        return False


def row_of(one: Wanted, path: Path | None) -> dict[str, Any]:
    """One chain."""
    import gemmi

    from consilience.datasets.proteins import length_bin

    if path is None:
        raise DroppedError("no mmCIF file of the entry")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise SourceError(f"{path}: can't be read: {error}") from error
    structure.setup_entities()
    chain = structure[0].find_chain(one.chain) if len(structure) else None
    polymer = chain.get_polymer() if chain is not None else None
    if not polymer:
        raise DroppedError("no such chain in the entry, or no polymer")
    letters, positions, left_out = [], [], 0
    for residue in polymer.first_conformer():
        if not all(name in residue for name in BACKBONE):
            left_out += 1
            continue
        known = gemmi.find_tabulated_residue(residue.name)
        # A modified residue has the small letter of the one it was made of.
        letters.append(known.one_letter_code.upper().strip() or "X")
        positions.append([residue[name][0].pos.tolist() for name in BACKBONE])
    if len(letters) < SHORTEST:
        raise DroppedError(f"fewer than {SHORTEST} residues with a backbone")
    entity = structure.get_entity_of(polymer)
    whole = len(entity.full_sequence) if entity is not None else 0
    backbone = np.array(positions)
    return {
        "id": one.id,
        "sequence": "".join(letters),
        "backbone": (backbone - backbone[:, 1].mean(axis=0)).tolist(),
        "n_residues": len(letters),
        "length_bin": length_bin(len(letters)),
        "missing": max(whole - len(letters), left_out),
    }
