"""Atomic writes, the sweeping of what a killed writer left behind, and whether a place can be written to."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import secrets
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

#: Key of the checksum in a sealed table.
_SEAL = "checksum"

#: Leftovers of a process that can't be asked whether it lives (of another host, say) go after so many seconds.
OLD = 24 * 3600.0
_LEFTOVER = re.compile(r"\..*\.(?P<host>[0-9a-f]{12})-(?P<pid>[0-9]+)-[0-9a-f]{8}\.part")
#: What earlier releases left.
_OLD_LEFTOVER = re.compile(r"\..+\.[0-9]+\.part")
#: Folders in which this process has swept.
_swept: set[Path] = set()


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file atomically: readers see the old or the complete new file, even if the writer is killed.

    The first write to a folder also removes what killed writers left there (`sweep`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent)
    # The name of a temporary file may be as long as that of a file: only the beginning of the latter is in it.
    temporary = path.with_name(f".{path.name[:100]}.{host()}-{os.getpid()}-{secrets.token_hex(4)}.part")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _sweep_once(folder: Path) -> None:
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def sweep(folder: Path) -> list[Path]:
    """Remove the temporary files that killed writers left in a folder, and return them.

    Those of dead processes of this host go at once, all others after 24 hours.
    """
    removed = []
    try:
        leftovers = [path for path in folder.iterdir() if path.suffix == ".part"]
    except OSError:
        return []
    for path in leftovers:
        with contextlib.suppress(OSError):
            match = _LEFTOVER.fullmatch(path.name)
            if match is None and _OLD_LEFTOVER.fullmatch(path.name) is None:
                continue  # a file of the user's
            ours = match is not None and match["host"] == host()
            if (ours and match is not None and not is_alive(int(match["pid"]))) or _age(path) > OLD:
                path.unlink()
                removed.append(path)
    return removed


@lru_cache(maxsize=1)
def host() -> str:
    """Return 12 digits that tell apart the places where process numbers mean the same: host, boot, pid namespace."""
    parts = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            parts.append(str(Path(path).readlink()) if path.endswith("pid") else Path(path).read_text("ascii"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def is_alive(pid: int) -> bool:
    """Whether a process of this host lives; yes, where that can't be found out."""
    if os.name != "posix":  # there, signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


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

    What killed writers left in the folder goes, too (`sweep`).

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
        _sweep_once(place)  # a killed process may have left its trial where nothing else is ever written
        trial = place / f".trial.{host()}-{os.getpid()}-{secrets.token_hex(4)}.part"
        handle = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, bytes(4096))  # on a full disk, a file is created and takes nothing
            os.fsync(handle)
        finally:
            os.close(handle)
            trial.unlink()
    except OSError as error:
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        for made in missing:
            with contextlib.suppress(OSError):
                made.rmdir()
