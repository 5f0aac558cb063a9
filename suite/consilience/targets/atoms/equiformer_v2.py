# /// script
# requires-python = ">=3.11"
# dependencies = ["fairchem-core==1.10.0", "torch-geometric==2.7.0", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = ["numpy<2.4", "torch==2.13.0"]
# ///
"""EquiformerV2 of the OMat24 release (Barroso-Luque et al. 2024, doi:10.48550/arXiv.2410.12771).

Architecture: Liao et al. 2023, doi:10.48550/arXiv.2306.12059; DeNS, training with denoising: Liao et al. 2024,
doi:10.48550/arXiv.2403.09549. The weights are given out on the hub to those whom the owner has admitted.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89
from consilience.targets.atoms._fairchem import embed_with_1

#: Layers, largest degree l, largest order m of each size.
SIZES = {"31M": (8, 4, 2), "86M": (10, 6, 4), "153M": (20, 6, 3)}
#: Parameters of each size, without and with the extra head and embedding of DeNS.
PARAMETERS = {"31M": (31_207_434, 34_339_083), "86M": (86_589_068, 94_033_933), "153M": (153_769_868, 160_673_293)}
#: Layers of every twin.
TWIN_LAYERS = 2
#: Largest change under rotation over 16 crystals of at most 5 atoms, with random weights in the published
#: configuration: of the feed-forward networks as drawn (0.00011, 0.0094, 0.0099), or three times as large (0.0004).
#: The nonlinearity acts on an 18 x 18 grid of the sphere and aliases; on a grid of 36 x 36 all is below 0.0001.
ROTATION = {"31M": 4e-4, "86M": 1e-2, "153M": 1e-2}
#: Suffix of the name -> suffix in the package's list, training data, level of theory.
SETS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "omat-mp-salex": ("OMAT24-MP-sAlex", ("OMat24", "MPtrj", "sAlex"), "PBE/PBE+U"),
    "omat": ("OMAT24", ("OMat24",), "PBE/PBE+U"),
    "mp": ("MP", ("MPtrj",), "PBE/PBE+U"),
}


def _published(size: str, data: str, *, dens: bool) -> str:
    """Name in the package's list."""
    return f"EquiformerV2-{'DeNS-' if dens else ''}{size}-{SETS[data][0]}"


def _card(size: str, data: str, *, dens: bool = False) -> Card:
    file = f"eqV2_{'dens_' if dens else ''}{size}_{data.replace('-', '_')}.pt"
    published = _published(size, data, dens=dens)
    return Card(
        name=f"eqv2-{'dens-' if dens else ''}{size.lower()}-{data}",
        family="equiformer-v2",
        modality="atoms",
        title=f"EquiformerV2 {size}{' DeNS' if dens else ''} ({', '.join(SETS[data][1])})",
        revision=f"{published} (fairchem-core 1.10.0)",
        parameters=PARAMETERS[size][dens],
        dimension=128,
        layer="l = 0 part of the atom features after the last block, normalised (input of the heads)",
        pooling="mean over atoms",
        trained_on=SETS[data][1],
        level_of_theory=SETS[data][2],
        elements=ELEMENTS_89,
        licence_code="MIT",
        reference="10.48550/arXiv.2410.12771",
        source=f"facebook/OMAT24: {file} (Hugging Face)",
        access="gated",
        accepts="a checkpoint (.pt) of fairchem-core 1.x: EquiformerV2 as backbone with heads; a pickle",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin=f"{TWIN_LAYERS} layers instead of {SIZES[size][0]}",
        energy=True,
        invariant=False,
        rotation_deviation=ROTATION[size],
        remark="Invariant up to the coarseness of the grid on which its nonlinearity acts.",
        resources=Resources(memory_gib=8, batch_size=8),
    )


@target(
    *(_card(size, data) for data in ("omat-mp-salex", "omat") for size in SIZES),
    _card("31M", "mp"),
    *(_card(size, "mp", dens=True) for size in SIZES),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules are put into a box (the neighbour search is periodic)."""
    size, data = card.name.removeprefix("eqv2-").removeprefix("dens-").split("-", 1)
    size, dens = size.upper(), card.name.startswith("eqv2-dens-")
    _, degree, order = SIZES[size]
    return embed_with_1(
        weights,
        published=_published(size, data, dens=dens),
        modules=("equiformer_v2.equiformer_v2", "equiformer_v2.equiformer_v2_dens", "equiformer_v2.heads"),
        twin=_configuration(TWIN_LAYERS, degree, order, dens=dens),
        scalars=lambda features: features.embedding[:, 0, :],
        energy=lambda heads, batch, features: heads["energy"](batch, features)["energy"] if "energy" in heads else None,
        device=device,
        elements=card.elements,
    )


def _configuration(layers: int, degree: int, order: int, *, dens: bool) -> dict[str, Any]:
    """Backbone and heads as in the release's training configurations (fairchem, configs/omat24)."""
    backbone: dict[str, Any] = {
        "model": "equiformer_v2_backbone",
        "use_pbc": True,
        "use_pbc_single": True,
        "otf_graph": True,
        "enforce_max_neighbors_strictly": False,
        "max_neighbors": 20,
        "max_radius": 12.0,
        "max_num_elements": 96,
        "avg_num_nodes": 31.17,
        "avg_degree": 61.95,
        "num_layers": layers,
        "sphere_channels": 128,
        "attn_hidden_channels": 64,
        "num_heads": 8,
        "attn_alpha_channels": 64,
        "attn_value_channels": 16,
        "ffn_hidden_channels": 128,
        "norm_type": "layer_norm_sh",
        "lmax_list": [degree],
        "mmax_list": [order],
        "grid_resolution": 18,
        "edge_channels": 128,
        "attn_activation": "silu",
        "ffn_activation": "silu",
        "use_grid_mlp": True,
        "alpha_drop": 0.1,
        "drop_path_rate": 0.1,
        "weight_init": "uniform",
    }
    stress: dict[str, Any] = {"output_name": "stress", "use_source_target_embedding": True, "decompose": True}
    if not dens:
        heads = {
            "energy": {"module": "equiformer_v2_energy_head"},
            "forces": {"module": "equiformer_v2_force_head"},
            "stress": {"module": "rank2_symmetric_head", **stress},
        }
        return {"backbone": backbone, "heads": heads}
    path = "fairchem.core.models.equiformer_v2.equiformer_v2_dens."
    backbone |= {"model": f"{path}EqV2DeNSBackbone", "use_force_encoding": True}
    backbone |= {"use_noise_schedule_sigma_encoding": False}
    heads = {
        "energy": {"module": f"{path}DeNSScalarHead"},
        "forces": {"module": f"{path}DeNSVectorHead"},
        "stress": {"module": f"{path}DeNSRank2Head", "use_denoising": False, **stress},
    }
    return {"backbone": backbone, "heads": heads}
