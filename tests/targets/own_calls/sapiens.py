"""Sapiens: the published checkpoint in torch's own transformer layers.

The package asks for fairseq, which no longer installs. Its RoBERTa is: embeddings of tokens and positions (from 2 on),
normalised, then layers that normalise behind attention and behind the feed-forward part.
"""

import argparse
from importlib.util import find_spec

import torch
from calls import CARD, run

package = find_spec("sapiens").submodule_search_locations[0]
with torch.serialization.safe_globals([argparse.Namespace]):
    checkpoint = torch.load(f"{package}/models/v1/checkpoint_{CARD[-2:]}.pt", map_location="cpu", weights_only=True)
state = {key.removeprefix("decoder.sentence_encoder."): value for key, value in checkpoint["model"].items()}
with open(f"{package}/models/v1/dict.txt") as file:  # noqa: PTH123
    letters = ["<s>", "<pad>", "</s>", "<unk>", *[line.split()[0] for line in file], "<mask>"]
number = {letter: i for i, letter in enumerate(letters)}
longest = len(state["embed_positions.weight"]) - 4  # two places that no token has, and the marks at both ends


def part(prefix):
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def normalised(prefix, x):
    return torch.nn.functional.layer_norm(x, (128,), state[f"{prefix}.weight"], state[f"{prefix}.bias"])


layers = []
for i in range(4):
    layer = torch.nn.TransformerEncoderLayer(128, 8, 256, activation="gelu", batch_first=True).eval()
    names = {"fc1": "linear1", "fc2": "linear2", "self_attn_layer_norm": "norm1", "final_layer_norm": "norm2"}
    own = {}
    for key, value in part(f"layers.{i}.").items():
        name, _, kind = key.rpartition(".")
        own[f"{names.get(name, name)}.{kind}"] = value
    for kind in ("weight", "bias"):
        if f"self_attn.q_proj.{kind}" in own:
            own[f"self_attn.in_proj_{kind}"] = torch.cat([own.pop(f"self_attn.{p}_proj.{kind}") for p in "qkv"])
    layer.load_state_dict(own)
    layers.append(layer)


def call(sequence):
    residues = ["<mask>" if residue in "X*" else residue for residue in sequence[:longest]]
    ids = torch.tensor([number.get(token, number["<unk>"]) for token in ["<s>", *residues, "</s>"]])
    x = state["embed_tokens.weight"][ids] + state["embed_positions.weight"][2 : 2 + len(ids)]
    x = normalised("emb_layer_norm", x)[None]
    with torch.no_grad():
        for layer in layers:
            x = layer(x)
    return x[0, 1:-1].double().mean(dim=0).numpy()


run(call)
