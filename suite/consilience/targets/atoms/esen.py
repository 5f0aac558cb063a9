# /// script
# requires-python = ">=3.11"
# dependencies = ["fairchem-core==1.10.0", "torch-geometric==2.7.0", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = ["numpy<2.4", "torch==2.13.0"]
# ///
"""eSEN: equivariant smooth energy network, 30M, of the OMat24 release (Fu et al. 2025, doi:10.48550/arXiv.2502.12147).

The weights are given out on the hub to those whom the owner has admitted. fairchem 1 reads these files and fairchem 2
those of `esen_omol`, hence two targets.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89
from consilience.targets.atoms._fairchem import embed_with_1

#: Layers of the published models and of their twins.
LAYERS, TWIN_LAYERS = 10, 3
#: Name -> name in the package's list, file, title, training data, parameters, Gaussians.
MODELS: dict[str, tuple[str, str, str, tuple[str, ...], int, int]] = {
    "esen-30m-mp": ("eSEN-30M-MP", "esen_30m_mptrj.pt", "MPtrj", ("MPtrj",), 30_086_018, 10),
    "esen-30m-oam": (
        "eSEN-30M-OAM",
        "esen_30m_oam.pt",
        "OMat24, MPtrj, sAlex",
        ("OMat24", "MPtrj", "sAlex"),
        30_161_153,
        64,
    ),
    "esen-30m-omat": ("eSEN-30M-OMAT24", "esen_30m_omat.pt", "OMat24", ("OMat24",), 30_161_410, 64),
}


def _card(name: str) -> Card:
    published, file, data, trained_on, parameters, _ = MODELS[name]
    return Card(
        name=name,
        family="esen",
        modality="atoms",
        title=f"eSEN 30M ({data})",
        revision=f"{published} (fairchem-core 1.10.0)",
        parameters=parameters,
        dimension=128,
        layer="l = 0 part of the atom features after the last block, normalised (input of the energy head)",
        pooling="mean over atoms",
        trained_on=trained_on,
        level_of_theory="PBE/PBE+U",
        elements=ELEMENTS_89,
        licence_code="MIT",
        reference="10.48550/arXiv.2502.12147",
        source=f"facebook/OMAT24: {file} (Hugging Face)",
        access="gated",
        accepts="a checkpoint (.pt) of fairchem-core 1.x: eSEN as backbone with heads; a pickle",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin=f"{TWIN_LAYERS} layers instead of {LAYERS}",
        energy=True,
        resources=Resources(memory_gib=8, batch_size=8),
    )


@target(*map(_card, MODELS))
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules are put into a box (the neighbour search is periodic)."""
    published, *_, distances = MODELS[card.name]
    return embed_with_1(
        weights,
        published=published,
        modules=("esen.esen", "esen.esen_dens"),
        twin=_configuration(distances, dens=card.name == "esen-30m-mp"),
        scalars=lambda features: features[:, 0, :],
        energy=_energy,
        device=device,
        elements=card.elements,
    )


def _energy(heads: Any, batch: Any, embedding: dict[str, Any]) -> Any:
    """Energies as the head scales them; the head itself would go on to forces."""
    import torch

    block = next((head.energy_block for head in heads.values() if hasattr(head, "energy_block")), None)
    if block is None:
        return None
    per_atom = block(embedding["node_embedding"][:, 0, :]).double().reshape(-1)
    return torch.segment_reduce(per_atom, "sum", lengths=batch.natoms)


def _configuration(distances: int, *, dens: bool) -> dict[str, Any]:
    """Backbone and head, as the published numbers of parameters have it.

    With LAYERS layers these are met exactly but for the 257 of a linear head, more or less, in esen-30m-omat. The
    model of MPtrj was trained with denoising (DeNS) and keeps the embedding of forces that this takes.
    """
    backbone = {
        "model": "esen_backbone_dens" if dens else "esen_backbone",
        "max_num_elements": 100,
        "sphere_channels": 128,
        "lmax": 3,
        "mmax": 2,
        "otf_graph": True,
        "max_neighbors": 300,
        "use_pbc": True,
        "use_pbc_single": True,
        "cutoff": 6.0,
        "edge_channels": 128,
        "distance_function": "gaussian",
        "num_distance_basis": distances,
        "direct_forces": False,
        "regress_forces": True,
        "regress_stress": True,
        "num_layers": TWIN_LAYERS,
        "hidden_channels": 128,
        "norm_type": "rms_norm_sh",
        "act_type": "gate",
        "mlp_type": "spectral",
        "use_envelope": True,
    }
    return {"backbone": backbone, "heads": {"mptrj": {"module": f"esen_mlp_efs_head{'_dens' if dens else ''}"}}}
