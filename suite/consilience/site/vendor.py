"""The scripts that travel with the package, so that a page asks no network for anything."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "static" / "vendor"


@dataclass(frozen=True)
class Script:
    """A vendored script, as ``vendor.toml`` describes it."""

    name: str
    package: str
    version: str
    licence: str
    file: str
    sha256: str
    licence_file: str
    licence_sha256: str

    @property
    def path(self) -> Path:
        """Where it lies in the package."""
        return FOLDER / self.file


def scripts() -> dict[str, Script]:
    """Vendored scripts by name."""
    content = tomllib.loads((FOLDER / "vendor.toml").read_text("utf-8"))
    return {entry["name"]: Script(**entry) for entry in content["script"]}


def damaged() -> list[str]:
    """Names of vendored files that are not what ``vendor.toml`` says, or are missing."""
    told = {name: digest for one in scripts().values() for name, digest in _files(one)}
    return sorted(name for name, digest in told.items() if _sha256(FOLDER / name) != digest)


def _files(script: Script) -> tuple[tuple[str, str], tuple[str, str]]:
    return (script.file, script.sha256), (script.licence_file, script.licence_sha256)


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
