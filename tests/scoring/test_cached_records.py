"""A score in the cache is used again only as it was written."""

from __future__ import annotations

from pathlib import Path

from consilience.records.spec import read_spec
from consilience.registry import get_target
from consilience.scoring.scorer import Cell
from consilience.session.runner import Runner

from ..boards import V1_SPEC  # noqa: TID252


def test_a_damaged_score_is_computed_again(own_cache: Path) -> None:
    def score() -> object:
        runner = Runner(read_spec(V1_SPEC), limit=60)
        return runner.run(Cell("mp-1k", get_target("size"))).scores

    wanted = score()
    (path,) = own_cache.glob("records/*/*.json")
    text = path.read_text()
    for damage in (text.replace('"cknna": 0.', '"cknna": 0.9', 1), text[: len(text) // 2], "[" * 100_000):
        assert damage != text
        path.write_text(damage)
        assert score() == wanted
