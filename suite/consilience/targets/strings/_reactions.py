"""What the models of reaction SMILES share: the vocabulary, and weights stored with heads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consilience.targets._tokens import Tokens


def tokenizer(vocabulary: Path) -> tuple[Callable[[str], Tokens], int]:
    """Tokenizer of SMILES with a file of one token a line, and the number of the padding token.

    A SMILES is cut into bracket atoms, the vocabulary's symbols (longest first) and stray characters; what the
    vocabulary lacks becomes the unknown token. [CLS] goes before the string and [SEP] behind it.
    """
    tokens = vocabulary.read_text("utf-8").split()
    number = {token: i for i, token in enumerate(tokens)}
    symbols = sorted((token for token in tokens if not token.startswith("[")), key=len, reverse=True)
    split = re.compile("|".join([r"\[[^\]]+\]", *map(re.escape, symbols), "."])).findall

    def tokenize(smiles: str) -> Tokens:
        row = [number.get(token, number["[UNK]"]) for token in split(smiles)]
        return Tokens([number["[CLS]"], *row, number["[SEP]"]], [False, *[True] * len(row), False])

    return tokenize, number["[PAD]"]


def encoder_state(state: dict[str, Any], prefix: str, heads: tuple[str, ...]) -> dict[str, Any]:
    """Keep an encoder's weights: heads (told by how their names begin) dropped, the model's prefix cut off."""
    named = {key.removeprefix(prefix): value for key, value in state.items()}
    return {key: value for key, value in named.items() if not key.startswith(heads)}
