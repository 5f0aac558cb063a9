"""Atomic writes, and whether a place can be written to."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Key of the checksum in a sealed table.
_SEAL = "checksum"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file atomically: readers see the old or the complete new file, even if the writer is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    data = content.encode() if isinstance(content, str) else content
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sealed(content: Mapping[str, Any]) -> str:
    """JSON of a table, with a checksum over all of it: against damage, not against forgery."""
    return json.dumps({**content, _SEAL: _digest(content)}) + "\n"


def unsealed(text: str) -> dict[str, Any]:
    """Table of what `sealed` made; raises `ValueError` where it is something else, or damaged."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(content, dict) or content.pop(_SEAL, None) != _digest(content):
        raise ValueError("it does not match its checksum")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Try whether a file can be written at `path`, or files below it, and leave nothing behind.

    Parameters
    ----------
    path
        The file, or the folder.
    folder
        Whether `path` is a folder to write into.

    Raises
    ------
    OSError
        It can't; the error names `path`.
    """
    place = path if folder else path.parent
    missing = []
    try:
        if not folder and path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        one = place
        while not one.exists() and one != one.parent:
            missing.append(one)
            one = one.parent
        place.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".consilience-", suffix=".part", dir=place)
        try:
            os.write(handle, bytes(4096))  # on a full disk, a file is created and takes nothing
            os.fsync(handle)
        finally:
            os.close(handle)
            Path(name).unlink()
    except OSError as error:
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        for made in missing:
            with contextlib.suppress(OSError):
                made.rmdir()
