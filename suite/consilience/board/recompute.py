"""Computing rows of a submission again: the only evidence that they come from the model that they name.

Random items, which the submitter can't have known, are embedded by the target file and the weights that the submission
states, and compared with the rows that it holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from consilience.datasets.items import Items
from consilience.embedding.contract import TOLERANCE, deviation
from consilience.embedding.embed import EmbeddingFailedError, EmbeddingSkippedError, embed
from consilience.embedding.store import Embedding, Store
from consilience.records.record import Record, Submission
from consilience.registry import Target, get_target
from consilience.weights import Weights, sha256_of

from .cells import target_of

#: So many random items are embedded again, or all where there are fewer.
RECOMPUTED_ITEMS = 50
#: Beside them, so many of those that the submission says its model could not embed.
_LEFT_OUT_ITEMS = 5


@dataclass(frozen=True)
class Recomputation:
    """How rows are computed again.

    Attributes
    ----------
    checkpoint
        The weights that the card names, where the target reads a file; of a target file that reads weights beside
        itself, that file.
    trusted
        Whether a checkpoint that can run code when it is read may be read.
    unconfined
        Whether the submitter's code may run without a sandbox.
    device, time_limit
        See :func:`consilience.embedding.embed.embed`.
    """

    checkpoint: Path | None = None
    trusted: bool = False
    unconfined: bool = False
    device: str = "cpu"
    time_limit: float = 1800.0


def sandbox() -> str | None:
    """Name of the sandbox in which a submitter's code can run on this machine; None where there is none.

    The suite has none yet. The module that brings one (``isolation/sandbox.py``) answers here, and `recompute` runs its
    worker in it.
    """
    return None


def recompute(
    record: Record, embedding: Embedding, items: Items, sources: Mapping[str, bytes], how: Recomputation
) -> Submission:
    """Embed random items again and compare.

    Parameters
    ----------
    record
        The submitted record; its card says which weights.
    embedding
        The submitted rows.
    items
        The data set.
    sources
        The target file and its helpers, by file name; empty for a target of the suite.
    how
        What the publisher allows and hands in.

    Raises
    ------
    ValueError
        The rows are others, or can't be computed; the message says why.
    """
    own = bool(sources)
    if own and sandbox() is None and not how.unconfined:
        raise ValueError(
            "computing rows again runs the submitter's code, and there is no sandbox for it on this machine: "
            "--no-sandbox runs it without one"
        )
    embedded = np.flatnonzero(embedding.embedded)
    left_out = np.flatnonzero(~embedding.embedded)
    draw = SystemRandom()
    chosen = draw.sample(list(map(int, embedded)), min(RECOMPUTED_ITEMS, len(embedded)))
    missing = draw.sample(list(map(int, left_out)), min(_LEFT_OUT_ITEMS, len(left_out)))
    with TemporaryDirectory(prefix="consilience-") as folder:
        target = _runnable(record, sources, how, Path(folder))
        sample = items.select(np.array(sorted({*chosen, *missing}), dtype=np.intp))
        store = Store(Path(folder) / "store", shipped=None)
        try:
            again = embed(target, sample, store, device=how.device, time_limit=how.time_limit)
        except (EmbeddingFailedError, EmbeddingSkippedError) as error:
            raise ValueError(f"could not be computed again: {error}") from error
    rows = dict(zip(again.ids, again.features, strict=True))
    theirs = embedding.features[chosen].astype(np.float64)
    ours = np.array([rows[items.ids[place]] for place in chosen], dtype=np.float64)
    for place in missing:
        if np.isfinite(rows[items.ids[place]]).all():
            raise ValueError(f"item {items.ids[place]} is left out of the submission, and could be embedded here")
    measured = row_deviation(ours, theirs)
    if not measured <= TOLERANCE:
        raise ValueError(
            f"{len(chosen)} random rows computed again differ by {measured:.2g} (relative), {TOLERANCE:g} is allowed"
        )
    return Submission(recomputed=len(chosen), deviation=measured, unconfined=own and sandbox() is None)


def row_deviation(rows: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Largest relative difference between corresponding rows; infinite for other shapes and rows of NaN."""
    if rows.shape != others.shape or not np.isfinite(rows).all() or not np.isfinite(others).all():
        return float("inf")
    return deviation(rows.astype(np.float64), others.astype(np.float64))


def _runnable(record: Record, sources: Mapping[str, bytes], how: Recomputation, folder: Path) -> Target:
    """Return the target that a submission is of, from its own files or the suite's, with the weights handed in."""
    card, checkpoint = record.card, how.checkpoint
    of_file = "@" in record.target
    if of_file and checkpoint is None:
        raise ValueError(f"{record.target} reads a file of weights: --checkpoint FILE says where it is")
    if checkpoint is not None:
        stated, actual = card.weights_sha256, sha256_of(checkpoint)
        if stated != actual:
            raise ValueError(f"{checkpoint}: the SHA-256 is {actual}, the card states {stated}")
    if not sources:
        target = get_target(card.name)
        return target if checkpoint is None else target.from_checkpoint(checkpoint, trusted=how.trusted)
    place = folder / "source"
    place.mkdir()
    for name, content in sources.items():
        (place / name).write_bytes(content)
    weights = Weights(expected_sha256=card.weights_sha256)
    if of_file:
        weights = Weights(kind="file", path=checkpoint, trusted=how.trusted)
    elif checkpoint is not None:  # which the target file reads beside itself
        copy = shutil.copytree if checkpoint.is_dir() else shutil.copyfile
        copy(checkpoint, place / checkpoint.name)
    return replace(target_of(record), path=place / next(iter(sources)), weights=weights)
