# /// script
# requires-python = ">=3.11"
# dependencies = ["matgl==2.0.6", "torch==2.13.0"]
#
# [tool.uv]
# override-dependencies = ["torch==2.13.0"]
# ///
"""TensorNet of MatGL, trained on MatPES: Cartesian tensors (Kaplan et al. 2025, doi:10.48550/arXiv.2503.04070).

The header holds MatGL at 2.0.6. MatGL 3 changed the direction of messages: it
reads these files without a warning, and forces are off by 0.9 instead of 0.12 eV/A (MPtrj frames, MatGL 4.1.2).
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89, embed_by_batch, mean_over_atoms
from consilience.targets.atoms._box import in_box

#: What the published models are called where MatGL fetches them.
NAMES = {
    "tensornet-matpes-pbe-v2025.1": "TensorNet-MatPES-PBE-v2025.1-PES",
    "tensornet-matpes-r2scan-v2025.1": "TensorNet-MatPES-r2SCAN-v2025.1-PES",
}
#: Digest of each published folder (:func:`consilience.weights.sha256_of`).
SHA256 = {
    "tensornet-matpes-pbe-v2025.1": "0011c5eeeb324a31db9920c57833c4f74792da29c01c7d0c35c76e25039cdff5",
    "tensornet-matpes-r2scan-v2025.1": "8977e08efc72fb8ab5362efbfb4ea06513715201aaed6a07d2990f2da6b325d6",
}
#: Class and version of the networks that the pinned MatGL computes as they were trained.
NETWORK = {"@class": "TensorNet", "@module": "matgl.models._tensornet_pyg", "@model_version": 1}
#: The published configuration, where it is not MatGL's default.
PUBLISHED = {"units": 128, "rbf_type": "SphericalBessel", "use_smooth": True, "is_intensive": False}


def _card(name: str, functional: str) -> Card:
    return Card(
        name=name,
        family="tensornet",
        modality="atoms",
        title=f"TensorNet MatPES-{functional} v2025.1",
        revision="v2025.1",
        parameters=837_378,
        dimension=128,
        layer="atom features from the norms of the tensors after the second block (input of the gated read-out)",
        pooling="mean over atoms",
        trained_on=(f"MatPES-{functional}",),
        level_of_theory=functional,
        elements=ELEMENTS_89,
        licence_code="BSD-3-Clause",
        licence_weights="BSD-3-Clause",
        reference="10.48550/arXiv.2503.04070",
        source=f"https://github.com/materialsvirtuallab/matgl/tree/main/pretrained_models/{NAMES[name]}",
        weights_sha256=SHA256[name],
        access="download",
        accepts="a folder with a TensorNet potential saved by MatGL 2 (model.pt, state.pt)",
        reads=("folder", "Hugging Face folder"),
        untrained=True,
        energy=True,
        resources=Resources(memory_gib=4, batch_size=32),
    )


@target(
    _card("tensornet-matpes-pbe-v2025.1", "PBE").with_corrections(parameters=738_048, total_parameters=837_378),
    _card("tensornet-matpes-r2scan-v2025.1", "r2SCAN").with_corrections(parameters=738_048, total_parameters=837_378),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    import torch

    with contextlib.redirect_stdout(sys.stderr):
        from matgl.ext._ase_pyg import Atoms2Graph
        from torch_geometric.data import Batch

        if weights.random:
            potential = _untrained(weights.seed)
        else:
            potential = _read(weights.file_or_published(lambda: _download(NAMES[card.name])))
    potential.calc_forces = potential.calc_stresses = False
    potential.to(device).eval().requires_grad_(False)
    elements = potential.model.element_types
    converter = Atoms2Graph(elements, potential.model.cutoff)
    caught: dict[str, Any] = {}
    potential.model.final_layer.register_forward_pre_hook(lambda _, inputs: caught.update(x=inputs[0].node_feat))

    def prepare(atoms: Any) -> Any:
        # MatGL takes whatever is not periodic in all directions for a molecule.
        graph, lattice, _ = converter.get_graph(in_box(atoms) if np.any(atoms.pbc) else atoms)
        return graph, lattice.reshape(3, 3)

    def forward(items: list[Any]) -> tuple[Any, Any]:
        batch = Batch.from_data_list([graph for graph, _ in items]).to(device)
        with torch.no_grad():
            energies = potential(batch, torch.stack([lattice for _, lattice in items]).to(device))[0]
        return mean_over_atoms(caught.pop("x"), batch.ptr.diff()), energies

    def save(path: Path) -> None:
        potential.save(path)

    # An edge holds a tensor for each of 128 channels: 2,048 atoms of a dense crystal would take gigabytes.
    return embed_by_batch(prepare, forward, potential.model.units, elements, save=save, max_atoms=512)


def _download(name: str) -> Path:
    """Fetch a published model with MatGL's own downloader; it keeps it in its own cache folder."""
    import matgl
    from matgl.config import MATGL_CACHE

    matgl.load_model(name)
    return Path(MATGL_CACHE) / name


def _read(folder: Path) -> Any:
    """Potential in a folder that MatGL saved.

    `matgl.load_model` would unpickle the files, import what they name and accept tensors that do not fit.
    """
    import torch
    from matgl.apps.pes import Potential
    from matgl.models import TensorNet

    try:
        arguments, state = (
            torch.load(folder / name, map_location="cpu", weights_only=True) for name in ("model.pt", "state.pt")
        )
    except (FileNotFoundError, NotADirectoryError, pickle.UnpicklingError) as error:
        raise ValueError(f"{folder.name} is not a folder with a potential saved by MatGL ({error})") from error
    described = arguments.pop("model", None)
    found = {key: described.get(key) for key in NETWORK} if isinstance(described, dict) else described
    if found != NETWORK:
        raise ValueError(f"{folder.name} holds {found}, this target reads {NETWORK}")
    potential = Potential(model=TensorNet(**described["init_args"]), **arguments)
    potential.load_state_dict(state, strict=True)
    return potential


def _untrained(seed: int) -> Any:
    """Potential of the published configuration with random weights, its energies unscaled."""
    import torch
    from matgl.apps.pes import Potential
    from matgl.models import TensorNet

    potential = Potential(model=TensorNet(element_types=ELEMENTS_89, **PUBLISHED))
    torch.manual_seed(seed)
    for module in potential.modules():  # again: MatGL makes the blocks in the order of a set, by chance
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.reset_parameters()
    return potential
