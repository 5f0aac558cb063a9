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
"""RXNMapper: ALBERT over reaction SMILES (Schwaller et al. 2021, doi:10.1126/sciadv.abe4166).

The package reads atom maps off its attention; here the states are embedded. Its code asks for an older
transformers and for reaction tools; its weight and vocabulary files need neither.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import read_checkpoint
from consilience.targets._tokens import embed_tokens
from consilience.targets._wheel import in_wheel
from consilience.targets.strings._reactions import encoder_state, tokenizer

#: Weights, settings and vocabulary, inside the wheel.
FOLDER = "models/transformers/albert_heads_8_uspto_all_1310k"
#: Parts of the checkpoint that are no part of the embedding: the pooler and the head that fills in masked tokens.
HEADS = ("pooler.", "predictions.")


@target(
    Card(
        name="rxnmapper",
        family="rxnmapper",
        modality="string",
        title="RXNMapper ALBERT",
        revision="0.4.3",
        parameters=701_824,
        dimension=256,
        layer="last of 12 transformer layers (one set of weights, applied 12 times)",
        pooling="mean over tokens; [CLS], [SEP] and padding left out",
        trained_on=("USPTO",),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1126/sciadv.abe4166",
        source=f"file rxnmapper/{FOLDER}/pytorch_model.bin in the wheel of rxnmapper==0.4.3",
        weights_sha256="8541f3f500dae71abe678d546bd035ca946e2d1c819f6b2cf41a97faedd7e6a2",
        accepts="PyTorch state dict of an ALBERT with RXNMapper's settings and vocabulary (pytorch_model.bin)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        distinct=False,  # bracket atoms outside the vocabulary share the unknown token
        remark="Trained on whole reactions: a single molecule is outside of what it has seen.",
        resources=Resources(batch_size=64, memory_gib=2),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load ALBERT's encoder from the wheel's files."""
    import torch
    from transformers import AlbertConfig, AlbertModel

    folder = in_wheel("rxnmapper", FOLDER)
    config = AlbertConfig.from_json_file(str(folder / "config.json"))
    torch.manual_seed(weights.seed)
    model = AlbertModel(config, add_pooling_layer=False)
    if not weights.random:
        state = read_checkpoint(weights, folder / "pytorch_model.bin")
        model.load_state_dict(encoder_state(state, "albert.", HEADS))
    model.eval().to(device)
    tokenize, pad = tokenizer(folder / "vocab.txt")

    def forward(ids: Any, mask: Any) -> Any:
        return model(ids, mask.long()).last_hidden_state

    return embed_tokens(
        tokenize,
        forward,
        config.hidden_size,
        pad=pad,
        device=device,
        longest=config.max_position_embeddings,
        save=lambda path: torch.save(model.state_dict(), path),
    )
