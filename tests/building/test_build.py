"""Building a data set from end to end, with a small recipe of the user's own that needs no environment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from consilience import registry
from consilience.building.build import BuildFailedError, build_dataset
from consilience.building.built import find_built, folder_of
from consilience.cli import main
from consilience.datasets import open_dataset
from consilience.datasets.tables import DATA, NotBuiltError
from consilience.files import unsealed
from consilience.registry import DatasetEntry, get_dataset, load_dataset_file

SOURCE = pq.read_table(DATA / "mp-1k.parquet").slice(0, 12).to_pylist()
RECIPE = '''\
# /// script
# requires-python = ">=3.11"
# dependencies = ["pyarrow"]
# ///
"""Twelve crystals, without the last two."""

from pathlib import Path

from consilience import DatasetCard, Draft, Sources, recipe
from consilience.building.draft import DroppedError

CARD = DatasetCard(
    name="few-crystals",
    title="a few crystals",
    matter="crystal",
    views=("id", "atoms"),
    licence="CC-BY-4.0",
    citation="none",
    source="mp-1k",
    recipe="this file",
    selection="the first",
    {fields}
)


@recipe(CARD)
def build(card: DatasetCard, sources: Sources) -> Draft:
    import pyarrow.parquet as pq

    from consilience.building.schemas import CRYSTALS

    with Path({log!r}).open("a") as file:
        file.write("built\\n")
    rows = {{row["id"]: row for row in pq.read_table({source!r}).slice(0, 12).to_pylist()}}

    def row(one):
        {body}
        if one in list(rows)[10:]:
            raise DroppedError("one of the last two")
        return rows[one]

    return Draft(CRYSTALS, list(rows), row)
'''
WriteRecipe = Callable[..., DatasetEntry]


@pytest.fixture
def write_recipe(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> WriteRecipe:
    """Write a recipe file and register it, in a registry of the test's own; each run leaves a line in `runs`."""
    monkeypatch.setattr(registry, "_datasets", dict(registry.list_datasets()))

    def write(fields: str = "", body: str = "pass") -> DatasetEntry:
        path = tmp_path / "few_crystals.py"
        source, log = str(DATA / "mp-1k.parquet"), str(tmp_path / "runs")
        path.write_text(RECIPE.format(fields=fields, body=body, log=log, source=source), "utf-8")
        return load_dataset_file(path, "few-crystals")

    return write


@pytest.fixture
def runs(tmp_path: Path) -> Callable[[], int]:
    """How often the recipe ran."""
    return lambda: len((tmp_path / "runs").read_text().split()) if (tmp_path / "runs").exists() else 0


