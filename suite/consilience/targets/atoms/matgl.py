# /// script
# requires-python = ">=3.11"
# dependencies = ["matgl==4.1.2", "torch==2.13.0"]
# ///
"""Potentials of MatGL trained on MatPES (Kaplan et al. 2025, doi:10.48550/arXiv.2503.04070): TensorNet, M3GNet, CHGNet.

Version 3 of the package corrected the direction of messages in TensorNet and M3GNet. Files written before are read
without complaint by later versions, which compute something else from them; here they are refused.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms
from consilience.targets.atoms._box import in_box

#: Card -> name of the published model.
MODELS = {
    f"{kind.lower()}-matpes-{theory.lower()}-{release}": f"{kind}-PES-MatPES-{theory}-{release}"
    for kind, release in (("TensorNet", "2025.2"), ("M3GNet", "2025.2"), ("CHGNet", "2025.2.10"))
    for theory in ("PBE", "r2SCAN")
}
FILES = ("model.pt", "state.pt", "model.json")
#: Arguments of the twins, where they are not the package's defaults.
TWINS: dict[str, dict[str, Any]] = {
    "TensorNet": {"is_intensive": False},
    "M3GNet": {"is_intensive": False, "use_smooth": True, "units": 128},
    "CHGNet": {
        "dim_atom_embedding": 128,
        "dim_bond_embedding": 128,
        "dim_angle_embedding": 128,
        "max_n": 63,
        "max_f": 32,
        "learn_basis": False,
        "num_blocks": 5,
        "atom_conv_hidden_dims": [128],
        "bond_conv_hidden_dims": [128],
        "bond_update_hidden_dims": [128],
        "final_hidden_dims": [128, 128],
        "normalization": "layer",
    },
}
#: What the cards of a kind say beside the rest. The sizes of the published TensorNet and M3GNet stand in their files.
FIELDS: dict[str, dict[str, Any]] = {
    "TensorNet": {"twin": "the package's default sizes (64 units, 2 blocks); the published ones were not looked up"},
    "M3GNet": {"twin": "the sizes of the release before (v2025.1); the published ones were not looked up"},
    "CHGNet": {
        "parameters": 2_725_441,
        "dimension": 128,
        "twin": "the configuration in the release for matgl 1, which comes to 2,743,042 parameters here",
    },
}


def _card(name: str, published: str) -> Card:
    kind, _, _, theory, release = published.split("-")
    return Card(
        name=name,
        family=kind.lower(),
        modality="atoms",
        title=f"{kind} MatPES-{theory} {release}",
        revision=release,
        layer="atom features after the last convolution (input of the read-out network)",
        pooling="mean over atoms",
        trained_on=(f"MatPES-{theory}",),
        level_of_theory=theory,
        elements=ELEMENTS_89,
        licence_code="BSD-3-Clause",
        reference="10.48550/arXiv.2503.04070",
        source=f"materialyze/{published} (Hugging Face)",
        access="download",
        accepts="a folder with a potential saved by MatGL 3 or 4 (model.json, model.pt, state.pt)",
        reads=("folder", "Hugging Face folder"),
        untrained=True,
        energy=True,
        resources=Resources(memory_gib=4, batch_size=16),
        **FIELDS[kind],
    )


@target(*(_card(name, published) for name, published in MODELS.items()))
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules are put into a box (so that partly periodic structures are told apart)."""
    import torch

    published = MODELS[card.name]
    with contextlib.redirect_stdout(sys.stderr):
        import matgl
        from matgl import models
        from matgl.apps.pes import Potential
        from matgl.ext.ase import Atoms2Graph
        from torch_geometric.data import Batch

        if weights.random:
            torch.manual_seed(weights.seed)
            kind = published.split("-")[0]
            potential = Potential(getattr(models, kind)(element_types=ELEMENTS_89, **TWINS[kind]))
        else:
            folder = weights.file_or_published(lambda: _download(published))
            _refuse_old_convention(folder)
            potential = matgl.load_model(folder)
    network = potential.model
    if not isinstance(potential, Potential) or network.is_intensive:
        raise ValueError("the folder holds a model of another property, not a potential")
    potential.calc_forces = potential.calc_stresses = potential.calc_hessian = False
    potential.to(device).eval().requires_grad_(False)
    converter = Atoms2Graph(network.element_types, network.cutoff)
    caught: dict[str, Any] = {}
    network.final_layer.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0]))

    def prepare(atoms: Any) -> Any:
        return converter.get_graph(in_box(atoms))[:2]

    def forward(pairs: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list([graph for graph, _ in pairs]).to(device)
        lattices = torch.cat([lattice for _, lattice in pairs]).to(device)
        energies = potential(batch, lattices)[0]
        return mean_over_atoms(caught.pop("x"), batch.ptr.diff()), energies.reshape(-1)

    width = next(weight.shape[1] for weight in network.final_layer.parameters() if weight.dim() == 2)
    return embed_by_batch(prepare, forward, width, network.element_types, save=potential.save, max_atoms=512)


def _download(name: str) -> Path:
    """Fetch a published model into matgl's own cache, unless it is there."""
    from huggingface_hub import snapshot_download
    from matgl.config import MATGL_CACHE

    return Path(snapshot_download(f"materialyze/{name}", allow_patterns=list(FILES), cache_dir=MATGL_CACHE))


def _refuse_old_convention(folder: Path) -> None:
    """Refuse TensorNet and M3GNet written before matgl 3.

    TensorNet's version was raised with the correction. M3GNet's was not; files of matgl 1 lack an argument that came
    later, and those of matgl 2 name a module that there was in no other version.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder.name} is not a folder of matgl: {', '.join(missing)} missing")
    described = json.loads((folder / "model.json").read_text("utf-8"))
    model = described["kwargs"].get("model", {})
    if model.get("@class") == "TensorNet" and model["@model_version"] < 2:
        raise ValueError(
            f"{folder.name}: a TensorNet of matgl 2 or earlier, which this version would compute wrongly; "
            "the adapter tensornet-matpes-pbe-v2025.1 (matgl 2) reads it"
        )
    first = "dropout" not in model.get("init_args", {})
    second = described["@module"] == "matgl.apps._pes_dgl" and model.get("@module") == "matgl.models._m3gnet"
    if model.get("@class") == "M3GNet" and (first or second):
        raise ValueError(f"{folder.name}: an M3GNet of matgl 2 or earlier, which this version would compute wrongly")
