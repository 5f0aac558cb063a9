"""AIMNet2: the TorchScript file, called as Auto3D does: coordinates, numbers, total charge."""

from importlib.util import find_spec

import torch
from calls import run

folder = find_spec("Auto3D").submodule_search_locations[0]
model = torch.jit.load(f"{folder}/models/aimnet2_wb97m-d3_0.jpt", map_location="cpu")


def call(atoms):
    out = model(
        {
            "coord": torch.tensor(atoms.positions, dtype=torch.float32)[None],
            "numbers": torch.tensor(atoms.numbers, dtype=torch.long)[None],
            "charge": torch.tensor([atoms.info["charge"]], dtype=torch.float32),
        }
    )
    return out["aim"][0].detach().double().mean(dim=0).numpy(), out["energy"].item()


run(call)
