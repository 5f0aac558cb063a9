"""Provenance of records: repository and package versions, and the embedding that a record states."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from consilience.embedding.identity import Identity
from consilience.records.record import Record
from consilience.registry import PACKAGE

#: Packages whose versions a record states.
_RECORDED_PACKAGES = ("numpy", "scipy", "scikit-learn", "datasets", "safetensors", "rdkit", "ase", "torch")


@lru_cache(maxsize=1)
def repository_state() -> tuple[str | None, bool | None]:
    """Commit of the repository the suite runs from and whether it has changes; (None, None) when installed."""

    def git(*arguments: str) -> str | None:
        # Without its optional locks git only reads: a process that is killed leaves no lock in the user's repository.
        command = ["git", "--no-optional-locks", "-C", str(PACKAGE), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        top = git("rev-parse", "--show-toplevel")
        if top is None or not (Path(top) / "suite" / "consilience").samefile(PACKAGE):
            return None, None
        changes = git("status", "--porcelain", "--", ":(top)suite")
    except OSError:
        return None, None
    return git("rev-parse", "HEAD"), bool(changes)


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Versions of the packages that affect scores."""
    versions = {}
    for name in _RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def stated_identity(record: Record) -> Identity | None:
    """Identity of the embedding as a record states it; None where it states none, or another cell's."""
    content = record.provenance.embedding.get("identity") if record.provenance else None
    if not isinstance(content, dict) or set(content) != {one.name for one in fields(Identity)}:
        return None
    identity = Identity(**content)
    return identity if (identity.target, identity.dataset) == (record.target, record.dataset) else None


def embedding_key(record: Record) -> str | None:
    """Key of the embedding that a record states, of identity and inputs; None where it states none."""
    identity = stated_identity(record)
    if identity is None or record.provenance is None:
        return None
    inputs = record.provenance.embedding.get("inputs")
    digest = inputs.get("digest") if isinstance(inputs, dict) else None
    return identity.key if digest is None else hashlib.sha256(f"{identity.key} {digest}".encode()).hexdigest()
