# /// script
# requires-python = ">=3.11"
# dependencies = ["upet==0.3.1", "torch==2.13.0"]
# ///
"""PET, the point-edge transformer: rotational symmetry is learned from data, not built in.

Architecture: Pozdnyakov and Ceriotti 2023, doi:10.48550/arXiv.2305.19302. PET-MAD: Mazitov et al. 2025,
doi:10.1038/s41467-025-65662-7; PET-MAD 1.6: Malosso et al. 2026, doi:10.48550/arXiv.2603.02089; the others:
Bigi et al. 2026, doi:10.48550/arXiv.2601.16195.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import (
    ELEMENTS_89,
    embed_by_batch,
    mean_over_atoms,
    require_molecule,
    require_trust,
)
from consilience.targets.atoms._rotations import mean_over_rotations

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY = "lab-cosmo/upet"
#: Width d (of edges; nodes have 4 d), layers, attention layers, cutoff in angstrom, adaptive number of neighbours.
SIZES = {
    "xs": (128, 2, 1, 7.5, 8),
    "s": (256, 3, 1, 8.0, 16),
    "m": (384, 3, 2, 8.5, 24),
    "l": (512, 4, 2, 9.0, 32),
    "xl": (640, 5, 3, 10.0, 40),
}
#: Change under rotation, largest of the twins of each size (20 or more molecules each).
DEVIATIONS = {"xs": 0.06, "s": 0.12, "m": 0.07, "l": 0.06, "xl": 0.06}
#: Parameters of each size, as the package's documentation rounds them (PET-OMat and its kin of version 1).
PARAMETERS = {"xs": 4_500_000, "s": 25_900_000, "m": 109_000_000, "l": 255_000_000, "xl": 730_000_000}

H_TO_BI = ELEMENTS_89[:83]
#: H to Rn but At.
ELEMENTS_85 = (*H_TO_BI, "Po", "Rn")
#: H to No.
ELEMENTS_102 = (
    *(*H_TO_BI, "Po", "At", "Rn", "Fr", "Ra"),
    *(*ELEMENTS_89[83:], "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No"),
)
ELEMENTS_17 = ("H", "Li", "B", "C", "N", "O", "F", "Na", "Mg", "Si", "P", "S", "Cl", "K", "Ca", "Br", "I")

#: Training data, level of theory, elements, paper of each model of the package.
MODELS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...], str]] = {
    "pet-mad": (("OMat24", "MAD-1.6"), "r2SCAN", ELEMENTS_102, "10.48550/arXiv.2603.02089"),
    "pet-omat": (("OMat24",), "PBE/PBE+U", ELEMENTS_89, "10.48550/arXiv.2601.16195"),
    "pet-oam": (("OMat24", "sAlex", "MPtrj"), "PBE/PBE+U", ELEMENTS_89, "10.48550/arXiv.2601.16195"),
    "pet-omad": (("OMat24", "MAD"), "PBEsol", ELEMENTS_85, "10.48550/arXiv.2601.16195"),
    "pet-omatpes": (("OMat24", "MatPES-r2SCAN"), "r2SCAN", ELEMENTS_89, "10.48550/arXiv.2601.16195"),
    "pet-spice": (("SPICE",), "wB97M-D3", ELEMENTS_17, "10.48550/arXiv.2601.16195"),
    "pet-omol": (("OMol25",), "wB97M-V", H_TO_BI, "10.48550/arXiv.2601.16195"),
}
ACCEPTS = "a metatrain checkpoint (.ckpt) of a PET, bare or with uncertainties (LLPR); a pickle"
TWINS_FIGURE = "The figure for rotations is the untrained twin's."
COMMON: dict[str, Any] = {
    "family": "pet",
    "modality": "atoms",
    "licence_code": "BSD-3-Clause",
    "licence_weights": "BSD-3-Clause",
    "access": "download",
    "accepts": ACCEPTS,
    "untrained": True,
    "energy": True,
    "invariant": False,
}


def _mad(variant: str, dimension: int, deviation: float, **other: Any) -> Card:
    """Card of PET-MAD 1.1 (the paper's model), or of another read-out of it."""
    return Card(
        name=f"pet-mad{variant}",
        title=f"PET-MAD 1.1{variant.replace('-', ' ')}",
        revision="1.1.0",
        parameters=3_258_420,
        dimension=dimension,
        trained_on=("MAD",),
        level_of_theory="PBEsol",
        elements=ELEMENTS_85,
        reference="10.1038/s41467-025-65662-7",
        source=f"{REPOSITORY}: models/pet-mad-s-v1.1.0.ckpt (Hugging Face)",
        rotation_deviation=deviation,
        resources=Resources(memory_gib=4, batch_size=32),
        **{
            "layer": "atom features before the last linear layers of the energy (both layers, nodes and edges)",
            "pooling": "mean over atoms",
            "twin": "no heads for direct forces and stress",
            "remark": TWINS_FIGURE,
            **COMMON,
            **other,
        },
    )


def _card(model: str, size: str, version: str, *, documented: bool = True) -> Card:
    """Card of a model that the package lists; `documented`: whether it has the parameters of its size."""
    trained_on, theory, elements, reference = MODELS[model]
    same = size in ("xs", "s")
    return Card(
        name=f"{model}-{size}",
        title=f"{model.upper()}-{size.upper()} {version}",
        revision=version,
        parameters=PARAMETERS[size] if documented else None,
        dimension=2 * SIZES[size][0],
        layer="atom features before the last linear layers of the energy (nodes and edges)",
        pooling="mean over atoms",
        trained_on=trained_on,
        level_of_theory=theory,
        elements=elements,
        periodic=False if model in ("pet-omol", "pet-spice") else None,
        reference=reference,
        source=f"{REPOSITORY}: models/{model}-{size}-v{version}.ckpt (Hugging Face)",
        twin="no heads for direct forces and stress" if same else "size XS, with heads of the published width",
        rotation_deviation=DEVIATIONS[size],
        charge="unknown" if model == "pet-omol" else "ignored",  # read where the file says so; the twin's does not
        remark=TWINS_FIGURE,
        resources=Resources(memory_gib=4 if same else 16, batch_size=16 if same else 8),
        **COMMON,
    )


@target(
    _mad("", 512, 0.1, remark=f"Version 1.1, whose parameters arXiv:2512.03750 counts. {TWINS_FIGURE}"),
    _mad("-mean-std", 1024, 0.12, pooling="mean and standard deviation over atoms, as in the package's explorer"),
    _mad("-feature", 1024, 0.1, layer="atom features before the heads (both layers, nodes and edges)"),
    _mad(
        "-rotation-mean",
        512,
        0.003,
        pooling="mean over atoms and over the 24 rotations of the cube",
        twin="64 wide instead of 256 with heads as wide; no heads for direct forces and stress",
    ),
    *(_card("pet-mad", size, "1.6.0") for size in ("xs", "s", "m")),
    *(_card("pet-omat", size, "1.0.0") for size in SIZES),
    _card("pet-oam", "l", "0.1.0", documented=False),
    _card("pet-oam", "xl", "1.0.0"),
    *(_card("pet-omad", size, "1.0.0") for size in ("xs", "s")),
    _card("pet-omad", "l", "0.1.0", documented=False),
    _card("pet-omatpes", "l", "0.1.0", documented=False),
    *(_card("pet-spice", size, "0.2.0", documented=False) for size in ("s", "l")),
    *(_card("pet-omol", size, "1.0.0", documented=False) for size in ("s", "m", "l")),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell, models that are conditioned on charge and spin read them."""
    import torch
    from ase import Atoms
    from ase.data import chemical_symbols
    from metatomic.torch import ModelOutput, systems_to_torch
    from metatrain.pet.model import get_last_layer_features_name
    from metatrain.utils.neighbor_lists import get_system_with_neighbor_lists

    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notices about names of outputs that are out of use
        model = _model(card, weights)
    model.to(device).eval().requires_grad_(False)
    dtype = next(model.parameters()).dtype
    energy = next(name for name, info in model.dataset_info.targets.items() if info.quantity == "energy")
    features = "feature" if card.name.endswith("-feature") else get_last_layer_features_name(energy)
    outputs = {name: ModelOutput(sample_kind="atom") for name in (features, energy)}
    mean_and_std = card.name.endswith("-mean-std")

    def prepare(atoms: Any) -> Any:
        if card.name.startswith(("pet-omol", "pet-spice")):
            require_molecule(atoms)  # no periodic structures in the training data
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        # Neighbours are found in double precision, whatever the model's own.
        system = get_system_with_neighbor_lists(
            systems_to_torch(bare, dtype=torch.float64), model.requested_neighbor_lists()
        )
        if model.system_conditioning is not None:
            system.add_data("charge", _scalar("charge", atoms.info["charge"]))
            system.add_data("spin_multiplicity", _scalar("spin_multiplicity", atoms.info["spin"]))
        return system.to(dtype)

    def forward(systems: list[Any]) -> tuple[Any, Any]:
        counts = torch.tensor([len(system) for system in systems], device=device)
        with torch.no_grad():
            out = model([system.to(device=device) for system in systems], outputs)
        per_atom = out[features].block().values
        rows = mean_over_atoms(per_atom, counts)
        if mean_and_std:
            deviations = per_atom.double() - rows.repeat_interleave(counts, dim=0)
            rows = torch.cat([rows, mean_over_atoms(deviations.square(), counts).sqrt()], dim=1)
        energies = out[energy].block().values.double().reshape(-1)
        total = torch.segment_reduce(energies, "sum", lengths=counts)
        return rows, total if model.dataset_info.targets[energy].unit == "eV" else None

    def save(path: Path) -> None:
        torch.save({**model.get_checkpoint(), "epoch": 0, "best_epoch": 0}, path)

    width = model.last_layer_feature_size
    if features == "feature":
        width = model.num_readout_layers * (model.d_node + model.d_pet)
    elements = [chemical_symbols[number] for number in model.atomic_types]
    embed = embed_by_batch(prepare, forward, 2 * width if mean_and_std else width, elements, save=save)
    return mean_over_rotations(embed) if card.name.endswith("-rotation-mean") else embed


def _model(card: Card, weights: Weights) -> Any:
    """Load the published model or the user's, or build the twin."""
    import torch
    from ase.data import atomic_numbers
    from huggingface_hub import hf_hub_download
    from metatrain.pet import PET
    from metatrain.utils.architectures import get_default_hypers
    from metatrain.utils.data import DatasetInfo
    from metatrain.utils.data.target_info import get_energy_target_info
    from metatrain.utils.io import load_model

    if weights.random:
        torch.manual_seed(weights.seed)
        info = DatasetInfo(
            length_unit="angstrom",
            atomic_types=sorted(atomic_numbers[symbol] for symbol in card.elements or ()),
            targets={"energy": get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"})},
        )
        return PET({**get_default_hypers("pet")["model"], **_configuration(card)}, info)
    require_trust(weights)
    file = (card.source or "").partition("models/")[2].removesuffix(" (Hugging Face)")
    path = weights.file_or_published(lambda: hf_hub_download(REPOSITORY, file, subfolder="models"))
    loaded = load_model(path)
    model = getattr(loaded, "model", loaded)  # a model with uncertainties wraps the potential
    if not isinstance(model, PET):
        raise ValueError(f"{path.name} holds {type(model).__name__}, not a PET")
    return model


def _configuration(card: Card) -> dict[str, Any]:
    """Hyper-parameters of the twin, where they are not metatrain's defaults."""
    if card.revision == "1.1.0":
        narrow = card.name.endswith("-rotation-mean")
        width = 64 if narrow else 256
        return {
            "d_pet": width,
            "d_node": width,
            "d_feedforward": 2 * width,
            "d_head": 128,
            "cutoff_function": "Cosine",
            "cutoff_width": 0.2,
            "normalization": "LayerNorm",
            "activation": "SiLU",
            "transformer_type": "PostLN",
            "featurizer_type": "residual",
        }
    model, size = card.name.rsplit("-", 1)
    width, layers, attention_layers, cutoff, neighbours = SIZES[size if size == "s" else "xs"]
    newest = card.revision == "1.6.0"  # twice 8, or 8 more neighbours, and another way to count them
    return {
        "d_pet": width,
        "d_node": 4 * width,
        "d_feedforward": 2 * width,
        "d_head": SIZES[size][0],
        "num_gnn_layers": layers,
        "num_attention_layers": attention_layers,
        "cutoff": cutoff,
        "num_neighbors_adaptive": neighbours + 8 * newest,
        "adaptive_cutoff_method": "solver" if newest else "grid",
        "system_conditioning": model == "pet-omol",
    }


def _scalar(name: str, value: float) -> Any:
    """One number of a system, in the form that metatomic passes them."""
    import torch
    from metatensor.torch import Labels, TensorBlock, TensorMap

    block = TensorBlock(
        values=torch.tensor([[float(value)]], dtype=torch.float64),
        samples=Labels(["system"], torch.tensor([[0]])),
        components=[],
        properties=Labels([name], torch.tensor([[0]])),
    )
    return TensorMap(Labels.single(), [block])
