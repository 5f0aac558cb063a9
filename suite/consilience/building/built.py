"""Where the tables lie that were built on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilience.cache import cache_dir
from consilience.files import unsealed
from consilience.weights import sha256_of

#: Keys of manifests without a checksum.
_UNSEALED = frozenset({"name", "items", "sha256", "dropped", "duplicates", "sources", "packages", "finished"})


@dataclass(frozen=True)
class BuiltTable:
    """A table on this machine and its manifest."""

    path: Path
    manifest: dict[str, Any]
    """``sha256``, ``items``, ``dropped``, ``duplicates``, ``sources``, ``packages``, ``finished``."""


def folder_of(name: str) -> Path:
    """Folder that holds a built data set."""
    return cache_dir() / "built" / name


def sources_folder() -> Path:
    """Folder that holds downloaded sources; it may be emptied at any time."""
    return cache_dir() / "sources"


def find_built(name: str) -> BuiltTable | None:
    """Return the table that was built here, ``None`` where there is none.

    Raises
    ------
    ValueError
        The table is not the one that its manifest describes.
    """
    path, manifest = folder_of(name) / f"{name}.parquet", folder_of(name) / "manifest.json"
    if not (path.is_file() and manifest.is_file()):
        return None
    again = f"run consilience dataset build {name} --fresh"
    try:
        content = json.loads(manifest.read_text("utf-8"))
        if not set(content) <= _UNSEALED:  # manifests of earlier versions have no checksum
            content = unsealed(json.dumps(content))
        wanted, _ = content["sha256"], content["sources"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{manifest} is damaged: {again}") from error
    digest = sha256_of(path)
    if digest != wanted:
        raise ValueError(f"{path} is damaged (SHA-256 {digest[:12]}...): {again}")
    return BuiltTable(path, content)
