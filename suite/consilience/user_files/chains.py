"""Protein structures in PDB and mmCIF files, through gemmi."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.checks import MalformedDataError

from .reading import Read, stem

if TYPE_CHECKING:
    import pyarrow as pa

#: The first three may hold other things too.
PROTEINS = (".pdb", ".ent", ".cif", ".mmcif")


def read_proteins(path: Path, files: list[Path] | None = None) -> Read:
    """Chains of the first model of each file; residues that lack one of N, CA, C, O are left out."""
    import gemmi

    ids: list[str] = []
    sequences: list[str] = []
    backbones: list[Any] = []
    dropped = 0
    for file in files or [path]:
        model = _structure_of(file)[0]
        for chain in model:
            letters, backbone = [], []
            for residue in chain.first_conformer():
                kind = gemmi.find_tabulated_residue(residue.name)
                if not kind.is_amino_acid():
                    continue
                atoms = [residue.find_atom(name, "*") for name in ("N", "CA", "C", "O")]
                if not all(atoms):
                    dropped += 1
                    continue
                letter = kind.one_letter_code.upper()
                letters.append(letter if letter.isalpha() else "X")
                backbone.append([atom.pos.tolist() for atom in atoms])
            if not letters:
                continue  # water, a ligand, nucleic acid
            if not np.isfinite(backbone).all():
                raise MalformedDataError(file, "a position is not finite", row=len(ids) + 1, column="backbone")
            ids.append(f"{stem(file)}_{chain.name}" if len(model) > 1 else stem(file))
            sequences.append("".join(letters))
            backbones.append(backbone)
    if not ids:
        raise MalformedDataError(path, "there are no protein chains with a backbone in it", column="backbone")
    selection = "every protein chain of the first model of each file"
    if dropped:
        selection += f"; {dropped} residues without one of N, CA, C, O were left out"
    return Read(chains_table(ids, sequences, backbones), "protein", ("id", "sequence", "backbone"), None, selection)


def chains_table(ids: list[Any], sequences: list[str], backbones: list[Any]) -> pa.Table:
    """Return the columns of chains, in the suite's schema."""
    import pyarrow as pa

    kind = pa.list_(pa.list_(pa.list_(pa.float32(), 3), 4))
    return pa.table(
        {"id": pa.array(ids, pa.string()), "sequence": pa.array(sequences), "backbone": pa.array(backbones, kind)}
    )


def _structure_of(path: Path) -> Any:
    import gemmi

    try:
        structure = gemmi.read_structure(str(path))
        structure[0]
    except (RuntimeError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise MalformedDataError(path, f"gemmi reads no structure: {error}") from error
    return structure


def is_protein(path: Path) -> bool:
    """Whether a PDB or CIF file holds amino acids; other structures of these formats go to ASE."""
    suffix = path.suffix.lower()
    if suffix not in PROTEINS:
        return False
    if suffix in (".cif", ".mmcif") and b"_atom_site." not in path.read_bytes():  # the dictionary of proteins
        return False
    import gemmi

    return any(
        gemmi.find_tabulated_residue(residue.name).is_amino_acid()
        for chain in _structure_of(path)[0]
        for residue in chain
    )
