"""Collect the properties of docs/studies/usefulness.md, one CSV file a data set, from the data sets' own sources.

Energies are eV per atom, moduli GPa, orbital energies eV; an empty cell is a value that the source does not state.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping
from pathlib import Path

from consilience.building.sources import Sources
from consilience.cache import cache_dir
from consilience.datasets.items import open_dataset
from consilience.datasets.mp import ARCHIVE
from consilience.datasets.mp import SHA256 as ARCHIVE_SHA256
from consilience.datasets.mp import records as tables_of
from consilience.datasets.qm9 import HARTREE, SHA256, WHEEL
from consilience.datasets.qm9 import records as molecules

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "studies" / "usefulness"
#: Column of qm9pack, factor, and whether the value is of the whole molecule and divided by its atoms.
QM9 = {
    "dipole_debye": ("Dipole_debye", 1.0, False),
    "polarizability_bohr3": ("Polarizability_bohr3", 1.0, False),
    "homo_ev": ("HOMO_au", HARTREE, False),
    "lumo_ev": ("LUMO_au", HARTREE, False),
    "gap_ev": ("HOMO_LUMO_gap_au", HARTREE, False),
    "r2_bohr2": ("R2_bohr2", 1.0, False),
    "zpve_ev_atom": ("ZPVE_au", HARTREE, True),
    "u0_ev_atom": ("InternalEnergy_0K_au", HARTREE, True),
    "u298_ev_atom": ("InternalEnergy_298K_au", HARTREE, True),
    "h298_ev_atom": ("Enthalphy_298K_au", HARTREE, True),
    "g298_ev_atom": ("GibbsFreeEnergy_298K_au", HARTREE, True),
    "cv_cal_mol_k": ("Heatcapacity_Cv_cal_mol_K", 1.0, False),
}
#: Table of matminer, column, and whether the logarithm is taken.
MP = {
    "formation_energy_ev_atom": ("flla_2015", "formation_energy_per_atom", False),
    "band_gap_ev": ("dielectric_constant", "band_gap", False),
    "log_refractive_index": ("dielectric_constant", "n", True),
    "log_bulk_modulus_gpa": ("elastic_tensor", "K_VRH", True),
    "log_shear_modulus_gpa": ("elastic_tensor", "G_VRH", True),
}
#: Fewer values than this tell nothing.
LEAST = 100


def of_qm9(sources: Sources) -> dict[str, dict[str, float]]:
    """Properties of each molecule of QM9, by id."""
    found = {}
    for record in molecules(sources.package(WHEEL, SHA256)):
        atoms = int(record["N_atoms"])
        found[record["XYZ_file"].removesuffix(".xyz")] = {
            name: float(record[column]) * factor / (atoms if whole else 1)
            for name, (column, factor, whole) in QM9.items()
        }
    return found


def of_mp(sources: Sources) -> dict[str, dict[str, float]]:
    """Properties of each crystal, by id."""
    archive = sources.package(ARCHIVE, ARCHIVE_SHA256, wheel=False)
    found: dict[str, dict[str, float]] = {}
    for name, (table, column, logarithm) in MP.items():
        for record in tables_of(archive, table):
            value = float(record[column] or "nan")
            if logarithm:
                value = math.log(value) if value > 0 else math.nan
            found.setdefault(record["material_id"], {})[name] = value
    return found


def write(dataset: str, found: Mapping[str, Mapping[str, float]]) -> None:
    """Write the properties of a data set's items."""
    ids = open_dataset(dataset).ids
    names = [
        name
        for name in (QM9 if "qm9" in dataset else MP)
        if sum(math.isfinite(found.get(one, {}).get(name, math.nan)) for one in ids) >= LEAST
    ]
    with (FOLDER / f"{dataset}.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", *names])
        for one in ids:
            values = [found.get(one, {}).get(name, math.nan) for name in names]
            table.writerow([one, *(f"{value:.6g}" if math.isfinite(value) else "" for value in values)])
    print(f"{dataset}: {', '.join(names)}")


def main() -> None:
    """Write all tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    FOLDER.mkdir(exist_ok=True)
    sources = Sources(cache_dir() / "sources", tell=print)
    qm9, mp = of_qm9(sources), of_mp(sources)
    for dataset in ("qm9-1k", "qm9-isomers-1k", "confirmation-qm9"):
        write(dataset, qm9)
    for dataset in ("mp-1k", "mp-polymorphs", "mp-prototypes-1k", "confirmation-mp"):
        write(dataset, mp)


if __name__ == "__main__":
    main()
