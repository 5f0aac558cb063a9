"""What a worker prints: its head and its tail are kept, however much there is between them."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import IO

#: Bytes kept of the beginning, and of the end.
HEAD = TAIL = 2**20


class BoundedLog:
    """Reads a pipe to its end in a thread and keeps a bounded log in a file.

    Parameters
    ----------
    pipe
        Where the worker's output comes from.
    path
        File of the log. It holds the head while the worker runs, and the tail once it has ended.
    """

    def __init__(self, pipe: IO[bytes], path: Path) -> None:
        self._pipe, self._path = pipe, path
        self._head, self._tail, self._left_out = bytearray(), bytearray(), 0
        path.write_bytes(b"")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError), self._path.open("ab", buffering=0) as file:
            while chunk := self._pipe.read1(2**16):  # type: ignore[attr-defined]  # of a buffered reader
                room = HEAD - len(self._head)
                if room > 0:
                    self._head += chunk[:room]
                    with contextlib.suppress(OSError):  # a full disk: the log is no reason to stop
                        file.write(chunk[:room])
                self._tail += chunk[max(room, 0) :]
                if len(self._tail) > 2 * TAIL:
                    self._left_out += len(self._tail) - TAIL
                    del self._tail[:-TAIL]

    def close(self) -> str:
        """Wait for the end of the pipe, write the tail and return the log."""
        self._thread.join(5)
        if len(self._tail) > TAIL:
            self._left_out += len(self._tail) - TAIL
            del self._tail[:-TAIL]
        gap = f"\n... {self._left_out:,} bytes left out ...\n".encode() if self._left_out else b""
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            file.write(gap + bytes(self._tail))
        return bytes(self._head + gap + self._tail).decode("utf-8", errors="replace")
