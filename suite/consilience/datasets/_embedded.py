"""Reading the parquet files that travel with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from consilience.cache import cache_dir
from consilience.cards import DatasetCard

if TYPE_CHECKING:
    from datasets import Dataset

DATA = Path(__file__).resolve().parents[1] / "data"


def load_embedded(card: DatasetCard) -> Dataset:
    """Return the embedded data set of this card; needs no network.

    Raises
    ------
    FileNotFoundError
        The package was installed without its data.
    ValueError
        The file is not the one that the card's `revision` names.
    """
    path = DATA / f"{card.name}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: install consilience again, or run {card.recipe}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != card.revision:
        raise ValueError(f"{path} has SHA-256 {found}, its card says {card.revision}: run {card.recipe}")

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
