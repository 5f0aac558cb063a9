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

import numpy as np
from numpy.typing import NDArray

from consilience.datasets.items import Items
from consilience.embedding.contract import TOLERANCE, deviation
from consilience.embedding.embed import covered_items
from consilience.embedding.errors import EmbeddingFailedError, EmbeddingSkippedError
from consilience.embedding.run import run_worker
from consilience.embedding.shards import read_shards
from consilience.embedding.store import Embedding
from consilience.isolation.sandbox import Sandbox, SandboxError, require
from consilience.records.record import Record, Submission
from consilience.registry import Target, get_target
from consilience.scratch import scratch_folder
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
        Whether the submitter's code may run without a sandbox (:mod:`consilience.isolation.sandbox`).
    device, time_limit
        See :func:`consilience.embedding.embed.embed`.
    """

    checkpoint: Path | None = None
    trusted: bool = False
    unconfined: bool = False
    device: str = "cpu"
    time_limit: float = 1800.0


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
    sandbox: Sandbox | None = None
    if sources:
        try:
            sandbox = require(allowed_without=how.unconfined)
        except SandboxError as error:
            raise ValueError(f"computing rows again runs the submitter's code: {error}") from error
    embedded = np.flatnonzero(embedding.embedded)
    left_out = np.flatnonzero(~embedding.embedded)
    draw = SystemRandom()
    chosen = draw.sample(list(map(int, embedded)), min(RECOMPUTED_ITEMS, len(embedded)))
    missing = draw.sample(list(map(int, left_out)), min(_LEFT_OUT_ITEMS, len(left_out)))
    with scratch_folder() as folder:
        target = _runnable(record, sources, how, folder)
        sample = items.select(np.array(sorted({*chosen, *missing}), dtype=np.intp))
        rows = _embed(target, sample, folder / "rows", how, sandbox or "none")
    theirs = embedding.features[chosen].astype(np.float64)
    blank = np.full(theirs.shape[1], np.nan)
    ours = [rows.get(items.ids[place], blank) for place in chosen]
    for place in missing:
        if np.isfinite(rows.get(items.ids[place], blank)).all():
            raise ValueError(f"item {items.ids[place]} is left out of the submission, and could be embedded here")
    same_width = {len(row) for row in ours} == {theirs.shape[1]}
    measured = row_deviation(np.array(ours, np.float64), theirs) if same_width else float("inf")
    if not measured <= TOLERANCE:
        raise ValueError(
            f"{len(chosen)} random rows computed again differ by {measured:.2g} (relative), {TOLERANCE:g} is allowed"
        )
    return Submission(recomputed=len(chosen), deviation=measured, sandbox=sandbox)


def _embed(
    target: Target, items: Items, folder: Path, how: Recomputation, sandbox: Sandbox
) -> dict[str, NDArray[np.float32]]:
    """Rows of items by id, those that the target could embed; raises `ValueError` where it could not run."""
    folder.mkdir()
    try:
        covered = covered_items(target, items)
        sample = items.select(np.array(covered, dtype=np.intp))
        run_worker(
            target,
            sample,
            "embed",
            folder=folder,
            device=how.device,
            time_limit=how.time_limit,
            sandbox=sandbox,
            stranger=True,
        )
    except (EmbeddingFailedError, EmbeddingSkippedError) as error:
        raise ValueError(f"could not be computed again: {error}") from error
    return dict(zip(sample.ids, read_shards(folder).features, strict=True))


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
