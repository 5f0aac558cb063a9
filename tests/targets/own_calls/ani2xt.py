"""ANI-2xt: Auto3D's `ANI2xt`; what the last layer of each element's network is given is caught."""

import numpy as np
import torch
from Auto3D.batch_opt.ANI2xt_no_rep import ANI2xt
from calls import Caught, run

model = ANI2xt(torch.device("cpu"), periodic_table_index=True).eval()
# In the order of the package: H C N O F S Cl.
caught = [Caught(network[-1]) for network in model.model[1].values()]
widths = [network[-1].in_features for network in model.model[1].values()]


def call(atoms):
    for one in caught:
        one.value = None  # networks of elements that lack are not called
    species = torch.tensor(atoms.numbers, dtype=torch.long)[None]
    energy = model(species, torch.tensor(atoms.positions, dtype=torch.float32)[None])  # eV
    sums = [
        np.zeros(width) if one.value is None else one.value.detach().double().sum(dim=0).numpy()
        for one, width in zip(caught, widths, strict=True)
    ]
    return np.concatenate(sums) / len(atoms), energy.item()


run(call)
