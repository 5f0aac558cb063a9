# /// script
# requires-python = ">=3.11"
# dependencies = ["fair-esm==2.0.0", "scipy==1.17.1", "torch==2.13.0", "torch-geometric==2.8.1"]
# ///
"""ESM-IF1: inverse folding with a geometric encoder (Hsu et al. 2022, doi:10.1101/2022.04.10.487779).

The sequence is not read: the encoder sees the backbone alone.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import embed_by_batch, read_checkpoint

NAME = "esm_if1_gvp4_t16_142M_UR50"
URL = f"https://dl.fbaipublicfiles.com/fair-esm/models/{NAME}.pt"
DIMENSION = 512
#: Settings of the untrained twin: the published widths of the Transformer's stream, little of everything else.
TWIN = {
    "arch": "vt_medium_with_invariant_gvp",
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "gvp_top_k_neighbors": 30,
    "gvp_node_hidden_dim_scalar": 64,
    "gvp_node_hidden_dim_vector": 16,
    "gvp_edge_hidden_dim_scalar": 32,
    "gvp_edge_hidden_dim_vector": 1,
    "gvp_num_encoder_layers": 2,
    "gvp_dropout": 0.1,
    "encoder_layers": 2,
    "decoder_layers": 1,
    **{f"{part}_embed_dim": DIMENSION for part in ("encoder", "decoder")},
    **{f"{part}_ffn_embed_dim": DIMENSION for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 8 for part in ("encoder", "decoder")},
}


@target(
    Card(
        name="esm-if1",
        family="esm-if",
        modality="protein_structure",
        title="ESM-IF1 (GVP-Transformer, 142 M)",
        revision=NAME,
        parameters=141_662_150,
        dimension=DIMENSION,
        layer="encoder, after the last layer's norm",
        pooling="mean over residues with N, CA and C",
        trained_on=("PDB", "CATH", "UniRef50"),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1101/2022.04.10.487779",
        source=URL,
        access="download",
        accepts="a checkpoint of fair-esm's ESM-IF1 (.pt: a dict with `args`, a Namespace, and `model`)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        twin="encoder of 2 geometric layers (64 scalars, 16 vectors) and 2 Transformer layers instead of 4 and 8",
        remark="Every chain is centred: the model's mark of a chain's ends, and of gaps, lies at the origin.",
        resources=Resources(batch_size=8, memory_gib=6),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load the encoder; the decoder, which writes sequences, is not run."""
    import torch

    _stand_in()
    from esm import Alphabet
    from esm.inverse_folding.gvp_transformer import GVPTransformerModel
    from esm.inverse_folding.util import CoordBatchConverter
    from esm.pretrained import load_model_and_alphabet_core

    if weights.random:
        settings = Namespace(**TWIN)
        alphabet = Alphabet.from_architecture(settings.arch)
        torch.manual_seed(weights.seed)
        model = GVPTransformerModel(settings, alphabet)
    else:
        with torch.serialization.safe_globals([Namespace]):
            checkpoint = read_checkpoint(weights, _download)
        if not {"args", "model"} <= set(checkpoint):
            raise ValueError(f"no checkpoint of ESM-IF1: it holds {sorted(map(str, checkpoint))[:5]}")
        settings = checkpoint["args"]
        model, alphabet = load_model_and_alphabet_core(NAME, checkpoint)
    model.eval().to(device)
    to_batch = CoordBatchConverter(alphabet)

    def prepare(chain: Any) -> tuple[Any, Any]:
        coordinates = chain.coordinates[:, :3].astype(np.float64)
        known = np.isfinite(coordinates).all(axis=(1, 2))
        if not known.any():
            raise ValueError("no residue with N, CA and C")
        coordinates -= coordinates[known].mean(axis=(0, 1))
        coordinates[~known] = np.inf  # the package's mark of a residue without coordinates; NaN marks padding
        return coordinates, known

    @torch.inference_mode()
    def forward(chains: list[tuple[Any, Any]]) -> tuple[Any, None]:
        rows = []  # one by one: in a padded batch the geometric encoder gives padding a place among the neighbours
        for coordinates, known in chains:
            positions, confidence, _, _, padding = to_batch([(coordinates, None, None)], device=device)
            states = model.encoder(positions.float(), padding, confidence)["encoder_out"][0]
            states = states[1:-1, 0]  # without the ends
            rows.append(states[torch.from_numpy(known).to(device)].double().mean(0))
        return torch.stack(rows), None

    def save(path: Path) -> None:
        torch.save({"args": settings, "model": model.state_dict()}, path)

    return embed_by_batch(prepare, forward, DIMENSION, save=save)


def _download() -> Path:
    """Fetch the published file to where the package keeps it."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / f"{NAME}.pt"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(path), progress=False)
    return path


class _Absent(ModuleType):
    """A package that is imported and not used: whatever is taken from it says so when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: Any, **__: Any) -> Any:
            raise NotImplementedError(f"{self.__name__}.{name} is not installed: no embedding needs it")

        return refuse


def _stand_in() -> None:
    """Let the package import without what it does not need here.

    It reads structure files with a biotite of 2022, whose names have changed since; it takes one sum, which only its
    decoders of graphs call, from torch-scatter, which ships no wheels.
    """
    names = ("biotite", "biotite.structure", "biotite.structure.io", "biotite.structure.residues", "biotite.sequence")
    for name in (*names, "torch_scatter"):
        sys.modules[name] = _Absent(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
