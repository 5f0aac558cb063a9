# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "ase==3.29.0",
#     "mini3di==0.2.1",
#     "numpy==2.4.6",
#     "protobuf==6.33.0",
#     "sentencepiece==0.2.2",
#     "torch==2.13.0",
#     "transformers==5.23.0",
# ]
# ///
"""Every model that Hugging Face `transformers` loads by itself: strings, protein sequences and structures, prompts.

Adding one is a card, and a line of `TWINS` (in ``_transformers_twins.py``) where its family is new. The cards named
``transformers-...`` read any folder of a user's. Untrained twins are folders, too: configuration, tokenizer file and
random weights are written, then loaded as a checkpoint is.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience import Card, Weights, target
from consilience.cards import Resources
from consilience.targets import _prompts
from consilience.targets._transformers import (
    FOLD,
    Loaded,
    embed_texts,
    load_folder,
    read_prompt,
    read_residues,
    read_text,
)
from consilience.targets._transformers_twins import write_twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from consilience.datasets.layout import Backbone
    from consilience.targets._tokens import Tokens

FOLDER = "a folder of Hugging Face transformers (config.json, safetensors or state dict, tokenizer files)"
POOLING = "mean over tokens; special tokens and padding left out"
RESIDUES = "mean over residues; special tokens and padding left out"
PROMPTED = "mean over the tokens of the item's description; the system prompt, special tokens and padding left out"
#: Positions move with the frame that atoms are printed in; measured on the untrained Llama, 8 molecules of QM9.
PRINTED_DEVIATION = 0.24


def _card(name: str, family: str, hub: str | None, dimension: int | None, parameters: int | None, **more: Any) -> Card:
    """Fill in what the models share."""
    fields: dict[str, Any] = {
        "modality": "string",
        "layer": "last hidden layer",
        "pooling": POOLING,
        "source": f"hub repository {hub}" if hub else None,
        "access": "download" if hub else "file",
        "accepts": FOLDER,
        "untrained": hub is not None,
        "licence_code": "Apache-2.0",
        "resources": Resources(batch_size=32, memory_gib=max(2, (parameters or 0) * 5 / 2**30)),
    }
    return Card(name=name, family=family, dimension=dimension, parameters=parameters, **{**fields, **more})


def _protein(name: str, family: str, hub: str, dimension: int, parameters: int | None, **more: Any) -> Card:
    told = {"modality": "protein_sequence", "pooling": RESIDUES, "trained_on": ("UniRef50",)}
    return _card(name, family, hub, dimension, parameters, **{**told, **more})


def _language_models() -> list[Card]:
    """Three language models in the paper's three styles."""
    cards = []
    for name, family, hub, title, dimension, parameters, licence, reference in (
        (
            "deepseek-r1-distill-llama-8b",
            "llama",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
            "DeepSeek R1 (distilled into Llama 8B)",
            4096,
            8_030_000_000,
            "MIT",
            "10.48550/arXiv.2501.12948",
        ),
        (
            "qwen3-30b-a3b",
            "qwen3",
            "Qwen/Qwen3-30B-A3B-Thinking-2507",
            "Qwen3 30B A3B",
            2048,
            30_500_000_000,
            "Apache-2.0",
            "10.48550/arXiv.2505.09388",
        ),
        (
            "gpt-oss-20b",
            "gpt-oss",
            "openai/gpt-oss-20b",
            "GPT OSS 20B",
            2880,
            20_900_000_000,
            "Apache-2.0",
            "10.48550/arXiv.2508.10925",
        ),
    ):
        told: dict[str, Any] = {
            "modality": "text",
            "pooling": PROMPTED,
            "trained_on": ("Internet",),
            "licence_weights": licence,
            "reference": reference,
            "twin": "one layer of the published width, small feed-forward blocks; the tokens are bytes",
            "resources": Resources(batch_size=16, memory_gib=parameters * 2.2 / 2**30, gpu=True),
        }
        wording = "The paper's wording of the prompt was not at hand; this is ours."
        for suffix, style in (("", "long system prompt, SMILES"), ("-blank", "one-sentence system prompt, SMILES")):
            cards.append(
                _card(
                    name + suffix, family, hub, dimension, parameters, title=f"{title}, {style}", remark=wording, **told
                )
            )
        cards.append(
            _card(
                f"{name}-blank-atomistic",
                family,
                hub,
                dimension,
                parameters,
                title=f"{title}, one-sentence system prompt, atoms printed out",
                view="atoms",
                periodic=False,
                invariant=False,
                rotation_deviation=PRINTED_DEVIATION,
                remark=f"{wording} It reads coordinates as they stand, so the frame and the order of atoms matter.",
                **told,
            )
        )
    return cards


