from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consilience.datasets.items import open_dataset
from consilience.embedding.batches import Batch
from consilience.embedding.identity import Identity, code_digest, identify
from consilience.embedding.shards import embed_again, finished_items, read_shards, rows_missing_for_now, write_shard
from consilience.embedding.store import SHIPPED, Embedding, Store, shipped_path, shipped_with, write_embedding
from consilience.registry import get_target

IDENTITY = Identity("t", "sha256:0", "c", "e", "d", "r", "i", "last", "mean")


def embedding(n: int = 5) -> Embedding:
    features = np.arange(3.0 * n, dtype=np.float32).reshape(n, 3)
    features[1] = np.nan
    return Embedding(features, np.arange(float(n)), [f"id{i}" for i in range(n)], {1: "too large"}, {"seconds": 1.0})


def test_what_is_put_is_got(tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=None)
    assert store.get(IDENTITY) is None
    store.put(IDENTITY, embedding())
    assert store.contains(IDENTITY)
    assert not store.contains(replace(IDENTITY, target="other"))
    found = store.get(IDENTITY)
    assert found is not None
    np.testing.assert_array_equal(found.features, embedding().features)
    np.testing.assert_array_equal(found.energies, embedding().energies)
    assert found.ids == embedding().ids
    assert found.reasons == {1: "too large"}
    assert found.embedded.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize("field", list(IDENTITY.__dict__))
def test_every_part_of_the_identity_makes_another_key(field: str, tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=None)
    store.put(IDENTITY, embedding())
    assert store.get(replace(IDENTITY, **{field: "other"})) is None


@pytest.mark.parametrize("where", [100, -1])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, where: int) -> None:
    store = Store(tmp_path, shipped=None)
    path = store.put(IDENTITY, embedding())
    content = bytearray(path.read_bytes())
    content[where] ^= 0xFF
    path.write_bytes(content)
    assert store.get(IDENTITY) is None
    path.write_bytes(b"")
    assert store.get(IDENTITY) is None
    assert not store.contains(IDENTITY)


def test_a_truncated_file_is_as_good_as_none(tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=None)
    path = store.put(IDENTITY, embedding())
    path.write_bytes(path.read_bytes()[:-4])
    assert store.get(IDENTITY) is None


def test_a_shipped_embedding_is_a_cell_already_done(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    write_embedding(shipped_path(shipped, "d", "t"), IDENTITY, embedding())
    assert Store(tmp_path / "own", shipped).get(IDENTITY) is not None
    assert Store(tmp_path / "own", shipped).get(replace(IDENTITY, code="changed")) is None
    assert Store(tmp_path / "own", shipped=None).get(IDENTITY) is None


def test_what_a_model_did_not_read_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=None)
    whole = embedding()
    cut = replace(whole, truncated=np.linspace(0, 0.5, len(whole.ids)).astype(np.float32))
    store.put(IDENTITY, cut)
    found = store.get(IDENTITY)
    assert found is not None
    assert found.truncated.tolist() == cut.truncated.tolist()
    assert found.take(np.arange(2)).truncated.tolist() == cut.truncated[:2].tolist()
    store.put(IDENTITY, whole)
    again = store.get(IDENTITY)
    assert again is not None
    assert not len(again.truncated)


def test_shards_are_read_up_to_the_first_gap(tmp_path: Path) -> None:
    def batch(start: int, n: int) -> Batch:
        half = np.full(n, 0.5, np.float32)
        return Batch(np.full((n, 2), start, np.float32), np.zeros(n), [None] * (n - 1) + ["bad"], half)

    write_shard(tmp_path, 0, [batch(0, 2), batch(2, 1)])
    write_shard(tmp_path, 3, [batch(3, 2)])
    write_shard(tmp_path, 7, [batch(7, 2)])
    (tmp_path / ".shard-000000005-000000007.safetensors.99.part").write_bytes(b"half a file")
    assert finished_items(tmp_path) == (5, 2)
    found = read_shards(tmp_path)
    assert found.features[:, 0].tolist() == [0, 0, 2, 3, 3]
    assert found.reasons == [None, "bad", "bad", None, "bad"]
    assert found.truncated.tolist() == [0.5] * 5


