# /// script
# requires-python = ">=3.11"
# dependencies = ["ase==3.26.0", "torch==2.13.0", "torch-geometric==2.7.0", "torchmd-net==3.1.0"]
# ///
"""Geom2Vec: equivariant networks pretrained by denoising (Pengmei et al. 2024, doi:10.48550/arXiv.2409.19838)."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, mean_over_atoms, require_molecule

COMMIT = "371d642ec1061664f16e49fcac702d07fc8d0b51"
URL = f"https://github.com/dinner-group/geom2vec/raw/{COMMIT}/checkpoints"
#: The elements of OrbNet Denali; the embeddings of all others are as they were initialised.
ELEMENTS = ("H", "Li", "B", "C", "N", "O", "F", "Na", "Mg", "Si", "P", "S", "Cl", "K", "Ca", "Br", "I")
#: Neighbours of an atom, itself included: the cap of the training runs, which took them in the order of a list.
#: Here the nearest are taken; the two agree for up to 32 atoms within the cutoff.
MOST_NEIGHBOURS = 32
#: The part of a checkpoint that makes the atoms' features; the rest predicts the noise.
PART = "representation_model."


class Sizes(NamedTuple):
    """What the tensors of a checkpoint say about its network."""

    width: int
    layers: int
    radial: int
    cutoff: float


#: The largest published network of each architecture that was trained on Denali, and its checkpoint.
PUBLISHED = {
    "visnet": ("visnet_l6_h256_rbf64_r75.pth", Sizes(256, 6, 64, 7.5)),
    "et": ("et_l6_h256_rbf64_r75.pth", Sizes(256, 6, 64, 7.5)),
    "tensornet": ("tensornet_l3_h256_rbf32_r5.pth", Sizes(256, 3, 32, 5.0)),
}
#: Where the layers and the output of each architecture are in its checkpoint.
LAYERS = {"visnet": "vis_mp_layers.", "et": "attention_layers.", "tensornet": "layers."}
OUTPUT = {"visnet": "out_norm.bias", "et": "out_norm.bias", "tensornet": "linear.bias"}


def _card(architecture: str, title: str, parameters: int, layer: str, pooling: str = "mean") -> Card:
    file = PUBLISHED[architecture][0]
    return Card(
        name=f"geom2vec-{architecture}" + ("" if pooling == "mean" else f"-{pooling}"),
        family="geom2vec",
        modality="atoms",
        title=f"Geom2Vec {title}, width 256" + ("" if pooling == "mean" else f", {pooling} over atoms"),
        revision=COMMIT,
        parameters=parameters,
        dimension=256,
        layer=layer,
        pooling=f"{pooling} over atoms",
        trained_on=("OrbNet Denali",),
        level_of_theory="none: self-supervised denoising of conformations",
        elements=ELEMENTS,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.48550/arXiv.2409.19838",
        source=f"{URL}/{file}",
        access="download",
        accepts=f"a Geom2Vec checkpoint of this architecture (.pth), of any width and depth, such as {file}",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        remark="The sizes that the models' authors publish range from width 64 to 256. arXiv:2512.03750 lists Geom2Vec "
        "with 5,000,000 parameters without naming a file; ET of width 256 is the nearest.",
        resources=Resources(memory_gib=4, batch_size=32),
    )


VISNET = ("ViSNet", 6_332_672, "scalar atom features after the sixth layer, normalised")


@target(
    _card("visnet", *VISNET),
    _card("visnet", *VISNET, pooling="sum"),
    _card("et", "TorchMD-ET", 4_766_208, "scalar atom features after the sixth attention layer, normalised"),
    _card("tensornet", "TensorNet", 3_892_224, "atom features from the norms of the tensors after the third layer"),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules only, their charge is not an input."""
    import torch

    architecture = card.name.split("-")[1]
    file, sizes = PUBLISHED[architecture]
    state = None
    if not weights.random:
        path = weights.file_or_published(lambda: _download(file))
        state = _representation(torch.load(path, map_location="cpu", weights_only=True), architecture, path)
        sizes = _sizes(state, architecture)
    torch.manual_seed(weights.seed)
    with contextlib.redirect_stdout(sys.stderr):
        model = _build(architecture, sizes)
    if state is not None:
        model.load_state_dict(state, strict=True)
    # ViSNet divides vectors by the spread of their norms. Where symmetry makes them vanish (CH4, SiF4), what is left
    # in single precision is rounding noise, divided by itself: rotation moved such rows by up to 40 %. In double
    # precision the noise lies below the model's own threshold for zero.
    model.to(device).double().eval().requires_grad_(False)

    def prepare(atoms: Any) -> Any:
        require_molecule(atoms)
        return torch.tensor(atoms.numbers, dtype=torch.long), torch.tensor(atoms.positions, dtype=torch.float64)

    def forward(molecules: list[Any]) -> tuple[Any, Any]:
        counts = torch.tensor([len(numbers) for numbers, _ in molecules], device=device)
        numbers, positions = (torch.cat(parts).to(device) for parts in zip(*molecules, strict=True))
        with torch.no_grad():
            per_atom = model(numbers, positions, torch.arange(len(molecules), device=device).repeat_interleave(counts))[
                0
            ]
        rows = mean_over_atoms(per_atom, counts)
        return rows * counts[:, None] if card.pooling == "sum over atoms" else rows, None

    def save(path: Path) -> None:
        now = {key: value.float().cpu() for key, value in model.state_dict().items()}
        if architecture == "tensornet":
            now = _regroup(now, 3)
        torch.save({PART + key: value for key, value in now.items()}, path)

    # An edge of TensorNet holds a tensor for each channel, in double precision.
    return embed_by_batch(prepare, forward, sizes.width, card.elements, save=save, max_atoms=512)


