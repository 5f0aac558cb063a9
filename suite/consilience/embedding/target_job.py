"""What a worker does with a target: load it, embed items to shards, examine its contract.

Runs inside the target's own environment and needs numpy, pydantic and safetensors beside the model's packages.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consilience.checkpoints import HOW_TO_TRUST
from consilience.circumstances import chain
from consilience.datasets.layout import load_ids, load_items
from consilience.isolation.gate import UntrustedError, close
from consilience.isolation.trace import Trace
from consilience.registry import load_target_file, missing_module
from consilience.weights import Weights

from .batches import run_batches
from .contract import examine
from .leftovers import Leftovers
from .shards import embed_again, finished_items, remember_batch_size, remembered_batch_size, write_shard

#: Sends a message to the parent: an event, and what belongs to it.
Say = Callable[..., None]
#: A shard is written after so many items, or seconds, whichever comes first.
SHARD_ITEMS, SHARD_SECONDS = 256, 15.0


def use_target(job: dict[str, Any], say: Say) -> None:
    """Load a target and embed items to shards.

    The task ``"examine"`` also checks the contract; ``"fetch"`` ends once the target is loaded.
    """
    if Trace.active is not None:
        Trace.active.network = job["network"] or job["task"] == "fetch"
    targets = {target.card.name: target for target in load_target_file(job["target_file"], trial=False)}
    target = targets[job["target"]]
    options = dict(job["weights"])
    if options["kind"] == "file":
        target = target.from_checkpoint(options["path"], trusted=options["trusted"])
        options["path"] = Path(options["path"])
        if not options["trusted"]:
            close(options["path"], how_to_trust=HOW_TO_TRUST)
    weights = Weights(**options)
    items = load_items(Path(job["items_file"]))
    began = time.perf_counter()
    try:
        embed = target.load(target.card, weights, job["device"])
    except Exception as error:
        if (refusal := next((one for one in chain(error) if isinstance(one, UntrustedError)), None)) is not None:
            raise UntrustedError(str(refusal)) from None  # whatever a package made of it
        if isinstance(error, ModuleNotFoundError):
            raise missing_module(error, target.path) from error
        if isinstance(error, FileNotFoundError) and str(error.filename).startswith(str(Path.home())):
            advice = f"a model's home is {Path.home()}: name your own files by their full path, or give --pass-env HOME"
            raise FileNotFoundError(f"{error}; {advice}") from error
        raise
    verified = [] if weights.expected_sha256 is None else [str(path) for path in weights.used]
    seconds = time.perf_counter() - began
    say("loaded", seconds=seconds, weights_sha256=weights.sha256(), verified=verified)
    if job["task"] == "fetch":
        return
    examined = job["task"] == "examine"
    leftovers = Leftovers() if examined else None  # a helper that `load` started may stay
    _embed_to_shards(embed, items, job, say)
    if examined:
        save = getattr(embed, "save", None)
        if job["save_to"] and save is not None:
            written = save(Path(job["save_to"]))
            say("saved", path=str(written) if isinstance(written, str | Path) else job["save_to"])
        ids, size = load_ids(Path(job["items_file"])), job["batch_size"]
        say("examined", checks=examine(embed, items, target.card, batch_size=size, ids=ids, leftovers=leftovers))


def _embed_to_shards(embed: Any, items: list[Any], job: dict[str, Any], say: Say) -> None:
    folder = Path(job["folder"])
    start, dimension = finished_items(folder)
    declared = job["dimension"] or dimension
    size = remembered_batch_size(folder) or job["batch_size"]  # after a crash, it does not grow beyond
    say("progress", done=start, total=len(items), seconds=0.0)
    pending: list[Any] = []
    first = done = start
    last_write = began = time.perf_counter()
    for batch in run_batches(embed, items[start:], batch_size=size, dimension=declared):
        pending.append(batch)
        done += len(batch.reasons)
        now = time.perf_counter()
        if done - first >= SHARD_ITEMS or now - last_write >= SHARD_SECONDS or done == len(items):
            write_shard(folder, first, pending)
            _say_what_was_read(done, say)
            pending, first, last_write = [], done, now
        say("progress", done=done, total=len(items), seconds=now - began, batch=len(batch.reasons))
    # At the end: what ended memory once may end it for good this time.
    embed_again(folder, start, lambda i: next(run_batches(embed, [items[i]], batch_size=1, dimension=declared)))
    _say_what_was_read(len(items), say)
    remember_batch_size(folder, None)


def _say_what_was_read(items: int, say: Say) -> None:
    """Report the files and modules that the rows of so many items depend on."""
    trace = Trace.active
    say("shard", items=items, read=None if trace is None else trace.report())
