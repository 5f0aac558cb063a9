"""The parent's side of building a data set: its environment, its worker, and where the checked table is kept."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from consilience.callbacks import Progress, Tell
from consilience.files import sealed, write_atomically
from consilience.header import Header
from consilience.isolation.environments import EnvironmentBuildError, ensure, packages_of
from consilience.isolation.job import JobFailedError, run_job
from consilience.registry import DatasetEntry
from consilience.weights import sha256_of

from .built import BuiltTable, find_built, folder_of, sources_folder


class BuildFailedError(RuntimeError):
    """A data set could not be built; the message is the reason."""


def build_dataset(
    entry: DatasetEntry,
    *,
    output: Path | None = None,
    fresh: bool = False,
    local: Path | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> BuiltTable:
    """Build a data set with its recipe, unless it stands.

    Parameters
    ----------
    entry
        The data set.
    output
        Folder to write ``NAME.parquet`` and ``NAME.json`` to, instead of the suite's cache.
    fresh
        Begin anew: neither a table nor parts of an interrupted build are used.
    local
        Folder with source files that the user has already: read instead of a hub's.
    progress
        Called with (items done, items in all).
    tell
        Called with a line for people at each stage.

    Raises
    ------
    ValueError
        The data set has no recipe.
    BuildFailedError
        The environment, a source or the recipe failed, or the table is not the one that the card names; where
        `output` is given the table has been written nevertheless.
    """
    name = entry.name
    if entry.recipe is None:
        raise ValueError(f"data set {name!r} is not built from a recipe: {entry.card.recipe}")
    home = folder_of(name)
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "lock"):
        if output is None and not fresh:
            try:
                standing = find_built(name)
            except ValueError:
                standing = None
            if standing is not None and entry.card.revision in (None, standing.manifest["sha256"]):
                return standing
        scratch = home / "building"
        if fresh:
            shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(exist_ok=True)
        made = _run_recipe(entry, scratch, local, progress, tell)
        path = Path(made.pop("path"))
        manifest = {
            "name": name,
            **made,
            "packages": packages_of(Header.of(entry.path)),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        card_revision = entry.card.revision
        matches = card_revision in (None, made["sha256"])
        wrong = None if matches else f"SHA-256 is {made['sha256']}, its card says {card_revision}"
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            table_path = Path(shutil.copy(path, output / path.name))
            write_atomically(output / f"{name}.json", json.dumps(manifest, indent=1) + "\n")
        else:
            table_path = home / path.name
        if wrong:
            raise BuildFailedError(f"{name}: the table made here is not the one of the card: {wrong}")
        if output is None:
            path.replace(table_path)
            write_atomically(home / "manifest.json", sealed(manifest))
        shutil.rmtree(scratch)
    return BuiltTable(table_path, manifest)


def _run_recipe(
    entry: DatasetEntry,
    scratch: Path,
    local: Path | None,
    progress: Progress | None,
    tell: Tell | None,
) -> dict[str, Any]:
    header = Header.of(entry.path)
    try:
        if tell is not None:
            tell("preparing the recipe's environment")
        python = ensure(header)
        job = {
            "entry": "consilience.building.make:build",
            "recipe_file": str(entry.path),
            "dataset": entry.name,
            "sources": str(sources_folder()),
            "folder": str(scratch),
            "local": str(local.resolve()) if local is not None else None,
            "code": sha256_of(entry.path) + header.digest,
        }
        outcome = run_job(python, job, scratch / "worker.log", progress=progress, tell=tell, network=True, token=True)
    except EnvironmentBuildError as error:
        raise BuildFailedError(f"{entry.name}: environment: {error}") from error
    except JobFailedError as error:
        raise BuildFailedError(f"{entry.name}: {error}") from error
    return outcome.of("made")