_ESM2 = {
    "reference": "10.1126/science.ade2574",
    "licence_code": "MIT",
    "licence_weights": "MIT",
    "twin": "ESM-2 8M's six layers",
}
_T5 = "two layers of the published width, small feed-forward blocks; a tokenizer file of residues"


@target(
    # What users bring.
    _card("transformers", "transformers", None, None, None, title="transformers folder, SMILES"),
    _card(
        "transformers-selfies", "transformers", None, None, None, view="selfies", title="transformers folder, SELFIES"
    ),
    _card(
        "transformers-protein",
        "transformers",
        None,
        None,
        None,
        modality="protein_sequence",
        pooling=RESIDUES,
        title="transformers folder, protein sequences",
    ),
    _card(
        "transformers-text",
        "transformers",
        None,
        None,
        None,
        modality="text",
        pooling=PROMPTED,
        title="transformers folder, SMILES in a prompt",
    ),
    # Strings.
    *(
        _card(
            f"chemberta-77m-{task}",
            "chemberta",
            f"DeepChem/ChemBERTa-77M-{task.upper()}",
            384,
            None,
            title=f"ChemBERTa 77M {task.upper()}",
            trained_on=("PubChem",),
            reference="10.48550/arXiv.2209.01712",
            twin="a tokenizer file of single characters",
            remark="77M counts the molecules it was trained on, not its parameters (about 3.4 M).",
            distinct=False,
        )
        for task in ("mlm", "mtr")
    ),
    *(
        _card(
            f"chemgpt-{size.lower()}",
            "chemgpt",
            f"ncfrey/ChemGPT-{size}",
            dimension,
            parameters,
            view="selfies",
            title=f"ChemGPT {size}",
            trained_on=("PubChem10M",),
            reference="10.1038/s42256-023-00740-3",
            twin="two layers of the published width" if dimension else "two layers, 256 columns",
            remark="The published vocabulary is that of SELFIES 1.0.4; newer symbols count as unknown.",
            distinct=False,
        )
        for size, dimension, parameters in (
            ("4.7M", 128, 4_700_000),
            ("19M", None, 19_000_000),
            ("1.2B", 2048, 1_200_000_000),
        )
    ),
    *(
        _card(
            f"molt5-{size}",
            "molt5",
            f"laituan245/molt5-{size}",
            dimension,
            None,
            title=f"MolT5 {size}, encoder",
            trained_on=("C4", "ZINC"),
            reference="10.18653/v1/2022.emnlp-main.26",
            twin="two layers of the published width, small feed-forward blocks; a tokenizer file of characters",
        )
        for size, dimension in (("small", 512), ("base", 768), ("large", 1024))
    ),
    # Protein sequences.
    *(
        _protein(
            f"esm2-{size.lower()}",
            "esm2",
            f"facebook/esm2_t{layers}_{size}_UR50D",
            dimension,
            parameters,
            title=f"ESM-2 {size}",
            **{**_ESM2, "twin": None if size == "8M" else f"{_ESM2['twin']} in the published width"},
        )
        for size, layers, dimension, parameters in (
            ("8M", 6, 320, 8_000_000),
            ("35M", 12, 480, 35_000_000),
            ("150M", 30, 640, 150_000_000),
            ("650M", 33, 1280, 650_000_000),
        )
    ),
    *(
        _protein(
            f"esmc-{size}m",
            "esmc",
            f"biohub/ESMC-{size}M",
            dimension,
            parameters,
            title=f"ESM Cambrian {size}M",
            trained_on=("UniRef", "MGnify", "JGI"),
            licence_weights=None,
            twin="two layers of the published width",
        )
        for size, dimension, parameters in ((300, 960, 332_997_184), (600, 1152, 600_000_000))
    ),
    _protein(
        "prott5-xl-uniref50",
        "prott5",
        "Rostlab/prot_t5_xl_half_uniref50-enc",
        1024,
        None,
        title="ProtT5 XL UniRef50, encoder",
        trained_on=("BFD", "UniRef50"),
        reference="10.1109/TPAMI.2021.3095381",
        twin=_T5,
    ),
    _protein(
        "prostt5-sequence",
        "prostt5",
        "Rostlab/ProstT5",
        1024,
        3_000_000_000,
        title="ProstT5, sequence",
        trained_on=("UniRef50", "PDB", "AlphaFoldDB"),
        licence_weights="MIT",
        reference="10.1093/nargab/lqae150",
        twin=_T5,
    ),
    *(
        _protein(
            f"ankh-{size}",
            "ankh",
            f"ElnaggarLab/ankh-{size}",
            dimension,
            None,
            title=f"Ankh {size}, encoder",
            reference="10.48550/arXiv.2301.06568",
            twin=_T5,
        )
        for size, dimension in (("base", 768), ("large", 1536))
    ),
    # Protein structures, read as 3Di states.
    _protein(
        "prostt5-structure",
        "prostt5",
        "Rostlab/ProstT5",
        1024,
        3_000_000_000,
        modality="protein_structure",
        title="ProstT5, structure (3Di)",
        trained_on=("UniRef50", "PDB", "AlphaFoldDB"),
        licence_weights="MIT",
        reference="10.1093/nargab/lqae150",
        twin=_T5,
    ),
    *(
        _protein(
            f"saprot-{size}",
            "saprot",
            f"westlake-repl/SaProt_{size.upper()}_AF2",
            dimension,
            parameters,
            modality="protein_structure",
            title=f"SaProt {size.upper()}, sequence and structure (3Di)",
            trained_on=("AlphaFoldDB",),
            reference="10.1101/2023.10.01.560349",
            twin="two layers of the published width",
        )
        for size, dimension, parameters in (("35m", 480, 35_000_000), ("650m", 1280, 650_000_000))
    ),
    # Prompts.
    *_language_models(),
)
def load(card: Card, weights: Weights, device: str) -> Any:
    """Load a folder: the user's, the hub's, or one written here with random weights."""
    if weights.random:
        with tempfile.TemporaryDirectory(prefix="consilience-twin-") as folder:
            write_twin(card, Path(folder), weights.seed)
            loaded = load_folder(Path(folder))
    else:
        path = weights.file_or_published(lambda: _download(card))
        large = (card.parameters or 0) > 2e9 and device.startswith("cuda")
        loaded = load_folder(path, trusted=weights.trusted, dtype="auto" if large else None)
    return embed_texts(loaded, _reader(card, loaded), device=device)


