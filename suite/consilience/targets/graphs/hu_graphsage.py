# /// script
# requires-python = ">=3.11"
# dependencies = ["rdkit==2026.9.1", "torch==2.13.0"]
# ///
"""GraphSAGE pretrained to predict the context of an atom (Hu et al. 2020, doi:10.48550/arXiv.1905.12265).

There is no package that runs: the network is built here from the paper's equations.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets.graphs._bond_graphs import DIRECTIONS, SELF, WIDTH, embed_graphs, embedding, frame


@target(
    Card(
        name="hu2020-graphsage-contextpred",
        family="hu2020",
        modality="graph",
        title="GraphSAGE, context prediction (Hu et al. 2020)",
        parameters=504_900,
        dimension=WIDTH,
        layer="atoms after the last of 5 convolutions",
        pooling="mean over heavy atoms, the paper's read-out",
        trained_on=("ZINC15",),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.48550/arXiv.1905.12265",
        source="https://github.com/snap-stanford/pretrain-gnns, chem/model_architecture/graphsage_contextpred.pth",
        access="file",
        accepts="state dict (.pth) of a five-layer GraphSAGE of Hu et al.",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        remark="On QM9's small molecules its similarities follow Morgan's less than those of its untrained twin.",
        resources=Resources(batch_size=256, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build the network and load the user's file."""
    import torch

    def layer() -> Any:
        made: Any = torch.nn.Module()
        made.linear = torch.nn.Linear(WIDTH, WIDTH)
        made.edge_embedding1 = embedding(SELF + 2, WIDTH)  # one more kind, for bonds masked in pretraining
        made.edge_embedding2 = embedding(DIRECTIONS, WIDTH)
        return made

    def convolve(layer: Any, h: Any, ends: Any, edges: Any) -> Any:
        messages = layer.linear(h)[ends[0]] + edges
        total = torch.zeros_like(h).index_add(0, ends[1], messages)
        return torch.nn.functional.normalize(total / torch.bincount(ends[1])[:, None], dim=-1)

    return embed_graphs(frame(weights, layer, 120, ()), convolve, device)
