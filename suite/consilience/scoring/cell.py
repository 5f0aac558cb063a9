"""A cell of a board. It has a module of its own so that a plan imports no metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consilience.registry import Target


@dataclass(frozen=True)
class Cell:
    """A target on a data set."""

    dataset: str
    target: Target

    @property
    def id(self) -> str:
        """``<dataset>::<target>``, as pytest shows it."""
        return f"{self.dataset}::{self.target.name}"
