"""Shards: the rows a worker has finished, one safetensors file per run of items, written atomically.

A killed run leaves whole shards only; the next run goes on behind the last one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consilience.files import write_atomically

from .batches import Batch


def write_shard(folder: Path, start: int, batches: Sequence[Batch]) -> Path:
    """Write consecutive batches as the shard that begins at item `start`."""
    from safetensors.numpy import save

    features = np.concatenate([batch.features for batch in batches])
    energies = np.concatenate([batch.energies for batch in batches])
    reasons = [reason for batch in batches for reason in batch.reasons]
    failed = {str(i): reason for i, reason in enumerate(reasons) if reason is not None}
    truncated = np.concatenate([batch.truncated for batch in batches])
    blob = save(
        {"features": features, "energies": energies, "truncated": truncated}, metadata={"reasons": json.dumps(failed)}
    )
    path = folder / f"shard-{start:09d}-{start + len(features):09d}.safetensors"
    write_atomically(path, blob)
    return path


def read_shards(folder: Path) -> Batch:
    """All finished rows, in order."""
    from safetensors import safe_open

    parts: list[Batch] = []
    for _, _, path in _ranges(folder):
        with safe_open(path, framework="numpy") as file:
            features, energies = file.get_tensor("features"), file.get_tensor("energies")
            truncated = file.get_tensor("truncated")
            failed = json.loads(file.metadata()["reasons"])
        parts.append(Batch(features, energies, [failed.get(str(i)) for i in range(len(features))], truncated))
    return Batch(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.energies for part in parts]),
        [reason for part in parts for reason in part.reasons],
        np.concatenate([part.truncated for part in parts]),
    )


def finished_items(folder: Path) -> tuple[int, int | None]:
    """Number of leading items whose rows are finished, and the number of their columns."""
    ranges = _ranges(folder)
    if not ranges:
        return 0, None
    from safetensors import safe_open

    with safe_open(ranges[0][2], framework="numpy") as file:
        return ranges[-1][1], file.get_slice("features").get_shape()[1]


def drop_shards(folder: Path, *, behind: int) -> None:
    """Remove the shards of items that lie behind the first `behind` ones."""
    for path in folder.glob("shard-*.safetensors"):
        if int(path.stem.split("-")[2]) > behind:
            path.unlink(missing_ok=True)


def _ranges(folder: Path) -> list[tuple[int, int, Path]]:
    """Shards that follow each other without a gap from item 0 on."""
    ranges, end = [], 0
    for path in sorted(folder.glob("shard-*.safetensors")):
        first, last = (int(part) for part in path.stem.split("-")[1:3])
        if first == end:
            ranges.append((first, last, path))
            end = last
    return ranges
