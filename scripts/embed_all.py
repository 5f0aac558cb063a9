"""Embed data sets by every target whose weights come with its package, and by their own untrained twins.

``python scripts/embed_all.py --datasets confirmation-qm9 confirmation-mp --seeds 1 2 3 --jobs 2 --log FILE``

One process embeds all data sets by one target. What is in the store is not made again: the command can be killed
and repeated. A twin is embedded with the first of the seeds, and with the others only if that took less than three
minutes. Cells that failed stand in the log with their reason and are tried again with ``--retry`` alone.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import covered_items, embed_each
from consilience.embedding.errors import EmbeddingSkippedError
from consilience.embedding.identity import identify
from consilience.embedding.shards import remember_batch_size
from consilience.embedding.store import Store
from consilience.registry import PACKAGE, Target, list_targets

#: A twin that takes longer is embedded with one seed.
SLOW = 180.0
#: Networks that are 1.3 to 1.6 times as fast on a CPU with one large structure at a time: a batch exceeds its caches.
FAST_SINGLY = ("sevennet", "diep", "tensornet")
LEAST_COVERAGE = 0.95


class Log:
    """States of cells, one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        lines = path.read_text().splitlines() if path.exists() else []
        self.failed = {(one["dataset"], one["target"]) for one in map(json.loads, lines) if one["state"] == "failed"}

    def write(self, **state: object) -> None:
        """Add a line, and show it."""
        with self._lock, self.path.open("a") as file:
            file.write(json.dumps(state) + "\n")
        print(*state.values(), flush=True)


def own_targets(patterns: list[str], also: list[str]) -> list[Target]:
    """Targets of the suite whose weights come with a package, baselines among them, and those named."""
    targets = [one for one in list_targets().values() if one.path.is_relative_to(PACKAGE)]
    own = [one for one in targets if one.card.access == "package" or one.name in also]
    return [one for one in own if not any(pattern in one.name for pattern in patterns)]


def cells(datasets: list[Items], targets: list[Target], seeds: list[int]) -> Iterator[tuple[int, Items, Target]]:
    """Trained targets first, then each seed of the twins (its place in `seeds`, 0 for trained)."""
    for place, seed in enumerate([0, *seeds]):
        for items in datasets:
            for target in targets:
                if place and not target.card.untrained:
                    continue
                one = target.untrained(seed) if place else target
                try:
                    covered = covered_items(one, items)
                except EmbeddingSkippedError:
                    continue
                if len(covered) >= LEAST_COVERAGE * len(items):
                    yield place, items, one


def main() -> None:
    """Read the command line and embed what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--without", nargs="*", default=[], help="leave out targets whose name holds one of these")
    parser.add_argument("--also", nargs="*", default=[], help="targets whose weights were fetched before")
    parser.add_argument(
        "--singly",
        nargs="*",
        default=[],
        help="data sets of large structures, of which some networks embed one at a time",
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--time-limit", type=float, default=3600.0)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--count", action="store_true", help="say what is left, and stop")
    options = parser.parse_args()
    store, log = Store(), Log(options.log)
    datasets = [open_dataset(name) for name in options.datasets]
    todo = [
        (place, items, target)
        for place, items, target in cells(datasets, own_targets(options.without, options.also), options.seeds)
        if not store.contains(identify(target, items))
        and (options.retry or (items.name, target.name) not in log.failed)
    ]
    print(f"{len(todo)} cells are left", flush=True)
    if options.count:
        return

    def is_slow(target: Target, items: Items) -> bool:
        first = store.get(identify(target.untrained(options.seeds[0]), items))
        return first is None or float(first.provenance.get("seconds") or 0) > SLOW

    def work(jobs: list[tuple[int, Items, Target]]) -> None:
        target, chosen = jobs[0][2], []
        for place, items, _ in jobs:
            if place > 1 and is_slow(target, items):
                log.write(dataset=items.name, target=target.name, state="left out", reason="slow, or its first failed")
            else:
                chosen.append(items)
        for items in chosen:
            if items.name in options.singly and target.card.family in FAST_SINGLY:
                folder = store.cell(identify(target, items))
                folder.mkdir(parents=True, exist_ok=True)
                remember_batch_size(folder, 1)
        results = embed_each(target, chosen, store, time_limit=options.time_limit)
        for items, result in zip(chosen, results, strict=True):
            if isinstance(result, Exception):
                log.write(dataset=items.name, target=target.name, state="failed", reason=str(result))
            else:
                missing, seconds = int((~result.embedded).sum()), result.provenance["seconds"]
                log.write(dataset=items.name, target=target.name, state="done", missing=missing, seconds=seconds)

    by_target: dict[str, list[tuple[int, Items, Target]]] = {}
    for cell in todo:
        by_target.setdefault(cell[2].name, []).append(cell)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, by_target.values()))


if __name__ == "__main__":
    main()
