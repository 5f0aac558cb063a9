from __future__ import annotations

import importlib.util
import json
import tomllib
from itertools import combinations
from pathlib import Path

import jsonschema
import pytest

from consilience.board.board import build_board, read_records, record_path
from consilience.board.markdown import render
from consilience.board.publish import publish, read_board
from consilience.board.remarks import read_remarks
from consilience.board.schemas import json_schemas
from consilience.records.migrations import as_version, read_record
from consilience.records.record import Record
from consilience.records.schema import to_json
from consilience.records.spec import Spec, read_spec
from consilience.registry import get_target
from consilience.scoring.scorer import Cell
from consilience.session.runner import Runner

from ..boards import V1_SPEC  # noqa: TID252

#: The board that is shipped, with few draws for its intervals.
TEXT = V1_SPEC.read_text("utf-8").replace("subsamples = 100", "subsamples = 20")
SPEC = Spec.model_validate(tomllib.loads(TEXT))
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Real records from shipped embeddings: two references, a twin, a control that sees nothing, one that skips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSILIENCE_CACHE", str(tmp_path_factory.mktemp("cache")))
        runner = Runner(SPEC)
        names = ["diep-fold1", "chgnet-0.3.0", "chgnet-0.3.0@untrained", "size", "random-gaussian"]
        return [runner.run(Cell("qm9-isomers-1k", get_target(name))) for name in names] + [
            runner.run(Cell("mp-1k", get_target("so3lr")))
        ]


@pytest.fixture
def folder(tmp_path: Path, records: list[Record]) -> Path:
    (tmp_path / "spec.toml").write_text(TEXT, "utf-8")
    publish(tmp_path, records)
    return tmp_path


def test_states_are_what_happened(records: list[Record]) -> None:
    assert [record.state for record in records] == ["ok", "ok", "ok", "skipped", "ok", "skipped"]
    assert "all 1000 rows are equal" in (records[3].reason or "")
    assert "elements cover 14 of 1000" in (records[5].reason or "")


def test_scores_are_what_the_notes_found(records: list[Record]) -> None:
    """findings.md, isomers, standardized: trained 3D pairs 0.54 - 0.74, trained-untrained 0.34 - 0.42 at n=500."""
    trained = records[0].scores["standardized"].pairs["chgnet-0.3.0"]
    untrained = records[2].scores["standardized"].pairs["diep-fold1"]
    assert trained.cknna is not None
    assert untrained.cknna is not None
    assert 0.5 < trained.cknna < 0.8
    assert 0.2 < untrained.cknna < 0.4
    assert trained.p_value == pytest.approx(1 / 201)
    gaussian = records[4].scores["beyond_composition"]
    assert gaussian.alignment.value == pytest.approx(0, abs=2e-3)
    assert gaussian.alignment.low == 0
    for record in records:
        for score in record.scores.values():
            assert score.self_alignment == pytest.approx(1, abs=1e-12)


def test_a_family_is_left_out_of_its_own_score(records: list[Record]) -> None:
    assert "chgnet-0.3.0" not in records[1].scores["paper"].pairs
    assert "chgnet-0.3.0" not in records[2].scores["paper"].pairs
    distance = records[1].twin["beyond_composition"].distance
    assert distance is not None
    assert 0.4 < distance < 1


def test_provenance_is_complete(records: list[Record]) -> None:
    provenance = records[0].provenance
    assert provenance is not None
    assert provenance.settings == SPEC.settings.model_dump()
    assert provenance.metric_versions["cknna"] == 1
    assert provenance.embedding["weights_sha256"] == get_target("diep-fold1").card.weights_sha256
    assert provenance.embedding["identity"]["dataset"] == "qm9-isomers-1k"
    assert provenance.embedding["hardware"]["cpu"]
    assert len(provenance.references["chgnet-0.3.0"]) == 64
    assert provenance.packages["numpy"]


def test_markdown_and_json_say_the_same(folder: Path) -> None:
    board = json.loads((folder / "leaderboard.json").read_text())
    page = (folder / "leaderboard.md").read_text()
    table = next(t for t in board["datasets"] if t["name"] == "qm9-isomers-1k")
    for row in table["rows"]:
        if row["state"] == "ok":
            assert f"{row['alignment']['beyond_composition']['value']:.3f}" in page
        else:
            assert row["target"] in page
    assert "diep-fold1" in page
    assert "Discrimination" in page


