"""A small board of real embeddings, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from consilience.board.publish import publish
from consilience.records.spec import read_spec
from consilience.registry import get_target
from consilience.scoring.scorer import Cell
from consilience.session.runner import Runner

from ..boards import V1_SPEC  # noqa: TID252

SMALL = """\
board = "v1"
title = "A small board."
controls = ["chgnet-0.3.0@untrained", "composition", "size", "random-gaussian"]

[settings]  # few draws: what is tested is whether the same comes out, not how sharp it is
permutations = 20
subsamples = 10

[[datasets]]
name = "mof-500"
revision = "{revision}"
references = ["diep-fold1", "chgnet-0.3.0"]
"""


@pytest.fixture(scope="session")
def made_board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of mof-500: two references, a further target, controls; published as `consilience run --board` does."""
    folder = tmp_path_factory.mktemp("board")
    revision = read_spec(V1_SPEC).dataset("mof-500").revision
    (folder / "spec.toml").write_text(SMALL.format(revision=revision))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSILIENCE_CACHE", str(tmp_path_factory.mktemp("cache")))
        runner = Runner(read_spec(folder / "spec.toml"))
        names = [*runner.spec.datasets[0].references, "sevennet-0", *runner.spec.controls]
        records = [runner.run(Cell("mof-500", get_target(name))) for name in names]
        assert {record.state for record in records} == {"ok"}
        publish(folder, records, all_pairs=runner.all_pairs)
    return folder


@pytest.fixture
def board(tmp_path: Path, made_board: Path, own_cache: Path) -> Path:
    """A copy of the small board to spoil, and a cache with nothing in it."""
    return Path(shutil.copytree(made_board, tmp_path / "v1"))