def test_the_code_digest_sees_code_and_nothing_else(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        path = tmp_path / "target_x.py"
        path.write_text(text)
        return code_digest(path)

    base = digest('"""Doc."""\n@target(Card(name="a"))\ndef load(card):\n    return 1\n')
    same = digest(
        '# comment\n"""Other."""\n\n@target(Card(name="b"))\ndef load(card):\n    """New."""\n    return (1)\n'
    )
    assert base == same
    assert base != digest('"""Doc."""\n@target(Card(name="a"))\ndef load(card):\n    return 2\n')


def test_the_code_digest_includes_helpers_that_import_each_other(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text("from consilience.targets.atoms._one import f\n")
    (tmp_path / "_one.py").write_text("from . import _two\n")
    (tmp_path / "_two.py").write_text("from . import _one\nx = 1\n")
    (tmp_path / "_three.py").write_text("y = 1\n")
    before = code_digest(path)
    (tmp_path / "_three.py").write_text("y = 2\n")
    assert code_digest(path) == before
    (tmp_path / "_two.py").write_text("from . import _one\nx = 2\n")
    assert code_digest(path) != before


def test_a_part_of_an_embedding_keeps_its_reasons_in_place() -> None:
    part = embedding().take(np.array([False, True, True, False, True]))
    assert part.ids == ["id1", "id2", "id4"]
    assert part.reasons == {0: "too large"}
    assert part.energies.tolist() == [1.0, 2.0, 4.0]
    assert part.embedded.tolist() == [False, True, True]
    assert embedding().take(np.arange(2)).ids == ["id0", "id1"]


def test_elements_that_a_card_no_longer_covers_make_another_key(tmp_path: Path) -> None:
    items = open_dataset("qm9-1k").head(60)
    target = get_target("size")

    def key(*elements: str) -> str:
        card = target.card.model_copy(update={"elements": elements or None})
        return identify(replace(target, card=card), items).key

    assert key() == key("H", "C", "N", "O", "F")  # all are covered either way
    assert len({key(), key("H", "C", "O", "F"), key("H", "C", "N", "F")}) == 3


@pytest.mark.parametrize("name", ["x.safetensors", "x.safetensors.gz"])
def test_the_same_embedding_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    contents = set()
    for i in range(8):
        write_embedding(tmp_path / f"{i}{name}", IDENTITY, embedding())
        contents.add((tmp_path / f"{i}{name}").read_bytes())
    assert len(contents) == 1


def test_rows_of_circumstance_are_embedded_again_and_replace_their_shard(tmp_path: Path) -> None:
    reasons = [None, "no memory", None, "odd", None]
    rows = Batch(embedding().features, embedding().energies, reasons, np.zeros(5, np.float32))
    write_shard(tmp_path, 0, [rows, rows._replace(again=(1,))])
    assert read_shards(tmp_path).again == (6,)
    assert "1 of 10 rows missing: no memory (item 7)" in rows_missing_for_now(tmp_path)
    asked = []

    def again(item: int) -> Batch:
        asked.append(item)
        return Batch(np.full((1, 3), 9, np.float32), np.zeros(1), [None], np.zeros(1, np.float32))

    embed_again(tmp_path, 10, again)
    assert asked == [6]
    found = read_shards(tmp_path)
    assert found.again == ()
    assert found.features[6].tolist() == [9, 9, 9]
    assert found.reasons[1] == "no memory"
    assert rows_missing_for_now(tmp_path) == ""


def test_a_board_brings_its_own_references_from_the_suites_repository_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consilience.embedding.store.BOARDS", tmp_path / "suite")
    own = tmp_path / "suite" / "v0" / "references"
    forged = tmp_path / "here" / "leaderboard" / "v9" / "references"
    for folder in (own, forged):
        folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert shipped_with("v0") == own
    assert shipped_with("v9") == SHIPPED  # a board's folder that anybody made brings no references
