"""The cache folder: embeddings, environments, Arrow copies of data sets."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir

from .files import check_writable


def cache_dir() -> Path:
    """Folder of the suite's caches: ``CONSILIENCE_CACHE`` where set, else the platform's cache folder."""
    chosen = os.environ.get("CONSILIENCE_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else Path(user_cache_dir("consilience", False))


def check_cache() -> None:
    """Try whether the cache folder can be written to; raises `OSError`, which names the folder."""
    try:
        check_writable(cache_dir(), folder=True)
    except OSError as error:
        text = f"{error.strerror}; the cache folder can't be written to, and CONSILIENCE_CACHE names another"
        raise type(error)(error.errno, text, str(cache_dir())) from error
