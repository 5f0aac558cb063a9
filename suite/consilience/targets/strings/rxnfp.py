# /// script
# requires-python = ">=3.11"
# dependencies = ["rxnfp==0.1.0", "torch==2.13.0", "transformers==5.23.0"]
# [tool.uv]
# override-dependencies = [
#     "faerun ; sys_platform == 'never'",
#     "matplotlib ; sys_platform == 'never'",
#     "scikit-learn ; sys_platform == 'never'",
#     "scipy ; sys_platform == 'never'",
# ]
# ///
"""rxnfp: BERT over reaction SMILES (Schwaller et al. 2021, doi:10.1038/s42256-020-00284-w).

The package's own code is of 2021 and no longer runs; its weight and vocabulary files do not need it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from consilience import Card, Embedded, Weights, target
from consilience.cards import Resources

#: Weights, settings and vocabulary, inside the wheel.
FOLDER = "models/transformers/bert_pretrained"
#: Parts of the checkpoint that are no part of the embedding: the pooler and the two pretraining heads.
HEADS = ("bert.pooler.", "cls.predictions.", "cls.seq_relationship.")


@target(
    Card(
        name="rxnfp-pretrained",
        family="rxnfp",
        modality="string",
        title="rxnfp BERT, pretrained",
        revision="0.1.0",
        parameters=6_608_640,
        dimension=256,
        layer="last of 12 transformer layers",
        pooling="mean over tokens; [CLS], [SEP] and padding left out",
        trained_on=("Pistachio",),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1038/s42256-020-00284-w",
        source=f"file rxnfp/{FOLDER}/pytorch_model.bin in the wheel of rxnfp==0.1.0",
        weights_sha256="50a6ed263d33ae759affa82c1e85554cc5ea9f56145f5c7fb39b6c25d4356437",
        untrained=True,
        distinct=False,  # bracket atoms outside the vocabulary share the unknown token
        resources=Resources(batch_size=64, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Callable[[list[str]], Embedded]:
    """Load BERT's encoder from the wheel's files."""
    import torch
    from transformers import BertConfig, BertModel

    spec = find_spec("rxnfp")  # found, not imported
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the package rxnfp is not installed")
    folder = Path(spec.origin).parent / FOLDER
    config = BertConfig.from_json_file(str(folder / "config.json"))
    torch.manual_seed(weights.seed)
    model = BertModel(config, add_pooling_layer=False)
    if not weights.random:
        path = weights.file_or_published(folder / "pytorch_model.bin")
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
        model.load_state_dict({key.removeprefix("bert."): value for key, value in state.items()})
    model.eval().to(device)

    tokens = (folder / "vocab.txt").read_text("utf-8").split()
    number = {token: i for i, token in enumerate(tokens)}
    split = _splitter(tokens)
    longest = config.max_position_embeddings - 2

    @torch.inference_mode()
    def embed(items: list[str]) -> Embedded:
        features = np.full((len(items), config.hidden_size), np.nan, dtype=np.float32)
        reasons: list[str | None] = [None] * len(items)
        rows = {}
        for i, smiles in enumerate(items):
            row = [number.get(token, number["[UNK]"]) for token in split(smiles)]
            if 0 < len(row) <= longest:
                rows[i] = torch.tensor([number["[CLS]"], *row, number["[SEP]"]])
            else:
                reasons[i] = f"{len(row)} tokens; the model reads 1 to {longest}"
        if rows:
            lengths = torch.tensor([len(row) for row in rows.values()])[:, None]
            ids = torch.nn.utils.rnn.pad_sequence(list(rows.values()), True, number["[PAD]"])
            place = torch.arange(ids.shape[1])
            hidden = model(ids.to(device), (place < lengths).long().to(device)).last_hidden_state.cpu()
            own = ((place > 0) & (place < lengths - 1))[:, :, None]  # neither [CLS], [SEP] nor padding
            features[list(rows)] = ((hidden * own).sum(1) / (lengths - 2)).numpy()
        return Embedded(features, None, reasons)

    return embed


def _splitter(tokens: list[str]) -> Callable[[str], list[str]]:
    """Cut a SMILES into bracket atoms, the vocabulary's symbols (longest first) and stray characters."""
    symbols = sorted((token for token in tokens if not token.startswith("[")), key=len, reverse=True)
    return re.compile("|".join([r"\[[^\]]+\]", *map(re.escape, symbols), "."])).findall