def _download(file: str) -> Path:
    """Fetch a published checkpoint into torch's own cache."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / "geom2vec" / COMMIT[:7] / file
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(f"{URL}/{file}", str(path), progress=False)
    return path


def _representation(checkpoint: Any, architecture: str, path: Path) -> dict[str, Any]:
    """Tensors of a checkpoint that make the atoms' features, as the packages of the header name and order them."""
    keys = checkpoint if isinstance(checkpoint, dict) else ()
    state = {key.removeprefix(PART): checkpoint[key] for key in keys if str(key).startswith(PART)}
    if not any(key.startswith(LAYERS[architecture]) for key in state):
        raise ValueError(f"{path.name} is no Geom2Vec checkpoint of a {architecture} ({PART}{LAYERS[architecture]}*)")
    return _regroup(state, len(state[OUTPUT["tensornet"]])) if architecture == "tensornet" else state


def _regroup(state: dict[str, Any], rows: int) -> dict[str, Any]:
    """Exchange the two orders of TensorNet's scalar heads; `rows` is how many rows of blocks they are in now.

    The checkpoints, like torchmd-net before 3.0, hold a head's outputs as (width, 3), torchmd-net 3 as (3, width).
    Nothing but the numbers tells the two apart: read in the wrong order, a checkpoint loads and is nonsense.
    """
    turned = dict(state)
    for key, value in state.items():
        if "linears_scalar.2." in key or ("tensor_embedding." in key and "linears_scalar.1." in key):
            turned[key] = value.reshape(rows, -1, *value.shape[1:]).transpose(0, 1).reshape(value.shape)
    return turned


def _sizes(state: dict[str, Any], architecture: str) -> Sizes:
    """Sizes of the network that `state` belongs to."""
    start = LAYERS[architecture]
    layers = {key.removeprefix(start).split(".")[0] for key in state if key.startswith(start)}
    means = state["distance_expansion.means"]  # of the radial functions, from exp(-cutoff) to 1
    return Sizes(len(state[OUTPUT[architecture]]), len(layers), len(means), round(-math.log(float(means[0])), 3))


def _build(architecture: str, sizes: Sizes) -> Any:
    """Build the network with the settings that all published checkpoints share."""
    import torch

    shared = {"hidden_channels": sizes.width, "num_layers": sizes.layers, "num_rbf": sizes.radial}
    model: Any
    if architecture == "visnet":
        from torch_geometric.nn.models.visnet import ViSNetBlock

        model = ViSNetBlock(**shared, cutoff=sizes.cutoff, lmax=1, vecnorm_type="max_min", trainable_vecnorm=True)
    elif architecture == "et":
        from torchmdnet.models.torchmd_et import TorchMD_ET

        settings = {"trainable_rbf": False, "neighbor_embedding": False, "num_heads": 8, "max_z": 100}
        model = TorchMD_ET(**shared, cutoff_upper=sizes.cutoff, **settings)
    else:
        from torchmdnet.models.tensornet import TensorNet

        settings = {"trainable_rbf": False, "static_shapes": False, "max_z": 128}
        model = TensorNet(**shared, cutoff_upper=sizes.cutoff, **settings)

    class Neighbours(torch.nn.Module):
        """The nearest atoms of each atom, itself included, in place of a compiled neighbour list."""

        def forward(self, positions: Any, batch: Any, box: Any = None) -> tuple[Any, Any, Any]:
            distances = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
            distances = distances.masked_fill(batch[:, None] != batch[None], math.inf)
            nearest, source = distances.topk(min(MOST_NEIGHBOURS, len(positions)), dim=1, largest=False)
            within = nearest < sizes.cutoff
            receiver = torch.arange(len(positions), device=positions.device)[:, None].expand_as(source)[within]
            source = source[within]
            vectors = positions[source] - positions[receiver]
            return torch.stack([source, receiver]), vectors.norm(dim=1), vectors

    model.distance = Neighbours()
    return model
