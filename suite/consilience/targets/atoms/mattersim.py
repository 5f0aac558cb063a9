# /// script
# requires-python = ">=3.11"
# dependencies = ["mattersim==1.2.3", "setuptools==80.9.0", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = [
#     "torch==2.13.0",
#     "torchvision ; sys_platform == 'never'",
#     "torchaudio ; sys_platform == 'never'",
#     "atomate2 ; sys_platform == 'never'",
#     "azure-identity ; sys_platform == 'never'",
#     "azure-storage-blob ; sys_platform == 'never'",
#     "deltalake ; sys_platform == 'never'",
#     "emmet-core ; sys_platform == 'never'",
#     "mp-api ; sys_platform == 'never'",
#     "phono3py ; sys_platform == 'never'",
#     "phonopy ; sys_platform == 'never'",
#     "seekpath ; sys_platform == 'never'",
#     "wandb ; sys_platform == 'never'",
# ]
# ///
"""MatterSim: M3GNet trained across temperatures and pressures (Yang et al. 2024, doi:10.48550/arXiv.2405.04967).

What the package needs for workflows and downloads of other kinds is left out; torchvision of the package index does
not go with every build of torch.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms, read_checkpoint
from consilience.targets.atoms._box import in_box

#: File of each model, and the settings with which its parameter count comes out as published.
MODELS = {
    "mattersim-v1-1m": ("mattersim-v1.0.0-1M.pth", {"num_blocks": 3, "units": 128}),
    "mattersim-v1-5m": ("mattersim-v1.0.0-5M.pth", {"num_blocks": 4, "units": 256}),
}
#: Settings that both share.
SHARED = {"max_l": 4, "max_n": 4, "cutoff": 5.0, "threebody_cutoff": 4.0, "max_z": 94}
#: Tables that follow from the settings; the published files do not hold all of them.
TABLES = ("rbf.", "sbf.")


def _card(name: str, title: str, dimension: int, parameters: int) -> Card:
    return Card(
        name=name,
        family="mattersim",
        modality="atoms",
        title=title,
        revision="v1.0.0",
        parameters=parameters,
        dimension=dimension,
        layer="atom features after the last block (input of the read-out network)",
        pooling="mean over atoms",
        trained_on=("MatterSim",),
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.48550/arXiv.2405.04967",
        source=f"microsoft/mattersim on GitHub: pretrained_models/{MODELS[name][0]}",
        access="download",
        accepts="checkpoint of mattersim (.pth: a dict with `model_name`, `model_args` and `model`)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        energy=True,
        resources=Resources(memory_gib=4, batch_size=16),
    )


@target(
    _card("mattersim-v1-1m", "MatterSim v1.0.0 1M", 128, 890_034),
    _card("mattersim-v1-5m", "MatterSim v1.0.0 5M", 256, 4_548_930),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules are put into a box (the neighbour search is periodic)."""
    import torch

    with contextlib.redirect_stdout(sys.stderr):
        from mattersim.datasets.utils.convertor import GraphConvertor
        from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
        from mattersim.forcefield.potential import batch_to_dict
        from torch_geometric.data import Batch

    if weights.random:
        torch.manual_seed(weights.seed)
        model = M3Gnet(device=device, **SHARED, **MODELS[card.name][1])
    else:
        checkpoint = read_checkpoint(weights, lambda: _download(MODELS[card.name][0]))
        if checkpoint.get("model_name") != "m3gnet":
            raise ValueError(f"a MatterSim checkpoint of kind {checkpoint.get('model_name')!r}, expected 'm3gnet'")
        model = M3Gnet(device=device, **checkpoint["model_args"])
        missing, unexpected = model.load_state_dict(checkpoint["model"], strict=False)
        missing = [key for key in missing if not key.startswith(TABLES)]
        if missing or unexpected:  # the package would go on with random weights
            raise ValueError(f"the checkpoint lacks {missing} and holds {unexpected} beside the model's weights")
    model.to(device).eval().requires_grad_(False)
    settings = model.model_args
    converter = GraphConvertor("m3gnet", settings["cutoff"], True, settings["threebody_cutoff"])
    caught: dict[str, Any] = {}
    model.final.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0]))

    def prepare(atoms: Any) -> Any:
        return converter.convert(in_box(atoms).copy())  # which moves the atoms into the cell

    def forward(graphs: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list(graphs)
        with torch.no_grad():
            energies = model(batch_to_dict(batch, device=device))
        return mean_over_atoms(caught.pop("x"), batch.num_atoms.to(device)), energies

    def save(path: Path) -> None:
        torch.save({"model_name": "m3gnet", "model_args": settings, "model": model.state_dict()}, path)

    return embed_by_batch(prepare, forward, model.final.g[0].linear.in_features, card.elements, save=save)


def _download(file: str) -> Path:
    """Fetch a published checkpoint into mattersim's own folder, unless it is there."""
    from mattersim.utils.download_utils import download_checkpoint

    folder = Path.home() / ".local/mattersim/pretrained_models"
    if not (folder / file).is_file():
        download_checkpoint(file, save_folder=str(folder))
    return folder / file
