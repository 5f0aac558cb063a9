"""Folders for the time of a job: they go with it, and what a killed process left goes with the next job."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from .files import host, is_alive

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: leftovers stay until the system clears its temporary folder
    fcntl = None

PREFIX = "consilience-job-"
#: Names hold the beginning of :func:`consilience.files.host`, and the process that made the folder.
_NAME = re.compile(re.escape(PREFIX) + r"(?:(?P<host>[0-9a-f]{4})-(?P<pid>[0-9]+)-)?[a-z0-9_]{8}")
_LOCK = ".lock"
#: Seconds after which an empty folder without a lock is a leftover.
_OLD = 86400.0


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder among the system's temporary ones, and remove it at the end.

    A lock inside, which the system releases when its holder dies, tells it from a leftover.
    """
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{host()[:4]}-{os.getpid()}-"))
    lock = None
    try:
        if fcntl is not None:
            # Under another name until it is held: a sweep takes a free lock for that of a dead process.
            lock = os.open(folder / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / f"{_LOCK}.new").rename(folder / _LOCK)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep() -> None:
    """Remove the scratch folders of dead processes of this user."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                status, name = folder.lstat(), _NAME.fullmatch(folder.name)
                if name and status.st_uid == os.getuid():
                    ended = name["host"] == host()[:4] and not is_alive(int(name["pid"]))
                    _remove_leftover(folder, status.st_mtime, ended=ended)


def _remove_leftover(folder: Path, changed: float, *, ended: bool) -> None:
    assert fcntl is not None
    if not (folder / _LOCK).exists():  # its process was killed before it had the lock, or while it removed the folder
        if ended:
            shutil.rmtree(folder, ignore_errors=True)
        elif time.time() - changed > _OLD:
            folder.rmdir()  # where it is empty
        return
    lock = os.open(folder / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
