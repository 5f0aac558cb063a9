"""Put the reference embeddings into the package: every reference and control of the spec, from the store.

Run after ``pytest --benchmark --align-fresh`` whenever a reference's code, header or weights have changed::

    .venv/bin/python scripts/ship_references.py

Features stay float32: half precision was measured to move a pair's CKNNA by up to 1.2e-3 (the isomers, DIEP against
CHGNet), more than the 1e-3 within which published scores have to be reproduced.
"""

from __future__ import annotations

import sys

from consilience.embedding.embed import covered_items
from consilience.embedding.errors import EmbeddingSkippedError
from consilience.embedding.identity import identify
from consilience.embedding.store import SHIPPED, Store, shipped_path, write_embedding
from consilience.registry import get_target
from consilience.session.runner import Runner


def main() -> int:
    """Ship every cell and remove what the spec no longer names; 1 if an embedding is not in the store."""
    runner, store = Runner(fresh=True), Store(shipped=None)
    wanted, missing = set(), []
    for entry in runner.spec.datasets:
        items = runner.items(entry.name)
        for name in dict.fromkeys((*entry.references, *runner.spec.controls)):
            target = get_target(name)
            try:
                covered_items(target, items)
            except EmbeddingSkippedError:
                continue
            identity = identify(target, items)
            path = shipped_path(SHIPPED, entry.name, name)
            wanted.add(path)
            embedding = store.get(identity)
            if embedding is not None:
                write_embedding(path, identity, embedding)
            elif Store().get(identity) is None:  # not shipped either, or stale
                missing.append(f"{entry.name}::{name}")
    for stale in set(SHIPPED.glob("*/*.gz")) - wanted:
        stale.unlink()
    for cell in missing:
        print(f"{cell} is not in the store: run pytest --benchmark --align-fresh first", file=sys.stderr)
    print(f"{len(wanted) - len(missing)} embeddings, {sum(p.stat().st_size for p in SHIPPED.rglob('*.gz')):,} bytes")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
