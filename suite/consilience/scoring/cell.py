"""A cell of a board, and why one can't be scored. They have a module of their own so that a plan imports no metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consilience.registry import Target


class DominatedError(ValueError):
    """Too many rows of an embedding would decide its scores."""


@dataclass(frozen=True)
class Cell:
    """A target on a data set."""

    dataset: str
    target: Target

    @property
    def id(self) -> str:
        """``<dataset>::<target>``, as pytest shows it."""
        return f"{self.dataset}::{self.target.name}"
