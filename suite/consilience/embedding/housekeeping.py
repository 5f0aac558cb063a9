"""Stored embeddings as a user sees them: what makes one valid or stale, sizes, damage, removal."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.cache import cache_dir

from .identity import identify
from .inputs import ABSENT
from .store import Store, parse_embedding

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.registry import Target

#: What the cache folder holds, by the folder's name.
KINDS = {
    "embeddings": "rows of targets, one file per target, data set and set of inputs",
    "records": "scores",
    "environments": "packages of targets",
    "datasets": "Arrow copies of tables",
    "built": "tables built by consilience dataset build",
    "sources": "downloads of recipes",
    "strangers": "packages downloaded for strangers' headers",
}


@dataclass(frozen=True)
class Explanation:
    """Why an embedding is read from the store, or made anew."""

    state: str
    """``"shipped"``, ``"valid"``, ``"stale"`` or ``"missing"``."""
    identity: dict[str, str]
    """What names the embedding."""
    key: str | None
    """Key of the embedding that is read; None where it is made anew."""
    entries: tuple[dict[str, Any], ...]
    """Stored embeddings of this identity, newest first, each with its inputs and what has changed since."""

    def lines(self) -> Iterator[str]:
        """Lines that a terminal shows."""
        words = {
            "shipped": "valid: its rows are shipped with the package",
            "valid": "valid: nothing that it was made from has changed",
            "stale": "stale: it is embedded again by the next run",
            "missing": "missing: it has not been embedded on this machine",
        }
        yield f"{self.identity['dataset']}::{self.identity['target']} is {words[self.state]}"
        for name in ("weights", "code", "environment", "revision"):
            value = self.identity[name]
            short = f"{value[:19]}..." if len(value) > 24 else value
            unknown = "not stated by the card; the files that the target reads count by content"
            yield f"  {name}: {unknown if value == 'sha256:None' else short}"
        for number, entry in enumerate(self.entries, 1):
            changes = entry["changes"]
            yield f"  rows {number}, stored {entry['stored']}: {'; '.join(changes) if changes else 'valid'}"
            for kind in ("files", "folders", "packages"):
                names = entry["inputs"].get(kind, {})
                shown = ", ".join(f"{one} {value}" if kind == "packages" else one for one, value in names.items())
                if names:
                    yield f"    {kind} ({len(names)}): {shown}"


def explain(target: Target, items: Items, store: Store | None = None) -> Explanation:
    """Say which inputs make the embedding of `items` by `target` valid or stale.

    Parameters
    ----------
    target, items
        The cell.
    store
        Where embeddings are looked up; the suite's cache folder and the shipped ones by default.
    """
    store = store or Store()
    identity = identify(target, items)
    entries = []
    for entry, changes in store.stale(identity):
        inputs = {} if entry.inputs is None else dict(entry.inputs.__dict__)
        shown = {name: {k: v for k, v in table.items() if v != ABSENT} for name, table in inputs.items()}
        shown["looked for"] = {k: v for k, v in inputs.get("files", {}).items() if v == ABSENT}
        stored = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.path.stat().st_mtime))
        entries.append({"key": entry.key, "stored": stored, "changes": changes, "inputs": shown})
    current = store.find(identity)
    shipped = current is not None and store.folder not in current.path.parents
    state = "shipped" if shipped else "valid" if current is not None else "stale" if entries else "missing"
    return Explanation(state, dict(identity.__dict__), None if current is None else current.key, tuple(entries))


def sizes(folder: Path | None = None) -> list[dict[str, Any]]:
    """Sizes of what the cache folder holds: ``kind``, ``files``, ``mib``, ``holds``; hard links are counted once."""
    folder, rows = folder or cache_dir(), []
    seen: set[tuple[int, int]] = set()
    for kind in sorted({*KINDS, *(path.name for path in folder.glob("*") if path.is_dir())}):
        count = size = 0
        for path in (folder / kind).rglob("*"):
            status = path.lstat()
            if not path.is_dir() and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                count, size = count + 1, size + status.st_size
        if count:
            rows.append({"kind": kind, "files": count, "mib": size / 2**20, "holds": KINDS.get(kind, "")})
    return rows


def damaged(folder: Path | None = None) -> Iterator[tuple[Path, str]]:
    """Check each stored embedding against its checksums; yield those that are damaged, with the reason."""
    for path in sorted((folder or cache_dir() / "embeddings").glob("*/*/embedding*.safetensors")):
        try:
            parse_embedding(path.read_bytes())
        except (OSError, ValueError) as error:
            yield path, str(error)


def prune(*, days: float, dry_run: bool = False, folder: Path | None = None) -> list[tuple[Path, int]]:
    """Remove embeddings, unfinished shards and scores that were not written for so many days.

    Parameters
    ----------
    days
        Age.
    dry_run
        Remove nothing.
    folder
        The cache folder.

    Returns
    -------
    list of (Path, int)
        What is removed, with its bytes. Environments are those of ``consilience environments --remove-unused``.
    """
    folder, before = folder or cache_dir(), time.time() - days * 86400
    removed = []
    for path in sorted([*folder.glob("embeddings/*/*"), *folder.glob("records/*/*.json")]):
        files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        if files and max(one.stat().st_mtime for one in files) >= before:
            continue
        removed.append((path, sum(one.stat().st_size for one in files)))
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return removed
