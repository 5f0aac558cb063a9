"""What a verification has done so far: one that was stopped goes on where it was.

A line per file of the board, kept in the suite's cache folder until the verification has come to its end. It counts
only for the same bytes, the same measurement and the same scoring code; a finished verification leaves nothing behind,
so that the next one computes everything again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consilience.cache import cache_dir
from consilience.records.spec import Spec
from consilience.registry import PACKAGE

#: What is recomputed by them.
_CODE = ("board", "metrics", "records", "scoring", "embedding")


class Checkpoint:
    """Finished parts of one verification.

    Parameters
    ----------
    folder
        The board's folder.
    spec
        Its spec.
    """

    def __init__(self, folder: Path, spec: Spec) -> None:
        digest = hashlib.sha256(f"{folder.resolve()}\n{spec.model_dump_json()}".encode())
        for name in _CODE:
            for path in sorted((PACKAGE / name).rglob("*.py")):
                digest.update(path.read_bytes())
        self.path = cache_dir() / "verify" / f"{digest.hexdigest()[:32]}.jsonl"
        self._parts: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            for line in self.path.read_text("utf-8", errors="replace").splitlines():
                try:
                    part = json.loads(line)
                    self._parts[part["file"]] = part
                except (ValueError, KeyError, TypeError):  # cut off by what stopped it
                    continue

    def __len__(self) -> int:
        return len(self._parts)

    def of(self, file: str, content: bytes) -> Mapping[str, Any] | None:
        """What is known of a file with this content; None where it was not verified yet."""
        part = self._parts.get(file)
        return part if part is not None and part["sha256"] == hashlib.sha256(content).hexdigest() else None

    def add(self, file: str, content: bytes, result: Mapping[str, Any]) -> None:
        """Remember the result of a file."""
        part = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), **result}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(part) + "\n")

    def finish(self) -> None:
        """Forget all of it: the verification has come to its end."""
        self.path.unlink(missing_ok=True)
