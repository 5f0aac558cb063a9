"""What a target reads while it embeds, noted beside its shards so that a run which was killed goes on safely."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.files import sealed, unsealed, write_atomically
from consilience.header import Header
from consilience.isolation.opens import Opens

from .inputs import Inputs, Origin, changes, collect
from .shards import drop_damaged, drop_shards

if TYPE_CHECKING:
    from consilience.registry import Target

#: What the target had read when the last shard was written, beside the shards.
FILE = "read.json"


class Reads:
    """Inputs of one embedding while it is made.

    Parameters
    ----------
    target
        Whose code runs.
    folder
        Holds the shards. Those of a former run stay only where everything that it read is unchanged.
    fresh
        Keep no shard.
    """

    def __init__(self, target: Target, folder: Path, *, fresh: bool = False) -> None:
        self.inputs = Inputs()
        self.complete = True
        self._target, self._folder = target, folder
        self._opens: Opens | None = None
        self._outputs: list[Path] = []
        self._verified: list[str] = []
        self._network = Header.of(target.path).network
        items = 0
        if not fresh:
            items, former = _read(folder / FILE)
            if next(changes(former, Origin.of(target), {}), None) is None:
                self.inputs = former
            else:
                items = 0
        drop_shards(folder, behind=items)
        drop_damaged(folder)

    def follow(self, opens: Opens, own: Iterable[Path]) -> None:
        """Observe a worker that is about to start; what the suite hands it, and what it writes, lies in `own`."""
        self._opens, self._outputs = opens, list(own)

    def listen(self, event: str, message: Mapping[str, Any]) -> None:
        """Take what the worker says has been read; raises :class:`InputsError`."""
        if event == "loaded":
            self._verified = message["verified"]
        if event != "shard" or message["read"] is None:
            return
        assert self._opens is not None
        now = collect(message["read"], self._opens, self._target, outputs=self._outputs, verified=self._verified)
        self.complete &= self._opens.complete
        self.inputs = self.inputs.merged(now)
        content = {"items": message["items"], "inputs": json.loads(self.inputs.to_json())}
        write_atomically(self._folder / FILE, sealed(content))

    def summary(self) -> dict[str, Any]:
        """Return what a record says of the inputs: no path of this machine."""
        return {
            "digest": self.inputs.digest,
            "files": len(self.inputs.files),
            "folders": len(self.inputs.folders),
            "packages": len(self.inputs.packages),
            "observed": self.complete,
            **({"network": True} if self._network else {}),
        }


def _read(path: Path) -> tuple[int, Inputs]:
    try:
        content = unsealed(path.read_text("utf-8"))
        return int(content["items"]), Inputs.from_json(json.dumps(content["inputs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return 0, Inputs()
