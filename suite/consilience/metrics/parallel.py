"""Independent tasks in threads: what the passes over many embeddings use, for other parts of the suite as well."""

from __future__ import annotations

from ._engine.tiles import run, thread_count

__all__ = ["run", "thread_count"]
