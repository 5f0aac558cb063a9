"""ADMET-AI: one of its Chemprop models, loaded and fed as `ADMETModel` does; what is aggregated is caught."""

from importlib.util import find_spec

import torch
from calls import CARD, Caught, run
from chemprop.data import MoleculeDatapoint, MoleculeDataset
from chemprop.data.dataloader import build_dataloader
from chemprop.models import load_model
from rdkit import Chem

package = find_spec("admet_ai").submodule_search_locations[0]
folder = f"{package}/resources/models/{CARD.replace('-ai-', '_')}"
model = load_model(f"{folder}/model_0.pt", multicomponent=False).eval()
caught = Caught(model.agg)


def call(smiles):
    data = MoleculeDataset(data=[MoleculeDatapoint(mol=Chem.MolFromSmiles(smiles))])
    (batch,) = build_dataloader(dataset=data, batch_size=1, num_workers=0, shuffle=False)
    with torch.no_grad():
        model(batch.bmg)
    return caught.mean()


run(call)
