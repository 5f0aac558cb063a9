# /// script
# requires-python = ">=3.11"
# dependencies = ["fairchem-core==2.24.0", "torch==2.13.0"]
# [tool.uv]
# override-dependencies = ["torch==2.13.0"]
# ///
"""eSEN of the OMol25 release (Levine et al. 2025, doi:10.48550/arXiv.2505.08762).

Architecture: Fu et al. 2025, doi:10.48550/arXiv.2502.12147. The weights are given out on the hub to those whom the
owner has admitted. fairchem 2 reads these files and fairchem 1 those of `esen`, hence two targets.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import ELEMENTS_89
from consilience.targets.atoms._fairchem import configuration_2, embed_with_2

#: Name of the file, title, layers, degree, Gaussians, layers of the twin.
MODELS: dict[str, tuple[str, str, int, int, int, int]] = {
    "esen-sm-conserving-omol": ("esen_sm_conserving_all.pt", "eSEN Small, conserving (OMol25)", 4, 2, 64, 4),
    "esen-sm-direct-omol": ("esen_sm_direct_all.pt", "eSEN Small, direct forces (OMol25)", 4, 2, 64, 4),
    "esen-md-direct-omol": ("esen_md_direct_all.pt", "eSEN Medium, direct forces (OMol25)", 10, 4, 128, 2),
}


def _published(name: str) -> str:
    """Name in the package's list."""
    return name.replace("-omol", "-all-omol")


def _card(name: str) -> Card:
    file, title, layers, _, _, twin_layers = MODELS[name]
    return Card(
        name=name,
        family="esen",
        modality="atoms",
        title=title,
        revision=f"{_published(name)} (fairchem-core 2.24.0)",
        dimension=128,
        layer="l = 0 part of the atom features after the last block, normalised (input of the energy head)",
        pooling="mean over atoms",
        trained_on=("OMol25",),
        level_of_theory="wB97M-V/def2-TZVPD",
        elements=ELEMENTS_89[:83],  # H to Bi
        periodic=False,
        licence_code="MIT",
        licence_weights="LicenseRef-FAIR-Chemistry-License",
        reference="10.48550/arXiv.2505.08762",
        source=f"facebook/OMol25: checkpoints/{file} (Hugging Face)",
        access="gated",
        accepts="an inference checkpoint (.pt) of fairchem-core 2.x (eSEN, tuned or not); a pickle",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin=None if twin_layers == layers else f"{twin_layers} layers instead of {layers}",
        energy=True,
        charge="used",
        remark="Reads charge and multiplicity of each molecule.",
        resources=Resources(memory_gib=4, batch_size=16),
    )


@target(*map(_card, MODELS))
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build `embed`; molecules need no cell."""
    _, _, _, degree, distances, layers = MODELS[card.name]
    direct = {"direct_forces": True, "max_neighbors": 30} if "direct" in card.name else {}
    return embed_with_2(
        weights,
        published=_published(card.name),
        twin=configuration_2(("omol",), experts=0, layers=layers, degree=degree, distances=distances, **direct),
        rows=lambda features: features[:, 0, :],
        device=device,
        elements=card.elements,
    )
