"""Example target files: ``consilience new target`` copies one and fills in the names."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from consilience.cards import DEFAULT_VIEW, Card

_HERE = Path(__file__).parent
#: Which example reads which view.
_EXAMPLES = {"atoms": "atoms.py", "backbone": "backbone.py"}


def target_file(name: str, modality: str, family: str | None = None) -> str:
    """Return the text of a target file that runs unchanged and marks what to replace.

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
        A card does not accept the name or the family.
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
