"""ANI-1x: torchani's own readers and `Sequential`; the index of `torchani.models.ANI1x` is empty in this wheel."""

from importlib.util import find_spec
from itertools import chain

import numpy as np
import torch
import torchani
from calls import Caught, run

HARTREE = 27.211386245988  # eV
folder = f"{find_spec('torchani').submodule_search_locations[0]}/resources/ani-1x_8x"
constants = torchani.neurochem.Constants(f"{folder}/rHCNO-5.2R_16-3.5A_a4-8.params")
ensemble = torchani.neurochem.load_model_ensemble(constants.species, f"{folder}/train", 8)
shift = torchani.neurochem.load_sae(f"{folder}/sae_linfit.dat")
model = torchani.nn.Sequential(torchani.AEVComputer(**constants), ensemble, shift).eval()
caught = [[Caught(member[symbol][-1]) for symbol in constants.species] for member in ensemble]
widths = [ensemble[0][symbol][-1].in_features for symbol in constants.species]


def call(atoms):
    for one in chain.from_iterable(caught):
        one.value = None
    species = constants.species_to_tensor(atoms.get_chemical_symbols())[None]
    energy = model((species, torch.tensor(atoms.positions, dtype=torch.float32)[None])).energies
    sums = [
        np.zeros(width) if one.value is None else one.value.detach().double().sum(dim=0).numpy()
        for member in caught
        for one, width in zip(member, widths, strict=True)
    ]
    return np.concatenate(sums) / len(atoms), energy.item() * HARTREE


run(call)
