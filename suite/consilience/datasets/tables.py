"""Reading the tables of recipes: shipped with the package, or built on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from consilience.building.built import find_built, folder_of
from consilience.cache import cache_dir
from consilience.cards import DatasetCard

if TYPE_CHECKING:
    from consilience.registry import DatasetEntry
    from datasets import Dataset

DATA = Path(__file__).resolve().parents[1] / "data"


class NotBuiltError(LookupError):
    """A data set has to be built before it can be read."""


def where_is(name: str) -> str:
    """Say where the table of a recipe's data set is: ``"shipped"``, ``"built"``, or ``""``, not on this machine."""
    if (DATA / f"{name}.parquet").is_file():
        return "shipped"
    return "built" if (folder_of(name) / "manifest.json").is_file() else ""


def table_of(entry: DatasetEntry) -> Dataset:
    """Return the table of a registered data set (see :func:`load_table` for that of a recipe)."""
    table: Dataset = load_table(entry.card) if entry.load is None else entry.load()
    return table


def load_table(card: DatasetCard) -> Dataset:
    """Return the table of this card; needs no network.

    Raises
    ------
    NotBuiltError
        It is neither shipped nor built here; the message says what to type.
    ValueError
        The file is not the one that the card's `revision` or the build's manifest names.
    """
    shipped = DATA / f"{card.name}.parquet"
    if shipped.is_file():
        path, digest = shipped, hashlib.sha256(shipped.read_bytes()).hexdigest()
    else:
        built = find_built(card.name)
        if built is None:
            raise NotBuiltError(
                f"data set {card.name!r} is not on this machine yet: consilience dataset build {card.name}"
            )
        path, digest = built.path, str(built.manifest["sha256"])
    if card.revision not in (None, digest):
        raise ValueError(f"{path} has SHA-256 {digest}, its card says {card.revision}: {card.recipe}")

    import datasets

    # Reading 1,000 rows takes a blink; a progress bar would only litter the author's terminal.
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(
            "parquet", data_files=str(path), split="train", cache_dir=str(cache_dir() / "datasets")
        )
    finally:
        if shown:
            datasets.enable_progress_bars()
