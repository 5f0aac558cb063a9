"""Rows computed again from the submitted target file: the only thing that gives a submission a rank."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from consilience import registry
from consilience.board.recompute import RECOMPUTED_ITEMS, Recomputation, recompute, row_deviation
from consilience.cli import main
from consilience.datasets.items import open_dataset
from consilience.embedding.contract import TOLERANCE
from consilience.embedding.embed import embed
from consilience.embedding.store import Embedding, Store
from consilience.isolation.sandbox import probe
from consilience.records.record import Record
from consilience.registry import PACKAGE, get_target, load_target_file

SOURCE = '''\
"""Distances, times a number that stands in a file."""
from pathlib import Path
import numpy as np
from consilience import Card, Embedded, target

CARD = Card(name="again", family="again", modality="atoms", accepts="a number", dimension=16)


@target(CARD)
def load(card, weights, device):
    beside = Path(__file__).with_name("number.txt")
    path = weights.path if weights.kind == "file" else beside
    scale = float(path.read_text()) if path.is_file() else 1.0

    def embed(items):
        return Embedded([scale * np.histogram(a.get_all_distances(), 16, (0.5, 8))[0] for a in items])

    return embed
'''
OUTSIDE = Recomputation(unconfined=True)


@pytest.fixture
def cell(tmp_path: Path, own_cache: Path) -> tuple[Record, Embedding, dict[str, bytes]]:
    """A record, its embedding and its target file."""
    path = tmp_path / "target_again.py"
    path.write_text(SOURCE)
    (target,) = load_target_file(path)
    items = open_dataset("qm9-1k")
    embedding = embed(target, items, Store(tmp_path / "store", shipped=None))
    record = Record(
        board="v1", dataset=items.name, revision=items.revision, target="again", card=target.card, trained=True,
        state="ok",
    )  # fmt: skip
    del registry._targets["again"]  # the receiver does not know it
    return record, embedding, {path.name: path.read_bytes()}


def test_rows_of_the_target_file_are_taken_and_others_are_not(
    cell: tuple[Record, Embedding, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, embedding, sources = cell
    items = open_dataset("qm9-1k")
    with monkeypatch.context() as patch:  # of a machine that has none
        patch.setattr("consilience.isolation.sandbox.probe", lambda: "none")
        with pytest.raises(ValueError, match=r"runs the submitter's code: .* there is none here.* --no-sandbox"):
            recompute(record, embedding, items, sources, Recomputation())
    found = recompute(record, embedding, items, sources, OUTSIDE)
    assert found.recomputed == RECOMPUTED_ITEMS
    assert found.sandbox == "none"
    assert found.ranked
    assert found.deviation == 0
    assert found.label == "50 items recomputed without a sandbox"

    crafted = replace(embedding, features=embedding.features * np.float32(1.01))
    with pytest.raises(ValueError, match=r"50 random rows computed again differ by 0\.0\d+ \(relative\)"):
        recompute(record, crafted, items, sources, OUTSIDE)
    withheld = embedding.features.copy()
    withheld[::2] = np.nan
    with pytest.raises(ValueError, match="is left out of the submission, and could be embedded here"):
        recompute(record, replace(embedding, features=withheld), items, sources, OUTSIDE)
    broken = {name: content.replace(b"return Embedded", b"return None") for name, content in sources.items()}
    with pytest.raises(ValueError, match="could not be computed again"):
        recompute(record, embedding, items, broken, OUTSIDE)


def test_the_weights_are_those_that_the_card_states(
    cell: tuple[Record, Embedding, dict[str, bytes]], tmp_path: Path
) -> None:
    record, embedding, sources = cell
    items = open_dataset("qm9-1k")
    number = tmp_path / "number.txt"
    number.write_text("3.0")
    tripled = replace(embedding, features=embedding.features * np.float32(3))
    with pytest.raises(ValueError, match=r"number\.txt: the SHA-256 is [0-9a-f]{64}, the card states None"):
        recompute(record, tripled, items, sources, replace(OUTSIDE, checkpoint=number))
    from consilience.weights import sha256_of

    stated = record.model_copy(update={"card": record.card.model_copy(update={"weights_sha256": sha256_of(number)})})
    # Read beside the target file, and as the checkpoint that it is an adapter of.
    for name in ("again", "again@number"):
        one = stated.model_copy(update={"target": name})
        assert recompute(one, tripled, items, sources, replace(OUTSIDE, checkpoint=number)).ranked
        with pytest.raises(ValueError, match="random rows computed again differ"):
            recompute(one, embedding, items, sources, replace(OUTSIDE, checkpoint=number))
    with pytest.raises(ValueError, match="again@number reads a file of weights: --checkpoint FILE says where it is"):
        recompute(stated.model_copy(update={"target": "again@number"}), tripled, items, sources, OUTSIDE)


@pytest.mark.skipif(probe() == "none", reason="this machine has no sandbox")
def test_rows_are_computed_again_in_the_sandbox(cell: tuple[Record, Embedding, dict[str, bytes]]) -> None:
    record, embedding, sources = cell
    items = open_dataset("qm9-1k")
    found = recompute(record, embedding, items, sources, Recomputation())
    assert found.sandbox == probe()
    assert found.label == "50 items recomputed"
    with socket.create_server(("127.0.0.1", 0)) as server:
        call = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 9)\n"
        reaching = {
            name: content.replace(b"    beside =", b"    " + call.encode() + b"    beside =")
            for name, content in sources.items()
        }
        assert recompute(record, embedding, items, reaching, OUTSIDE).sandbox == "none"
        with pytest.raises(ValueError, match="could not be computed again"):
            recompute(record, embedding, items, reaching, Recomputation())


def test_code_of_the_suite_needs_no_sandbox(own_cache: Path) -> None:
    target, items = get_target("composition"), open_dataset("qm9-1k")
    assert target.path.is_relative_to(PACKAGE)
    embedding = embed(target, items, Store())
    record = Record(
        board="v1", dataset=items.name, revision=items.revision, target=target.name, card=target.card, trained=False,
        state="ok",
    )  # fmt: skip
    assert recompute(record, embedding, items, {}, Recomputation()).label == "50 items recomputed"


def test_rows_differ_relative_to_their_length() -> None:
    rows = np.ones((3, 2))
    assert row_deviation(rows, rows * (1 + 0.5 * TOLERANCE)) < TOLERANCE
    assert row_deviation(rows, rows[:, :1]) == np.inf
    assert row_deviation(rows, rows * np.nan) == np.inf


def test_options_that_say_how_need_the_option_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    for option in ("--no-sandbox", "--trust-checkpoint"):
        result = CliRunner().invoke(main, ["verify", str(tmp_path / "a.zip"), option])
        assert result.exit_code == 2
        assert f"{option} needs --recompute" in result.output
    (tmp_path / "board").mkdir()
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "board"), "--recompute"])
    assert result.exit_code == 2
    assert "--recompute: these belong to a submission's zip file" in result.output