def test_everything_published_follows_the_published_schema(folder: Path, records: list[Record]) -> None:
    """A board whose spec is of schema 1 keeps files of schema 1."""
    board, record_schema = (
        json.loads((REPOSITORY / "leaderboard" / "schema" / name).read_text())
        for name in ("board.v1.json", "record.v1.json")
    )
    jsonschema.validate(json.loads((folder / "leaderboard.json").read_text()), board)
    for record in records:
        content = json.loads(record_path(folder / "results", record).read_text())
        jsonschema.validate(content, record_schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "extra": 1}, record_schema)


def test_a_board_of_schema_2_follows_the_schema_of_the_code(
    folder: Path, records: list[Record], tmp_path: Path
) -> None:
    """Spec v2 names what it measures; its records, pairs and board are of schema 2."""
    spec = read_spec(folder / "spec.toml")
    newer = spec.model_copy(update={"schema_version": 2, "measurement": spec.measured})
    schemas = json_schemas()
    board = json.loads(to_json(build_board(newer, records)))
    jsonschema.validate(board, schemas["board.v2.json"])
    assert board["spec"]["measurement"]["ranked"] == "beyond_composition"
    for record in records:
        jsonschema.validate(json.loads(to_json(record)), schemas["record.v2.json"])


def test_the_schema_in_the_repository_is_the_one_in_the_code() -> None:
    for name, schema in json_schemas().items():
        assert json.loads((REPOSITORY / "leaderboard" / "schema" / name).read_text()) == schema, (
            "run: consilience schema --output leaderboard/schema"
        )


@pytest.mark.parametrize("published", sorted(path.parent for path in REPOSITORY.glob("leaderboard/*/leaderboard.json")))
def test_a_published_board_is_built_from_its_records(published: Path) -> None:
    """Nobody edits a board: it is what its spec and records give."""
    board = read_board(published)
    assert to_json(board) == (published / "leaderboard.json").read_text()
    assert render(board, read_remarks(published, board.spec)) == (published / "leaderboard.md").read_text()


def test_what_was_not_run_shows_as_missing(folder: Path) -> None:
    board = json.loads((folder / "leaderboard.json").read_text())
    states = {row["target"]: row["state"] for row in board["datasets"][1]["rows"]}
    assert states["sevennet-0"] == "missing"
    assert states["size"] == "skipped"


def test_pairs_are_published_beside_the_records(tmp_path: Path, records: list[Record]) -> None:
    (tmp_path / "spec.toml").write_text(TEXT, "utf-8")
    board = publish(tmp_path, records, all_pairs=Runner(SPEC).all_pairs)
    content = json.loads((tmp_path / "pairs" / "qm9-isomers-1k.json").read_text())
    jsonschema.validate(content, json.loads((REPOSITORY / "leaderboard" / "schema" / "pairs.v1.json").read_text()))
    found = {(pair["first"], pair["second"]): pair for pair in content["pairs"]}
    assert set(found) == set(
        combinations(["chgnet-0.3.0", "chgnet-0.3.0@untrained", "diep-fold1", "random-gaussian"], 2)
    )
    # The same figures as in the target's own record, which is scored another way (there, too, the items of the second
    # are relabelled).
    record = next(record for record in records if record.target == "chgnet-0.3.0")
    for preset, score in record.scores.items():
        pair = found["chgnet-0.3.0", "diep-fold1"]["scores"][preset]
        assert pair["cknna"] == pytest.approx(score.pairs["diep-fold1"].cknna, rel=1e-5)
        assert pair["calibrated"] == pytest.approx(score.pairs["diep-fold1"].calibrated, rel=1e-5)
    (table,) = [table for table in board.datasets if table.name == "qm9-isomers-1k"]
    groups = {(group.first, group.second): group for group in table.groups}
    assert set(groups) == {("atoms", "atoms"), ("atoms", "untrained")}  # a network and its own twin are no pair
    assert "**Across modalities**" in (tmp_path / "leaderboard.md").read_text()
    publish(tmp_path)  # rebuilt from the folder alone
    assert json.loads((tmp_path / "leaderboard.json").read_text()) == json.loads(to_json(board))


