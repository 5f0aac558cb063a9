# /// script
# requires-python = ">=3.11"
# dependencies = ["rdkit==2026.9.1", "torch==2.13.0"]
# ///
"""MolCLR: graph convolutions pretrained by contrast between augmented molecules (Wang et al. 2022).

doi:10.1038/s42256-022-00447-x. There is no package: the network is built here from the paper's equations. Bonds add
a number of their own to each message, and messages are summed without regard to an atom's degree.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets.graphs._bond_graphs import DIRECTIONS, SELF, WIDTH, embed_graphs, embedding, frame

#: Parts of the checkpoint that are no part of the embedding: the projection that was contrasted.
HEADS = ("feat_lin.", "out_lin.")


@target(
    Card(
        name="molclr-gcn",
        family="molclr",
        modality="graph",
        title="MolCLR GCN",
        parameters=491_140,
        dimension=WIDTH,
        layer="atoms after the last of 5 convolutions",
        pooling="mean over heavy atoms, as in pretraining",
        trained_on=("PubChem10M",),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1038/s42256-022-00447-x",
        source="https://github.com/yuyangw/MolCLR, ckpt/pretrained_gcn/checkpoints/model.pth",
        access="file",
        accepts="MolCLR's GCN state dict (.pth)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        distinct=False,  # with random weights whole molecules can fall silent: messages are summed, ReLU cuts them off
        resources=Resources(batch_size=256, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build the network and load the user's file."""
    import torch

    def layer() -> Any:
        made: Any = torch.nn.Module()
        made.weight = torch.nn.Parameter(torch.nn.init.xavier_uniform_(torch.empty(WIDTH, WIDTH)))
        made.bias = torch.nn.Parameter(torch.zeros(WIDTH))
        made.edge_embedding1 = embedding(SELF + 1, 1)
        made.edge_embedding2 = embedding(DIRECTIONS, 1)
        return made

    def convolve(layer: Any, h: Any, ends: Any, edges: Any) -> Any:
        messages = (h @ layer.weight)[ends[0]] + edges
        return torch.zeros_like(h).index_add(0, ends[1], messages) + layer.bias

    return embed_graphs(frame(weights, layer, 119, HEADS), convolve, device)