def command(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["dataset", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_built_table_lies_in_the_cache_and_opens_by_its_name(
    write_recipe: WriteRecipe, own_cache: Path, runs: Callable[[], int]
) -> None:
    told: list[str] = []
    progress: list[tuple[int, int]] = []
    built = build_dataset(write_recipe(), tell=told.append, progress=lambda *now: progress.append(now))
    assert built.path == own_cache / "built" / "few-crystals" / "few-crystals.parquet"
    assert pq.read_table(built.path).to_pylist() == SOURCE[:10]
    manifest = unsealed((built.path.parent / "manifest.json").read_text())
    assert manifest == built.manifest
    assert manifest["name"] == "few-crystals"
    assert manifest["sha256"] == hashlib.sha256(built.path.read_bytes()).hexdigest()
    assert manifest["items"] == 10
    assert manifest["dropped"] == {"one of the last two": 2}
    assert manifest["duplicates"] == {}
    assert manifest["sources"] == []
    assert manifest["packages"] == []  # it ran in place
    assert "making 12 items" in told
    assert progress[-1] == (12, 12)
    assert not (folder_of("few-crystals") / "building").exists()
    items = open_dataset("few-crystals")
    assert items.ids == [row["id"] for row in SOURCE[:10]]
    assert items.revision == manifest["sha256"]
    assert runs() == 1


def test_a_table_that_stands_is_not_built_again(write_recipe: WriteRecipe, runs: Callable[[], int]) -> None:
    entry = write_recipe()
    first = build_dataset(entry)
    assert build_dataset(entry) == first == find_built("few-crystals")
    assert runs() == 1
    again = build_dataset(entry, fresh=True)
    assert runs() == 2
    assert again.manifest["sha256"] == first.manifest["sha256"]


def test_a_damaged_table_is_found_and_built_again(write_recipe: WriteRecipe, runs: Callable[[], int]) -> None:
    entry = write_recipe()
    path = build_dataset(entry).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"is damaged .*: run consilience dataset build few-crystals --fresh"):
        find_built("few-crystals")
    with pytest.raises(ValueError, match="is damaged"):
        open_dataset("few-crystals")
    assert build_dataset(entry).path.read_bytes() == whole
    assert runs() == 2
    assert len(open_dataset("few-crystals")) == 10


def test_the_table_has_to_be_the_one_of_the_card(
    write_recipe: WriteRecipe, tmp_path: Path, runs: Callable[[], int]
) -> None:
    entry = write_recipe(fields=f'revision="{"0" * 64}",')
    with pytest.raises(
        BuildFailedError, match="few-crystals: the table made here is not the one of the card"
    ) as caught:
        build_dataset(entry, output=tmp_path / "out")
    written = tmp_path / "out" / "few-crystals.parquet"
    assert pq.read_table(written).to_pylist() == SOURCE[:10]  # for its author to look at
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    assert digest in str(caught.value)
    assert json.loads((tmp_path / "out" / "few-crystals.json").read_text())["sha256"] == digest
    with pytest.raises(BuildFailedError, match="not the one of the card"):
        build_dataset(entry)
    assert find_built("few-crystals") is None
    assert runs() == 2


def test_output_leaves_the_cache_alone(write_recipe: WriteRecipe, tmp_path: Path, runs: Callable[[], int]) -> None:
    entry = write_recipe()
    built = build_dataset(entry, output=tmp_path / "out")
    assert built.path == tmp_path / "out" / "few-crystals.parquet"
    assert find_built("few-crystals") is None
    build_dataset(entry)
    assert build_dataset(entry, output=tmp_path / "out2").path.read_bytes() == built.path.read_bytes()
    assert runs() == 3


def test_a_table_of_another_revision_does_not_stand(
    write_recipe: WriteRecipe, tmp_path: Path, runs: Callable[[], int]
) -> None:
    entry = write_recipe()
    sha256 = build_dataset(entry).manifest["sha256"]
    pinned = DatasetEntry(entry.card.model_copy(update={"revision": "0" * 64}), entry.load, entry.path, entry.recipe)
    with pytest.raises(BuildFailedError, match="not the one of the card"):
        build_dataset(pinned)
    right = DatasetEntry(entry.card.model_copy(update={"revision": sha256}), entry.load, entry.path, entry.recipe)
    assert build_dataset(right).manifest["sha256"] == sha256
    assert runs() == 2


def test_what_was_never_built_says_what_to_type(write_recipe: WriteRecipe) -> None:
    write_recipe()
    with pytest.raises(NotBuiltError, match=r"is not on this machine yet: consilience dataset build few-crystals$"):
        open_dataset("few-crystals")
    assert find_built("few-crystals") is None


def test_a_recipe_that_fails_is_one_line(write_recipe: WriteRecipe, tmp_path: Path) -> None:
    entry = write_recipe(body='raise OSError("the third page is missing")')
    with pytest.raises(BuildFailedError, match=r"few-crystals: .*the third page is missing") as caught:
        build_dataset(entry)
    assert "\n" not in str(caught.value)
    assert find_built("few-crystals") is None
    result = command("build", "few-crystals")
    assert result.exit_code == 1
    assert "the third page is missing" in result.output


@pytest.mark.environment
def test_a_header_that_nothing_satisfies_ends_the_build(write_recipe: WriteRecipe) -> None:
    entry = write_recipe()
    text = entry.path.read_text("utf-8").replace('["pyarrow"]', '["pyarrow==0.0.1"]')
    entry.path.write_text(text, "utf-8")
    with pytest.raises(BuildFailedError, match="few-crystals: environment: "):
        build_dataset(entry)


def test_the_command_builds_and_tells_what_was_left_out(write_recipe: WriteRecipe, tmp_path: Path) -> None:
    write_recipe()
    result = command("build", "few-crystals", "--output", str(tmp_path / "out"))
    assert result.exit_code == 0
    digest = hashlib.sha256((tmp_path / "out" / "few-crystals.parquet").read_bytes()).hexdigest()
    assert f"few-crystals.parquet: 10 items, sha256 {digest}" in result.output
    assert "dropped: one of the last two: 2" in result.output
    assert find_built("few-crystals") is None
    assert command("build", "few-crystals").exit_code == 0
    assert find_built("few-crystals") is not None


def test_the_command_ends_with_1_where_the_table_is_another(write_recipe: WriteRecipe) -> None:
    write_recipe(fields="items=11,")
    result = command("build", "few-crystals")
    assert result.exit_code == 1
    assert "few-crystals: 10 items were made, its card says 11" in result.output


def test_the_command_ends_with_2_where_there_is_nothing_to_build(
    write_recipe: WriteRecipe, tmp_path: Path, runs: Callable[[], int]
) -> None:
    write_recipe()
    result = command("build", "few-crystals", "few-crystal")
    assert result.exit_code == 2
    assert "did you mean 'few-crystals'" in result.output
    assert runs() == 0  # names are looked up first
    path = tmp_path / "by_hand.py"
    path.write_text(
        "from consilience import DatasetCard, dataset\n"
        "@dataset(DatasetCard(name='by-hand', title='-', matter='crystal', views=('id',), licence='CC0-1.0',\n"
        "    citation='none', source='none', recipe='write to the author', selection='all'))\n"
        "def load():\n"
        "    raise AssertionError\n"
    )
    load_dataset_file(path, "by-hand")
    result = command("build", "by-hand")
    assert result.exit_code == 2
    assert "'by-hand' is not built from a recipe: write to the author" in result.output


def test_the_embedded_ones_have_the_names_of_their_recipes() -> None:
    for path in DATA.glob("*.parquet"):
        assert get_dataset(path.stem).recipe is not None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"sha256": 1}', b"[" * 100_000])
def test_a_damaged_manifest_is_named(write_recipe: WriteRecipe, own_cache: Path, damage: bytes) -> None:
    built = build_dataset(write_recipe())
    manifest = built.path.with_name("manifest.json")
    whole = manifest.read_bytes()
    for content in (damage, whole.replace(b'"items": 10', b'"items": 11')):
        manifest.write_bytes(content)
        with pytest.raises(ValueError, match=r"manifest\.json is damaged: run consilience dataset build"):
            find_built("few-crystals")
    manifest.write_bytes(whole)
    assert find_built("few-crystals") == built