def _download(card: Card) -> str:
    from huggingface_hub import snapshot_download

    assert card.source is not None
    patterns = ["*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin"]
    return str(snapshot_download(card.source.rpartition(" ")[2], revision=card.revision, allow_patterns=patterns))


def _reader(card: Card, loaded: Loaded) -> Callable[[Any], Tokens]:
    """How an item becomes tokens."""
    if card.modality == "text":
        long = card.input_view == "smiles" and not card.name.endswith("-blank")
        return read_prompt(loaded, _prompts.LONG if long else _prompts.SHORT, _prompts.describe)
    if card.family == "saprot":
        # A token is a residue with its 3Di state; the tokenizer cuts the string into such pairs.
        read = read_text(loaded)
        return lambda chain: read("".join(map("".join, zip(chain.sequence, _states(chain), strict=True))))
    if card.family == "prostt5" and card.input_view == "backbone":
        read = read_residues(loaded, FOLD)
        return lambda chain: read(_states(chain))
    if card.family == "prostt5":
        return read_residues(loaded, "<AA2fold>")
    return read_residues(loaded) if card.modality == "protein_sequence" else read_text(loaded)


def _states(chain: Backbone) -> str:
    """Foldseek's 3Di state of each residue, lower case (van Kempen et al. 2023, doi:10.1038/s41587-023-01773-0)."""
    import mini3di
    import numpy as np

    if not chain.sequence:
        raise ValueError("empty: there is nothing to read")
    n, ca, c, _ = np.moveaxis(chain.coordinates.astype(np.float64), 1, 0)
    encoder = mini3di.Encoder()
    # Without side chains C-beta is placed by the package.
    return str(encoder.build_sequence(encoder.encode_atoms(ca=ca, cb=np.full_like(ca, np.nan), n=n, c=c))).lower()
