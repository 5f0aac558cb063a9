"""MEGNet: `MEGNetModel.from_file` and `predict_structure`; what the readout of atoms is given is computed beside."""

import os

import numpy as np
import tensorflow as tf
from calls import CARD, boxed, run
from megnet.models import MEGNetModel
from pymatgen.io.ase import AseAtomsAdaptor

FILES = {
    "megnet-formation-energy": "mp-2019.4.1/formation_energy.hdf5",
    "megnet-band-gap": "mp-2018.6.1/band_gap_regression.hdf5",
    "megnet-fermi-energy": "mp-2019.4.1/efermi.hdf5",
    "megnet-bulk-modulus": "mp-2019.4.1/log10K.hdf5",
    "megnet-shear-modulus": "mp-2019.4.1/log10G.hdf5",
}
model = MEGNetModel.from_file(f"{os.environ['CONSILIENCE_CACHE']}/sdists/megnet-1.3.2/mvl_models/{FILES[CARD]}")
sets = [layer for layer in model.model.layers if type(layer).__name__ == "Set2Set"]
# Atoms are set first, then bonds; both have rows of 32.
states = tf.keras.Model(model.model.inputs, sets[0].input[0])


def call(atoms):
    structure = AseAtomsAdaptor.get_structure(boxed(atoms))
    graph = model.graph_converter.convert(structure)
    rows = states.predict(model.graph_converter.graph_to_input(graph), verbose=False)[0]
    assert len(rows) == len(atoms)
    return rows.astype(np.float64).mean(axis=0), model.predict_structure(structure).item() * len(atoms)


run(call)
