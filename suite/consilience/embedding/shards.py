"""Shards: the rows a worker has finished, one safetensors file per run of items, written atomically.

A killed run leaves whole shards only; the next run goes on behind the last one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from consilience.files import write_atomically

from .batches import Batch, joined
from .tensors import bytes_to_tensors, tensors_to_bytes

#: Holds the number of items of a batch after a crash, beside the shards.
BATCH_SIZE = "batch-size"


def write_shard(folder: Path, start: int, batches: Sequence[Batch]) -> Path:
    """Write consecutive batches as the shard that begins at item `start`."""
    rows = joined(batches)
    failed = {str(i): reason for i, reason in enumerate(rows.reasons) if reason is not None}
    items = f"{start}-{start + len(rows.reasons)}"
    metadata = {"items": items, "reasons": json.dumps(failed)} | (
        {"again": json.dumps(rows.again)} if rows.again else {}
    )
    tensors: dict[str, NDArray[Any]] = {
        "features": rows.features,
        "energies": rows.energies,
        "truncated": rows.truncated,
    }
    path = folder / f"shard-{start:09d}-{start + len(rows.reasons):09d}.safetensors"
    write_atomically(path, tensors_to_bytes(tensors, metadata))
    return path


def read_shards(folder: Path) -> Batch:
    """All finished rows, in order."""
    return joined([_read(path) for _, _, path in _ranges(folder)])


def _read(path: Path) -> Batch:
    """Read a shard; raises `ValueError` where it is damaged or of other items."""
    tensors, metadata = bytes_to_tensors(path.read_bytes())
    first, last = (int(part) for part in path.stem.split("-")[1:3])
    if metadata.get("items") != f"{first}-{last}" or len(tensors["features"]) != last - first:
        raise ValueError(f"{path.name} holds the rows of other items")
    features, energies, truncated = tensors["features"], tensors["energies"], tensors["truncated"]
    failed, again = json.loads(metadata["reasons"]), json.loads(metadata.get("again", "[]"))
    reasons = [failed.get(str(i)) for i in range(len(features))]
    return Batch(features, energies, reasons, truncated, tuple(again))


def embed_again(folder: Path, before: int, embed_one: Callable[[int], Batch]) -> None:
    """Embed the items anew whose failure was one of circumstance; each shard is replaced as a whole.

    Parameters
    ----------
    folder
        Holds the shards.
    before
        Only the items before this one, which earlier runs embedded.
    embed_one
        Gives the row of an item by its place among all.
    """
    for first, _, path in _ranges(folder):
        rows = _read(path)
        if not rows.again or first >= before:
            continue
        again = set(rows.again)
        new = [embed_one(first + i) if i in again else _row(rows, i) for i in range(len(rows.reasons))]
        write_shard(folder, first, new)


def _row(rows: Batch, i: int) -> Batch:
    one = slice(i, i + 1)
    return Batch(rows.features[one], rows.energies[one], rows.reasons[one], rows.truncated[one])


def rows_missing_for_now(folder: Path) -> str:
    """How many rows failed by circumstance, and why the first one did; empty where there are none."""
    rows = read_shards(folder)
    if not rows.again:
        return ""
    first = rows.again[0]
    number = f"{len(rows.again)} of {len(rows.reasons)} rows missing"
    return f"{number}: {rows.reasons[first]} (item {first + 1}{', ...' if len(rows.again) > 1 else ''})"


def remember_batch_size(folder: Path, size: int | None) -> None:
    """Note how many items a batch may have after a crash; None forgets it."""
    path = folder / BATCH_SIZE
    if size is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, str(size))


def remembered_batch_size(folder: Path) -> int | None:
    """Read what :func:`remember_batch_size` wrote; None where there is nothing, or nothing that makes sense."""
    try:
        return max(1, int((folder / BATCH_SIZE).read_text("utf-8")))
    except (OSError, ValueError):
        return None


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


def drop_damaged(folder: Path) -> None:
    """Remove the first damaged shard and those behind it."""
    for first, _, path in _ranges(folder):
        try:
            _read(path)
        except (ValueError, KeyError):
            drop_shards(folder, behind=first)
            return


def _ranges(folder: Path) -> list[tuple[int, int, Path]]:
    """Shards that follow each other without a gap from item 0 on."""
    ranges, end = [], 0
    for path in sorted(folder.glob("shard-*.safetensors")):
        first, last = (int(part) for part in path.stem.split("-")[1:3])
        if first == end:
            ranges.append((first, last, path))
            end = last
    return ranges
