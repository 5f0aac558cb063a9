"""GFN2-xTB: tblite's calculator of ASE for the energy, the charges and the dipole; its results for the rest."""

import numpy as np
from ase.units import Bohr, Hartree
from calls import run
from tblite.ase import TBLite


def call(atoms):
    molecule = atoms.copy()
    molecule.positions -= molecule.positions.mean(axis=0)  # a dipole of an ion is about its middle
    molecule.calc = TBLite(method="GFN2-xTB", charge=atoms.info["charge"], multiplicity=atoms.info["spin"], verbosity=0)
    energy = molecule.get_potential_energy()
    charges = molecule.get_charges()
    dipole = np.linalg.norm(molecule.get_dipole_moment()) / Bohr
    found = molecule.calc._res.dict()
    bonds = found["bond-orders"]
    bonds = bonds if bonds.ndim == 2 else bonds.reshape(-1, len(atoms), len(atoms))[0]  # both spins together
    levels, occupied = found["orbital-energies"], found["orbital-occupations"] > 0.5
    atomic = found["energies"]
    row = [
        np.abs(charges).mean(),
        np.sqrt((charges**2).mean()),
        bonds.sum(axis=1).mean(),
        bonds.max(axis=1).mean(),
        (bonds**2).sum(axis=1).mean(),
        (bonds * np.abs(charges[:, None] - charges)).sum(axis=1).mean(),
        energy / Hartree / len(atoms),
        atomic.std(),
        levels[occupied].max(),
        levels[~occupied].min(),
        dipole / len(atoms),
    ]
    return row, energy


run(call)
