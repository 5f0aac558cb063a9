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
"""rxnfp: BERT over reaction SMILES (Schwaller et al. 2021, doi:10.1038/s42256-020-00284-w).

The package's own code is of 2021 and no longer runs; its weight and vocabulary files do not need it.
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._batch import read_checkpoint
from consilience.targets._tokens import embed_tokens
from consilience.targets._wheel import in_wheel
from consilience.targets.strings._reactions import encoder_state, tokenizer

#: Weights, settings and vocabulary of each model, inside the wheel.
FOLDERS = {
    "rxnfp-pretrained": "models/transformers/bert_pretrained",
    "rxnfp-ft": "models/transformers/bert_ft",
    "rxnfp-ft-10k-25s": "models/transformers/bert_ft_10k_25s",
}
#: Parts of the checkpoints that are no part of the embedding: the pooler, the two pretraining heads, the classifier.
HEADS = ("pooler.", "cls.predictions.", "cls.seq_relationship.", "classifier.")


def _card(name: str, title: str, trained_on: tuple[str, ...], sha256: str, remark: str) -> Card:
    return Card(
        name=name,
        family="rxnfp",
        modality="string",
        title=title,
        revision="0.1.0",
        parameters=6_608_640,
        dimension=256,
        layer="last of 12 transformer layers",
        pooling="mean over tokens; [CLS], [SEP] and padding left out",
        trained_on=trained_on,
        licence_code="MIT",
        licence_weights="MIT",
        reference="10.1038/s42256-020-00284-w",
        source=f"file rxnfp/{FOLDERS[name]}/pytorch_model.bin in the wheel of rxnfp==0.1.0",
        weights_sha256=sha256,
        accepts="PyTorch state dict of a BERT with rxnfp's settings and vocabulary (pytorch_model.bin)",
        reads=("state dict", "Lightning checkpoint", "pickled objects"),
        untrained=True,
        distinct=False,  # bracket atoms outside the vocabulary share the unknown token
        remark=remark,
        resources=Resources(batch_size=64, memory_gib=2),
    )


REACTIONS = "Trained on whole reactions: a single molecule is outside of what it has seen."


@target(
    _card(
        "rxnfp-pretrained",
        "rxnfp BERT, pretrained",
        ("Pistachio",),
        "50a6ed263d33ae759affa82c1e85554cc5ea9f56145f5c7fb39b6c25d4356437",
        REACTIONS,
    ),
    _card(
        "rxnfp-ft",
        "rxnfp BERT, tuned on reaction classes",
        ("Pistachio",),
        "5bb7f9f5831ec16a4b90545f95394853caf19ff9a8272291c86e0b231e0ff2ba",
        f"{REACTIONS} The package's fingerprint is this model's state at [CLS], which is not pooled here.",
    ),
    _card(
        "rxnfp-ft-10k-25s",
        "rxnfp BERT, tuned on the classes of Schneider's 50k reactions",
        ("Pistachio", "Schneider-50k"),
        "f9bcac41c7c09eb0ca2c0b355494fe92ca03aa5085e0f2b7a44f716212e61c71",
        REACTIONS,
    ),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load BERT's encoder from the wheel's files."""
    import torch
    from transformers import BertConfig, BertModel

    folder = in_wheel("rxnfp", FOLDERS[card.name])
    config = BertConfig.from_json_file(str(folder / "config.json"))
    torch.manual_seed(weights.seed)
    model = BertModel(config, add_pooling_layer=False)
    if not weights.random:
        state = read_checkpoint(weights, folder / "pytorch_model.bin")
        model.load_state_dict(encoder_state(state, "bert.", HEADS))
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
