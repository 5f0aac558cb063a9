"""What was withdrawn from a board: a file beside its spec, shown at the top of its page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pydantic import Field

from consilience.escaping import markdown
from consilience.records.schema import SchemaModel, validated

FILE = "withdrawn.json"


class Withdrawal(SchemaModel):
    """One target that was withdrawn."""

    target: str
    """Its name."""
    datasets: list[str]
    """Data sets on which it stood."""
    date: date
    """Day."""
    reason: str = Field(min_length=1, max_length=400)
    """Why, as the board says it."""


class Withdrawals(SchemaModel):
    """Targets that were withdrawn from a board."""

    withdrawn: list[Withdrawal]
    """In the order of their withdrawal."""


def read_withdrawals(folder: Path) -> list[Withdrawal]:
    """Read what was withdrawn from a board; raises `ValueError` naming the file where it can't be read."""
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        return validated(Withdrawals, json.loads(path.read_text("utf-8"))).withdrawn
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def in_markdown(withdrawals: Sequence[Withdrawal]) -> str:
    """Lines for the top of a board's page; empty where nothing was withdrawn."""
    if not withdrawals:
        return ""
    lines = [
        f"- {markdown(one.target)} ({one.date}; {', '.join(one.datasets)}): {markdown(one.reason)}"
        for one in withdrawals
    ]
    return "\n".join(["Withdrawn from this board:", "", *lines])
