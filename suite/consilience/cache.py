"""The cache folder: embeddings, environments, Arrow copies of data sets."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir


def cache_dir() -> Path:
    """Folder of the suite's caches: ``CONSILIENCE_CACHE`` where set, else the platform's cache folder."""
    chosen = os.environ.get("CONSILIENCE_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else Path(user_cache_dir("consilience", False))
