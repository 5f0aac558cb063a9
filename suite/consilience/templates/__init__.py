"""Target files to begin with: ``consilience new target`` copies one and puts the names in."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from consilience.cards import DEFAULT_VIEW, Card

_HERE = Path(__file__).parent
#: Which example reads which view.
_EXAMPLES = {"atoms": "atoms.py", "backbone": "backbone.py"}


def target_file(name: str, modality: str, family: str | None = None) -> str:
    """Return the text of a target file that works as it is and says what to replace.

    Parameters
    ----------
    name
        Name of the target.
    modality
        What the model reads.
    family
        Its family; the name by default.

    Raises
    ------
    ValueError
        The name or the family is none that a card takes.
    """
    try:
        card = Card.model_validate({"name": name, "family": family or name, "modality": modality, "view": "id"})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]}: {first['msg']}, found {first['input']!r}") from error
    text = (_HERE / _EXAMPLES.get(DEFAULT_VIEW[modality], "text.py")).read_text("utf-8")
    for field in ("name", "family", "modality"):
        text = re.sub(rf'(?m)^(\s+{field}=)"[^"]*"', rf'\g<1>"{getattr(card, field)}"', text)
    return text
