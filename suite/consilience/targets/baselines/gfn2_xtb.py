# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.29.0", "tblite==0.8.0"]
# ///
"""GFN2-xTB: what a semi-empirical calculation says (Bannwarth et al. 2019, doi:10.1021/acs.jctc.8b01176).

Electronic structure without anything learned from data sets of structures: what a learned representation has in
common with these eleven numbers is chemistry that a tight-binding calculation knows too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, require_molecule

BOHR = 0.529177210903  # angstrom
HARTREE = 27.211386245988  # eV
#: H to Rn: what the method is parametrised for.
ELEMENTS = (*ELEMENTS_89[:83], "Po", "At", "Rn")


class Row(NamedTuple):
    """The features, in atomic units, so that all are of one order of magnitude. None depends on the orientation."""

    charge: float
    """Mean magnitude of the atomic partial charges (Mulliken)."""
    charge_rms: float
    """Root mean square of the partial charges."""
    valence: float
    """Mean over atoms of the sum of Wiberg bond orders."""
    bond_order: float
    """Mean over atoms of the largest bond order."""
    bond_order_square: float
    """Mean over atoms of the sum of squared bond orders."""
    polarity: float
    """Mean over atoms of the bond orders times the difference of charges across the bond."""
    energy: float
    """Total energy per atom."""
    energy_spread: float
    """Standard deviation of the energies of the atoms."""
    homo: float
    """Energy of the highest occupied orbital."""
    lumo: float
    """Energy of the lowest empty orbital."""
    dipole: float
    """Magnitude of the dipole moment about the centroid, per atom."""


@target(
    Card(
        name="gfn2-xtb",
        family="gfn2-xtb",
        modality="baseline",
        view="atoms",
        periodic=False,
        title="GFN2-xTB (charges, bond orders, orbital energies)",
        revision="tblite 0.8.0",
        parameters=0,
        dimension=len(Row._fields),
        layer="converged charges, bond orders, atomic and orbital energies, dipole moment",
        pooling="mean over atoms; frontier orbitals of the whole molecule",
        trained_on=(),
        elements=ELEMENTS,
        licence_code="LGPL-3.0-or-later",
        reference="10.1021/acs.jctc.8b01176",
        source="tblite==0.8.0",
        energy=True,
        charge="used",
        remark="With tblite's default accuracy a molecule of small gap converges to 2e-5 of its row.",
        corrections=(("charge", "ignored"), ("remark", None)),
        resources=Resources(memory_gib=2, batch_size=32),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; one calculation per molecule, with its charge and spin."""
    from tblite.interface import Calculator

    def calculate(atoms: Any) -> tuple[Row, float]:
        require_molecule(atoms)
        positions = (atoms.positions - atoms.positions.mean(axis=0)) / BOHR  # a charged molecule's dipole has an origin
        unpaired = int(atoms.info.get("spin", 1)) - 1
        calculator = Calculator("GFN2-xTB", atoms.numbers, positions, float(atoms.info.get("charge", 0)), unpaired)
        calculator.set("verbosity", 0)
        result = calculator.singlepoint()
        return _row(result), float(result["energy"]) * HARTREE

    def gather(results: list[Any]) -> tuple[Any, Any]:
        rows, energies = zip(*results, strict=True)
        return np.array(rows), np.array(energies)

    return embed_by_batch(calculate, gather, len(Row._fields), card.elements)


def _row(result: Any) -> Row:
    charges, energies = result["charges"], result["energies"]
    # Stored spin by spin (the sum first, then the difference), whatever the shape says: (atoms, atoms, spins).
    bonds = result["bond-orders"].reshape(-1, len(charges), len(charges))[0]
    orbitals, occupied = result["orbital-energies"], result["orbital-occupations"] > 0.5
    if occupied.all():
        raise ValueError("no empty orbital in the minimal basis")
    return Row(
        charge=np.abs(charges).mean(),
        charge_rms=np.sqrt((charges**2).mean()),
        valence=bonds.sum(axis=1).mean(),
        bond_order=bonds.max(axis=1).mean(),
        bond_order_square=(bonds**2).sum(axis=1).mean(),
        polarity=(bonds * np.abs(charges[:, None] - charges)).sum(axis=1).mean(),
        energy=energies.mean(),
        energy_spread=energies.std(),
        homo=orbitals[occupied].max(),
        lumo=orbitals[~occupied].min(),
        dipole=float(np.linalg.norm(result["dipole"])) / len(charges),
    )
