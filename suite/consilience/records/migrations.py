"""Reading records of any schema version: older ones are migrated, newer ones are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .record import RECORD_VERSION, Record

Migration = Callable[[dict[str, Any]], dict[str, Any]]
#: By version: turns a record of that version into one of the next.
RECORD_MIGRATIONS: dict[int, Migration] = {}


def read_record(path: Path) -> Record:
    """Read a record, migrating older versions; raises `ValueError` naming the file when it is not one."""
    return parse_record(path.read_bytes(), str(path))


def parse_record(text: bytes, name: str) -> Record:
    """Record of a text, migrated; raises `ValueError` that begins with `name` when it is not one."""
    try:
        content = json.loads(text)
        version = content.get("schema_version")
        while version in RECORD_MIGRATIONS:
            content = RECORD_MIGRATIONS[version](content)
            version = content["schema_version"]
        refuse_newer(version, RECORD_VERSION)
        return Record.model_validate(content)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{name} is not a record of schema version {RECORD_VERSION}: {error}") from error


def refuse_newer(version: Any, known: int) -> None:
    """Raise `ValueError` where a schema version is one that only a later suite can read."""
    if isinstance(version, int) and version > known:
        raise ValueError(
            f"written by a newer consilience: its schema version is {version}, this one reads up to {known}; update it"
        )


def migrated(content: dict[str, Any]) -> dict[str, Any]:
    """Content of a record as the newest version writes it."""
    version = content.get("schema_version")
    while version in RECORD_MIGRATIONS:
        content = RECORD_MIGRATIONS[version](content)
        version = content["schema_version"]
    return content
