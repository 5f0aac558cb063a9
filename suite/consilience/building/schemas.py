"""Columns of the tables, one schema per kind of matter (DESIGN 3).

Nested fields are lists, whose values `Items` reads as numpy views; no field is ever empty.
"""

from __future__ import annotations

import pyarrow as pa

_TRIPLE = pa.list_(pa.float64(), 3)
_STRUCTURE = {
    "numbers": pa.list_(pa.uint8()),  # atomic numbers
    "positions": pa.list_(_TRIPLE),  # Angstrom
    "cell": pa.list_(_TRIPLE, 3),  # Angstrom, rows are lattice vectors; zeros where there is none
    "pbc": pa.list_(pa.bool_(), 3),
}
_ENERGY = {"energy": pa.float64()}  # eV
_STATE = {
    "charge": pa.int8(),  # elementary charges
    "spin": pa.uint8(),  # multiplicity 2S+1
    "formula": pa.string(),  # Hill
}
_SMALL = {"n_atoms": pa.uint8()}
_LARGE = {"n_atoms": pa.uint16()}
_ID = {"id": pa.string()}
_SMILES = {"smiles": pa.string()}  # empty where there is none

#: Molecules with energies, such as QM9's.
MOLECULES = pa.schema(
    _ID
    | _SMILES
    | _STRUCTURE
    | _ENERGY
    | _STATE
    | _SMALL
    | {"zero_point_energy": pa.float64(), "scaffold": pa.string()}
)
#: Crystals with formation energies.
CRYSTALS = pa.schema(
    _ID | _STRUCTURE | _ENERGY | _STATE | _SMALL | {"energy_per_atom": pa.float64(), "prototype": pa.string()}
)
#: Metal-organic frameworks.
FRAMEWORKS = pa.schema(_ID | _STRUCTURE | _STATE | _SMALL | {"metals": pa.string()})
LARGE_FRAMEWORKS = pa.schema(_ID | _STRUCTURE | _STATE | _LARGE | {"metals": pa.string()})
#: Chemical components of the Protein Data Bank.
COMPONENTS = pa.schema(_ID | _SMILES | _STRUCTURE | _STATE | _SMALL | {"scaffold": pa.string()})
LARGE_COMPONENTS = pa.schema(_ID | _SMILES | _STRUCTURE | _STATE | _LARGE | {"scaffold": pa.string()})
#: Crystals without energies, or with energies of some only (NaN elsewhere).
UNLABELLED_CRYSTALS = pa.schema(
    _ID
    | _STRUCTURE
    | _STATE
    | _LARGE
    | {"formation_energy_per_atom": pa.float64(), "prototype": pa.string(), "reduced_formula": pa.string()}
)
#: Structures with total energies, periodic or not, as electronic-structure data bases hold them.
STRUCTURES = pa.schema(_ID | _STRUCTURE | _ENERGY | _STATE | _LARGE)
#: Protein chains; `MATCHED_CHAINS` lie in groups of equal length and composition.
CHAINS = pa.schema(
    {
        "id": pa.string(),
        "sequence": pa.string(),  # one letter per residue
        "backbone": pa.list_(pa.list_(pa.list_(pa.float32(), 3), 4)),  # N, CA, C, O; Angstrom
        "secondary": pa.string(),  # one letter of DSSP per residue
        "n_residues": pa.uint16(),
        "length_bin": pa.string(),
    }
)
MATCHED_CHAINS = CHAINS.append(pa.field("matched_group", pa.string()))
