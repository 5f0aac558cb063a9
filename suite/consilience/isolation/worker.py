"""The process that embeds, or builds a data set: runs inside a file's environment, reads a job, writes shards.

Started as ``python -I worker.py JOB.json``. It needs numpy, pydantic and safetensors beside the model's own
packages, and takes `consilience` from the folder it stands in, without exposing that folder's neighbours.
Messages to the parent are JSON lines on the original standard output; whatever the model prints goes to
standard error. When the parent dies, standard input closes and the worker ends at once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

#: A shard is written after so many items, or seconds, whichever comes first.
SHARD_ITEMS, SHARD_SECONDS = 256, 15.0


def _adopt_package() -> None:
    """Make `consilience` importable from this file's own tree, and nothing else that lies beside it."""
    if "consilience" in sys.modules:
        return
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(
        "consilience", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["consilience"] = module
    spec.loader.exec_module(module)


def _die_with_parent() -> None:
    def watch() -> None:
        # Not through sys.stdin: its lock, held by a thread that waits, would stop processes forked from this one.
        while os.read(0, 4096):
            pass
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():  # whatever was started here, too
            os.killpg(0, signal.SIGKILL)
        os._exit(75)

    threading.Thread(target=watch, daemon=True).start()


def _claim_stdout() -> TextIO:
    """Keep the original stdout for messages; send everything else that is printed to stderr."""
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return channel


def run(job: dict[str, Any], channel: TextIO) -> None:
    """Carry a job out, sending messages to `channel`."""

    def say(event: str, **content: Any) -> None:
        print(json.dumps({"event": event, **content}), file=channel, flush=True)

    say("start")
    if job["task"] == "build":
        from consilience.building.make import build

        build(job, say)
    else:
        _use_target(job, say)
    say("done", **_resources())


def _use_target(job: dict[str, Any], say: Any) -> None:
    from consilience.datasets.layout import load_items
    from consilience.embedding.contract import examine
    from consilience.registry import load_target_file
    from consilience.weights import Weights

    found = {target.card.name: target for target in load_target_file(job["target_file"])}
    target = found[job["target"]]
    options = dict(job["weights"])
    if options["kind"] == "file":
        target = target.from_checkpoint(options["path"])
        options["path"] = Path(options["path"])
    weights = Weights(**options)
    items = load_items(Path(job["items_file"]))
    began = time.perf_counter()
    embed = target.load(target.card, weights, job["device"])
    say("loaded", seconds=time.perf_counter() - began, weights_sha256=weights.sha256())
    _embed_to_shards(embed, items, job, say)
    if job["task"] == "examine":
        save = getattr(embed, "save", None)
        if job["save_to"] and save is not None:
            written = save(Path(job["save_to"]))
            say("saved", path=str(written) if isinstance(written, str | Path) else job["save_to"])
        say("examined", checks=examine(embed, items, target.card, batch_size=job["batch_size"]))


def _embed_to_shards(embed: Any, items: list[Any], job: dict[str, Any], say: Any) -> None:
    from consilience.embedding.batches import run_batches
    from consilience.embedding.shards import finished_items, write_shard

    folder = Path(job["folder"])
    start, dimension = finished_items(folder)
    declared = job["dimension"] or dimension
    say("progress", done=start, total=len(items), seconds=0.0)
    pending: list[Any] = []
    first = done = start
    last_write = began = time.perf_counter()
    for batch in run_batches(embed, items[start:], batch_size=job["batch_size"], dimension=declared):
        pending.append(batch)
        done += len(batch.reasons)
        now = time.perf_counter()
        if done - first >= SHARD_ITEMS or now - last_write >= SHARD_SECONDS or done == len(items):
            write_shard(folder, first, pending)
            pending, first, last_write = [], done, now
        say("progress", done=done, total=len(items), seconds=now - began)


def _resources() -> dict[str, Any]:
    """Peak memory. Linux's ru_maxrss is inherited across fork and would show the parent's; VmHWM does not."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return {"peak_memory_mib": round(int(line.split()[1]) / 2**10, 1)}
    try:
        import resource
    except ImportError:  # not a Unix
        return {}
    return {"peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)}


def main() -> None:
    """Read the job named on the command line and carry it out."""
    channel = _claim_stdout()
    _die_with_parent()
    _adopt_package()
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    try:
        run(job, channel)
    except BaseException as error:
        traceback.print_exc(file=sys.stderr)
        kind = type(error).__name__
        text = " ".join(str(error).split())
        reason = text if kind in ("ContractError", "SourceError") else f"{kind}: {text}"
        print(json.dumps({"event": "error", "reason": reason[:1000]}), file=channel, flush=True)
        os._exit(1)
    sys.stderr.flush()
    os._exit(0)  # some packages hang in their own exit handlers


if __name__ == "__main__":
    main()
