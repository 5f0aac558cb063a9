"""Publish a board from the embeddings of this machine: every stored cell of the suite's targets, own twins among them.

``python scripts/publish_board.py leaderboard/v2 --also nequix-oam-1 ...`` scores, with ``consilience run``, what
``scripts/embed_all.py`` embedded; scores of unchanged embeddings come from the cache. Cells that failed there, as its
log (``--log``) says, are tried once more, so that the board states the reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from consilience.datasets.items import open_dataset
from consilience.embedding.identity import identify
from consilience.embedding.store import Store
from consilience.records.spec import read_spec
from embed_all import cells, own_targets


def main() -> int:
    """Read the command line, choose the cells and publish them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", type=Path)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--also", nargs="*", default=[], help="targets whose weights were fetched before")
    parser.add_argument("--log", type=Path, help="log of scripts/embed_all.py")
    parser.add_argument("--datasets", nargs="*", help="some of the board's")
    options = parser.parse_args()
    spec, store = read_spec(options.board / "spec.toml"), Store()
    lines = options.log.read_text().splitlines() if options.log else []
    failed = {(one["dataset"], one["target"]) for one in map(json.loads, lines) if one["state"] == "failed"}
    targets = own_targets([], options.also)
    names = options.datasets or [entry.name for entry in spec.datasets]
    words = [
        f"{items.name}::{target.name}"
        for _, items, target in cells([open_dataset(name) for name in names], targets, options.seeds)
        if (items.name, target.name) in failed or store.contains(identify(target, items))
    ]
    print(f"{len(words)} cells", flush=True)
    command = [sys.executable, "-m", "consilience", "run", "--seeds", "0", "--publish", str(options.board)]
    return subprocess.run([*command, "--targets", ",".join(words)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
