# /// script
# requires-python = ">=3.11"
# dependencies = ["fairchem-core==2.24.0", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = ["torch==2.13.0"]
# ///
"""UMA: universal models for atoms, eSEN with mixed linear experts (Wood et al. 2025, doi:10.48550/arXiv.2506.23971).

The weights are given out on the hub to those whom the owner has admitted.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89
from consilience.targets.atoms._fairchem import configuration_2, embed_with_2

EQUIVARIANT = "-equivariant"
FIVE = ("oc20", "omol", "omat", "odac", "omc")
#: Configuration of each twin: that of the release with fewer experts, of the largest with fewer layers too.
TWINS: dict[str, dict[str, Any]] = {
    "uma-s-1p1": {"datasets": FIVE, "experts": 4, "layers": 4, "degree": 2, "distances": 64, "model_id": "UMA-1.1"},
    "uma-m-1p1": {"datasets": FIVE, "experts": 2, "layers": 2, "degree": 4, "distances": 128, "model_id": "UMA-1.1"},
    "uma-s-1p2": {
        "datasets": (*FIVE, "oc22", "oc25"),
        "experts": 4,
        "layers": 4,
        "degree": 2,
        "distances": 32,
        "dataset_emb_grad": True,
        "charge_balanced_channels": [0, 1, 2],
        "model_id": "UMA-S-1.2",
    },
}
TASKS = "Task heads: omol for molecules (with charge and multiplicity), omat for crystals."


def _card(name: str, title: str, twin: str, **more: Any) -> Card:
    file = f"{name.removesuffix(EQUIVARIANT)}.pt"
    common: dict[str, Any] = {
        "family": "uma",
        "modality": "atoms",
        "title": title,
        "revision": f"{file.removesuffix('.pt')} (fairchem-core 2.24.0)",
        "dimension": 128,
        "layer": "l = 0 part of the atom features after the last block, normalised (input of the energy head)",
        "pooling": "mean over atoms",
        "trained_on": ("OMat24", "OMol25", "OMC25", "ODAC23", "OC20"),
        "level_of_theory": "omat: PBE/PBE+U; omol: wB97M-V/def2-TZVPD",
        "elements": ELEMENTS_89,
        "licence_code": "MIT",
        "licence_weights": "LicenseRef-FAIR-Chemistry-License",
        "reference": "10.48550/arXiv.2506.23971",
        "source": f"facebook/UMA: checkpoints/{file} (Hugging Face)",
        "access": "gated",
        "accepts": "an inference checkpoint (.pt) of fairchem-core 2.x (UMA, tuned or not); a pickle",
        "reads": ("state dict", "Lightning checkpoint", "pickled objects"),
        "untrained": True,
        "twin": twin,
        "energy": True,
        "charge": "used",
        "remark": TASKS,
        "resources": Resources(memory_gib=8, batch_size=16),
    }
    return Card(name=name, **{**common, **more})


@target(
    _card("uma-s-1p1", "UMA Small 1.1", "4 experts instead of 32", parameters=146_566_817),
    _card(
        "uma-s-1p1-equivariant",
        "UMA Small 1.1, all degrees",
        "4 experts instead of 32",
        parameters=146_566_817,
        dimension=1152,
        layer="atom features of all degrees l = 0, 1, 2 after the last block, normalised (input of the heads)",
        invariant=False,
        rotation_deviation=0.3,
        remark=f"{TASKS} The parts of l > 0 turn with the structure.",
    ),
    _card(
        "uma-m-1p1",
        "UMA Medium 1.1",
        "2 layers instead of 10, 2 experts instead of 32",
        parameters=1_396_669_089,
        resources=Resources(memory_gib=32, batch_size=8),
    ),
    _card(
        "uma-s-1p2",
        "UMA Small 1.2",
        "4 experts instead of 64, one head for all tasks",
        trained_on=("OMat24", "OMol25", "OMC25", "ODAC23", "OC20", "OC22", "OC25"),
        supercell_deviation=6e-4,
        remark=f"{TASKS} Its routing divides sums over atoms by one more than their number.",
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    name = card.name.removesuffix(EQUIVARIANT)
    whole = name != card.name
    return embed_with_2(
        weights,
        published=name,
        twin=configuration_2(**TWINS[name]),
        rows=lambda features: features.flatten(start_dim=1) if whole else features[:, 0, :],
        device=device,
        elements=card.elements,
    )
