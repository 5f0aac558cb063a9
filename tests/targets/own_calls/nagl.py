"""OpenFF NAGL: the published network from its file, on features made by RDKit.

The package openff-nagl cannot be installed with pip. Its layers are DGL's SAGEConv with a mean over neighbours, written
here as matrices; formal charges are averaged over RDKit's own resonance forms instead of NAGL's.
"""

import pickle
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from calls import run
from rdkit import Chem

ELEMENTS = ("C", "O", "H", "N", "S", "F", "Br", "Cl", "I", "P")


class Anything(dict):
    """Stands for a class of the package: the file's settings, which are not looked at."""

    def __init__(self, *args, **more):
        super().__init__()

    def __setstate__(self, state):
        pass

    def append(self, value):
        pass


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return super().find_class(module, name) if module.split(".")[0] in ("torch", "collections") else Anything


foreign: Any = ModuleType("foreign")
foreign.Unpickler, foreign.load, foreign.__name__ = Unpickler, pickle.load, "pickle"
sys.modules["foreign"] = foreign
package = find_spec("openff.nagl_models").submodule_search_locations[0]
path = f"{package}/models/am1bcc/openff-gnn-am1bcc-1.0.0.pt"
state = torch.load(path, map_location="cpu", weights_only=False, pickle_module=foreign)["state_dict"]
layers = [
    {key.split(f"gcn_layers.{i}.")[1]: value for key, value in state.items() if f"gcn_layers.{i}." in key}
    for i in range(6)
]


def charges(molecule):
    """Formal charges, averaged over resonance forms."""
    forms = list(Chem.ResonanceMolSupplier(molecule, Chem.KEKULE_ALL)) or [molecule]
    return np.mean([[atom.GetFormalCharge() for atom in form.GetAtoms()] for form in forms], axis=0)


def call(smiles):
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    charge, rings = charges(molecule), molecule.GetRingInfo()
    features = []
    for atom in molecule.GetAtoms():
        row = [0.0] * 22
        row[ELEMENTS.index(atom.GetSymbol())] = 1.0
        row[10 + atom.GetDegree()] = 1.0
        row[17] = charge[atom.GetIdx()]
        row[18:] = [float(rings.IsAtomInRingOfSize(atom.GetIdx(), size)) for size in (3, 4, 5, 6)]
        features.append(row)
    adjacency = torch.tensor(Chem.GetAdjacencyMatrix(molecule), dtype=torch.float32)
    mean = adjacency / adjacency.sum(dim=1, keepdim=True).clamp(min=1)
    h = torch.tensor(features, dtype=torch.float32)
    with torch.no_grad():
        for layer in layers:
            own = h @ layer["fc_self.weight"].T + layer["fc_self.bias"]
            h = torch.relu(own + mean @ h @ layer["fc_neigh.weight"].T)
    return h.double().mean(dim=0).numpy()


run(call)
