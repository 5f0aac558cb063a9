"""SOAP: dscribe's descriptor of each atom, two settings side by side, averaged here."""

import numpy as np
from calls import run
from dscribe.descriptors import SOAP

SETTINGS = (
    {"n_max": 3, "l_max": 0, "compression": {"mode": "mu1nu1", "species_weighting": None}},
    {"n_max": 6, "l_max": 5, "compression": {"mode": "mu2", "species_weighting": None}},
)


def call(atoms):
    inside = atoms.copy()
    inside.wrap()
    rows = []
    for settings in SETTINGS:
        soap = SOAP(
            r_cut=5.0, sigma=0.5, species=range(1, 97), periodic=bool(atoms.pbc.all()), average="off", **settings
        )
        rows.append(soap.create(inside).mean(axis=0))
    return np.concatenate(rows)


run(call)
