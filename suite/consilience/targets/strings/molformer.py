# /// script
# requires-python = ">=3.11"
# dependencies = ["huggingface-hub==2.4.0", "torch==2.13.0"]
# ///
"""MoLFormer: linear attention over SMILES (Ross et al. 2022, doi:10.1038/s42256-022-00580-7).

The published model comes with code of its own, which is not run; its original needs a package that is compiled for
eight minutes. The network is written out in ``_linear_attention.py``, in the names of the published weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._shapes import check_shapes
from consilience.targets._tokens import embed_tokens
from consilience.targets.strings._linear_attention import (
    VOCABULARY,
    Sizes,
    random_weights,
    run,
    shapes,
    tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = "ibm-research/MoLFormer-XL-both-10pct"
REVISION = "7b12d946c181a37f6012b9dc3b002275de070314"
TWIN_LAYERS = 4
#: Prefix of the network's weights where heads were saved with it, and how the heads' names begin.
NETWORK, HEADS = "molformer.", ("lm_head.", "classifier.")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: Settings of config.json, which names them so, in the order of `Sizes`; where absent, the published model's.
SETTINGS = {
    "vocab_size": 2362,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 768,
    "num_random_features": 32,
    "max_position_embeddings": 202,
    "layer_norm_eps": 1e-12,
    "linear_attention_eps": 1e-6,
}
#: Settings that have but one value here.
FIXED = {"model_type": "molformer", "hidden_act": "gelu", "feature_map_kernel": "relu"}


@target(
    Card(
        name="molformer-xl-both-10pct",
        family="molformer",
        modality="string",
        title="MoLFormer-XL (10 % of both data sets)",
        revision=REVISION,
        parameters=44_375_040,
        dimension=768,
        layer="last of 12 layers, after the final norm",
        pooling="mean over tokens; <bos>, <eos> and padding left out",
        trained_on=("ZINC", "PubChem"),
        licence_code="Apache-2.0",
        licence_weights="Apache-2.0",
        reference="10.1038/s42256-022-00580-7",
        source=f"https://huggingface.co/{REPOSITORY}",
        access="download",
        accepts="a folder of the hub's MoLFormer (config.json, model.safetensors or pytorch_model.bin, vocab.json)",
        reads=("folder", "Hugging Face folder"),
        untrained=True,
        twin=f"{TWIN_LAYERS} layers instead of 12; a vocabulary of the common symbols instead of 2,362",
        distinct=False,  # bracket atoms outside the vocabulary share the unknown token
        remark="Random features as in the weight file, the same for every batch; strings of over 200 tokens are cut.",
        resources=Resources(batch_size=64, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Read the folder: sizes, weights and vocabulary."""
    from safetensors.torch import save_file

    if weights.random:
        vocabulary = {token: number for number, token in enumerate(VOCABULARY)}
        settings = {**SETTINGS, **FIXED, "vocab_size": len(vocabulary), "num_hidden_layers": TWIN_LAYERS}
        state = random_weights(_sizes(settings), weights.seed)
    else:
        folder = weights.file_or_published(_download)
        settings = json.loads(_file(folder, "config.json").read_text("utf-8"))
        vocabulary = _vocabulary(folder)
        state = _weights(folder)
    sizes = _sizes(settings)
    check_shapes(state, shapes(sizes))
    if max(vocabulary.values()) >= sizes.vocabulary:
        raise ValueError(f"the vocabulary goes up to {max(vocabulary.values())}, the network to {sizes.vocabulary - 1}")
    state = {name: tensor.to(device).float() for name, tensor in state.items()}

    def save(path: Path) -> None:
        path.mkdir()
        (path / "config.json").write_text(json.dumps(settings), "utf-8")
        (path / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
        save_file({NETWORK + name: tensor.contiguous().cpu() for name, tensor in state.items()}, path / WEIGHTS[0])

    return embed_tokens(
        tokenizer(vocabulary),
        lambda ids, mask: run(state, sizes, ids, mask),
        sizes.width,
        pad=vocabulary["<pad>"],
        device=device,
        longest=sizes.longest,
        save=save,
    )


def _sizes(settings: Mapping[str, Any]) -> Sizes:
    """Sizes of the network that config.json describes."""
    for name, value in FIXED.items():
        if settings.get(name, value) != value:
            raise ValueError(f"config.json: {name} is {settings[name]!r}, expected {value!r}")
    return Sizes(*(settings.get(name, published) for name, published in SETTINGS.items()))


def _download() -> Path:
    from huggingface_hub import snapshot_download

    # Data only: the repository's Python code is not fetched.
    names = ["config.json", "vocab.json", "tokenizer.json", *WEIGHTS]
    return Path(snapshot_download(REPOSITORY, revision=REVISION, allow_patterns=names))


def _file(folder: Path, *names: str) -> Path:
    """Find the first of these files that there is."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder.name} holds no {' or '.join(names)}")


def _weights(folder: Path) -> dict[str, Any]:
    """Tensors of the network; heads are left out."""
    import torch
    from safetensors.torch import load_file

    path = _file(folder, *WEIGHTS)
    safe = path.suffix == ".safetensors"
    state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    return {name.removeprefix(NETWORK): tensor for name, tensor in state.items() if not name.startswith(HEADS)}


def _vocabulary(folder: Path) -> dict[str, int]:
    """Tokens and their numbers."""
    found = json.loads(_file(folder, "vocab.json", "tokenizer.json").read_text("utf-8"))
    if "model" in found and isinstance(found["model"], dict):  # tokenizer.json
        found = {**found["model"]["vocab"], **{token["content"]: token["id"] for token in found["added_tokens"]}}
    return {str(token): int(number) for token, number in found.items()}
