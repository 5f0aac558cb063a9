"""Why there is no embedding: the messages are the reasons shown on a board."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .store import Embedding


class EmbeddingFailedError(RuntimeError):
    """A target could not embed a data set; the message is the reason shown on the board."""


class EmbeddingInterruptedError(EmbeddingFailedError):
    """Memory, time, a signal or a disk ended an embedding, not the target; the next run goes on.

    Parameters
    ----------
    reason
        What ended it.
    embedding
        The rows there are, where only some are missing; it is not stored.
    """

    def __init__(self, reason: str, embedding: Embedding | None = None) -> None:
        super().__init__(reason)
        self.embedding = embedding


class EmbeddingSkippedError(RuntimeError):
    """A target does not apply to a data set; the message is the reason shown on the board."""