def test_pairs_stay_until_an_embedding_is_another(tmp_path: Path, records: list[Record]) -> None:
    (tmp_path / "spec.toml").write_text(TEXT, "utf-8")
    publish(tmp_path, records, all_pairs=Runner(SPEC).all_pairs)

    def pairs(*again: Record) -> set[frozenset[str]]:
        """Pairs after these records are published anew, with no embedding at hand."""
        publish(tmp_path, again, all_pairs=lambda dataset, _: Runner(SPEC).all_pairs(dataset, []))
        content = json.loads((tmp_path / "pairs" / "qm9-isomers-1k.json").read_text())
        return {frozenset((pair["first"], pair["second"])) for pair in content["pairs"]}

    diep = next(record for record in records if record.target == "diep-fold1")
    before = pairs(diep)
    assert len(before) == 6
    assert diep.provenance is not None
    embedding = {**diep.provenance.embedding, "identity": {"code": "other"}}
    other = diep.model_copy(update={"provenance": diep.provenance.model_copy(update={"embedding": embedding})})
    assert pairs(other) == {pair for pair in before if "diep-fold1" not in pair}


def test_publishing_twice_changes_nothing(folder: Path, records: list[Record]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    publish(folder, records)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_record_read_back_is_the_record(folder: Path, records: list[Record]) -> None:
    again = read_record(record_path(folder / "results", records[0]))
    assert to_json(as_version(again, 1)) == to_json(as_version(records[0], 1))
    assert again.ranking_score.deviation == pytest.approx(records[0].ranking_score.deviation, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"board": "v0"}, "belongs to board v0"),
        ({"revision": "1" * 64}, "of data revision 111111111111"),
    ],
)
def test_values_of_two_versions_never_share_a_column(
    records: list[Record], change: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_board(SPEC, [records[0].model_copy(update=change)])


def test_other_settings_are_another_board(records: list[Record]) -> None:
    other = Spec.model_validate({**SPEC.model_dump(), "settings": {**SPEC.settings.model_dump(), "k": 10}})
    with pytest.raises(ValueError, match="other settings"):
        build_board(other, [records[0]])


def test_a_broken_record_is_named(folder: Path) -> None:
    path = folder / "results" / "mp-1k" / "so3lr.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"so3lr\.json is not a record"):
        read_records(folder / "results")
    path.unlink()
    misplaced = folder / "results" / "mp-1k" / "chgnet-0.3.0.json"
    misplaced.write_bytes((folder / "results" / "qm9-isomers-1k" / "chgnet-0.3.0.json").read_bytes())
    with pytest.raises(ValueError, match="holds the record of chgnet"):
        read_records(folder / "results")


def test_the_readme_shows_the_published_board() -> None:
    board = json.loads((REPOSITORY / "leaderboard" / "v1" / "leaderboard.json").read_text())
    page = (REPOSITORY / "README.md").read_text()
    for table in board["datasets"]:
        for preset in table["discrimination"].values():
            assert f"| {preset['value']:.2f} " in page, "run: scripts/update_readme.py"
    for row in (row for row in board["datasets"][0]["rows"] if row["state"] == "ok"):
        assert f"| {row['alignment']['beyond_composition']['value']:.3f} " in page, "run: scripts/update_readme.py"


def test_the_list_of_targets_is_that_of_the_cards() -> None:
    path = REPOSITORY / "scripts" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.TARGETS_PAGE.read_text("utf-8") == script.targets_page(), "run: scripts/update_readme.py"


@pytest.mark.parametrize(
    ("dataset", "target"),
    [("mp-1k", "ani-2xt"), ("mp-1k", "minimol"), ("proteins-500", "foldseek-3di"), ("qm9-1k", "diep-fold1")],
)
def test_a_corrected_card_leaves_a_published_record_as_it_is(dataset: str, target: str, tmp_path: Path) -> None:
    """Also when the new record came from another process, as text: it has lost what its card said before."""
    published = REPOSITORY / "leaderboard" / "v1"
    path = tmp_path / "results" / dataset / f"{target}.json"
    path.parent.mkdir(parents=True)
    before = (published / "results" / dataset / f"{target}.json").read_bytes()
    path.write_bytes(before)
    (tmp_path / "spec.toml").write_bytes((published / "spec.toml").read_bytes())
    card = get_target(target).card
    assert card.corrections
    new = read_record(path).model_copy(update={"card": card})
    publish(tmp_path, [new])
    assert path.read_bytes() == before
    publish(tmp_path, [Record.model_validate_json(to_json(new))])
    assert path.read_bytes() == before
