"""One writer at a time on a board, and the mark of a publication that has not come to its end.

Both lie in a folder of the board that git ignores, and so does a note of who holds the lock. A publication writes the
mark first and removes it last. One that was stopped in between leaves it, and the next makes anew what the mark names.
"""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from consilience.files import sweep, write_atomically

#: Folder of a board that holds the lock and the mark.
FOLDER = ".publication"
#: Names the process that holds the lock, in this folder.
NOTE = "holder.json"
#: Another publication may last so many seconds before one that waits for it gives up.
LONGEST_WAIT = 3600.0
#: After so many seconds, one that waits says for whom.
PATIENCE = 3.0
#: A soft lock whose holder has given no sign of life for so many seconds is taken over.
LEASE = 60.0
#: What a file system without `flock` answers.
_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class Publication:
    """The one publication that writes to a board.

    Parameters
    ----------
    folder
        The board's folder.

    Attributes
    ----------
    stale
        By data set: targets whose embedding became another since the pairs were written. It begins with what a
        publication that was stopped had marked.
    """

    def __init__(self, folder: Path, lock: BaseFileLock) -> None:
        self.folder = folder
        self.stale: dict[str, set[str]] = {}
        self._lock = lock
        self._add(_marked(folder))

    def mark(self, stale: Mapping[str, Iterable[str]] = {}) -> None:
        """Say on disk, before anything else is written, what this publication makes stale until it has ended."""
        self._add(stale)
        stale_targets = {dataset: sorted(targets) for dataset, targets in sorted(self.stale.items())}
        content = {**_this_process(), "stale": stale_targets}
        write_atomically(mark_path(self.folder), json.dumps(content, indent=1) + "\n")

    def finish(self) -> None:
        """Remove the mark: all files of the board belong together."""
        if isinstance(self._lock, SoftFileLease) and self._lock.compromise is not None:
            raise OSError(f"{self.folder}: another publication took the lock over, since this one gave no sign of life")
        mark_path(self.folder).unlink(missing_ok=True)

    def _add(self, stale: Mapping[str, Iterable[str]]) -> None:
        for dataset, targets in stale.items():
            self.stale.setdefault(dataset, set()).update(targets)


@contextmanager
def publication(
    folder: Path,
    *,
    wait: float = LONGEST_WAIT,
    soft: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[Publication]:
    """Wait until nobody else writes to a board, and keep all others waiting.

    Parameters
    ----------
    folder
        The board's folder.
    wait
        Seconds to wait at most.
    soft
        Use the soft lock, which is otherwise used only where the file system has no `flock`: a file that names host
        and process, and that its holder touches as long as it lives.
    tell
        Called with a line for people, once, where it has to wait.

    Raises
    ------
    ValueError
        Another publication did not end within the time.
    """
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    if not (place / ".gitignore").is_file():
        write_atomically(place / ".gitignore", "*\n")
    lock = _acquired(place, wait, soft, tell)
    holder = place / NOTE
    try:
        write_atomically(holder, json.dumps(_this_process()) + "\n")
        for path in (folder, *(path for path in folder.glob("*/") if path.is_dir()), *folder.glob("*/*/")):
            sweep(path)
        yield Publication(folder, lock)
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _acquired(place: Path, wait: float, soft: bool, tell: Callable[[str], None]) -> BaseFileLock:
    try:
        if not soft:
            lock = FileLock(place / "lock", fallback_to_soft=False)
            try:
                _acquire(lock, place, wait, tell)
            except OSError as error:
                if isinstance(error, Timeout) or error.errno not in _NO_FLOCK:
                    raise
            else:
                return lock
        lease = SoftFileLease(place / "lock.soft", lease_duration=LEASE)
        _acquire(lease, place, wait, tell)
    except Timeout:
        raise ValueError(
            f"{place.parent}: another publication has been writing to this board for {wait:g} s{_holder(place)}; "
            "try again later"
        ) from None
    return lease


def _acquire(lock: BaseFileLock, place: Path, wait: float, tell: Callable[[str], None]) -> None:
    try:
        lock.acquire(timeout=min(wait, PATIENCE))
    except Timeout:
        if wait <= PATIENCE:
            raise
        tell(f"{place.parent}: waiting for another publication{_holder(place)}")
        lock.acquire(timeout=wait - PATIENCE)


def _this_process() -> dict[str, str | int]:
    began = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "began": began}


def _holder(place: Path) -> str:
    """Who holds the lock, in brackets; empty where it has not said so yet."""
    try:
        note = json.loads((place / NOTE).read_bytes())
        return f" (process {note['pid']} on {note['host']}, since {note['began']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def mark_path(folder: Path) -> Path:
    """Where the mark of a publication lies."""
    return folder / FOLDER / "unfinished.json"


def is_unfinished(folder: Path) -> bool:
    """Whether a publication of the board has begun and not ended: it is under way, or was stopped."""
    return mark_path(folder).is_file()


def _marked(folder: Path) -> dict[str, list[str]]:
    """Data sets and targets that the mark names."""
    try:
        stale = json.loads(mark_path(folder).read_bytes())["stale"]
        return {str(dataset): [str(target) for target in targets] for dataset, targets in stale.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        # The mark can't be read: every pair may be of another embedding than its records.
        return {path.stem: ["*"] for path in (folder / "pairs").glob("*.json")}
