from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from consilience.board.schemas import json_schemas
from consilience.cli import main


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("what", ["targets", "datasets", "metrics"])
def test_listings_are_tables_and_json(what: str) -> None:
    code, text = invoke("list", what)
    assert code == 0
    code, content = invoke("list", what, "--json")
    assert code == 0
    cards = json.loads(content)
    assert len(cards) >= 3
    assert all(card["name"] in text for card in cards)


def test_an_unknown_name_is_one_clear_line_and_code_2(own_cache: Path) -> None:
    code, text = invoke("embed", "chgnet-0.3", "qm9-1k", "--output", "x.safetensors")
    assert code == 2
    assert text.startswith("consilience: no target is named 'chgnet-0.3'; did you mean 'chgnet-0.3.0'")
    assert text.count("\n") == 1
    code, text = invoke("run", "--targets", "size", "--datasets", "qm8-1k")
    assert code == 2
    assert "no data set is named 'qm8-1k'; did you mean 'qm9-1k'" in text


def test_embeddings_are_handed_out_with_their_ids(tmp_path: Path, own_cache: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "size.safetensors"
    code, text = invoke("embed", "size", "mp-1k", "--output", str(path))
    assert code == 0
    assert "1000 x 3" in text
    with safe_open(path, framework="numpy") as file:
        assert file.get_tensor("features").shape == (1000, 3)
        assert json.loads(file.metadata()["ids"])[0].startswith("mp-")


def test_check_reports_and_exits_by_the_result(write_target: Callable[..., Path]) -> None:
    good = write_target("return Embedded([[len(a), a.get_all_distances().sum()] for a in items])\n", name="cli-good")
    code, text = invoke("check", str(good), "--dataset", "qm9-1k", "--items", "6")
    assert code == 0
    assert "deterministic across processes" in text
    bad = write_target("return Embedded([a.positions[0] for a in items])\n", name="cli-bad")
    code, text = invoke("check", str(bad), "--dataset", "qm9-1k", "--items", "6")
    assert code == 1
    assert "BROKEN" in text
    broken = write_target("raise ValueError('cannot')\n", name="cli-broken")
    code, text = invoke("check", str(broken), "--dataset", "qm9-1k", "--items", "6")
    assert code == 1
    assert "cannot" in text


def test_a_checkpoint_is_checked_and_embedded(
    write_target: Callable[..., Path], tmp_path: Path, own_cache: Path
) -> None:
    body = "return Embedded([scale * np.sort(a.get_all_distances().ravel())[-8:] for a in items])\n"
    preamble = "scale = float(weights.path.read_text()) if weights.kind == 'file' else 2.0\n"
    path = write_target(body, name="cli-adapter", card=', accepts="a number"', preamble=preamble)
    own = tmp_path / "mine.txt"
    own.write_text("3.0")
    code, text = invoke("check", str(path), "--checkpoint", str(own), "--dataset", "qm9-1k", "--items", "4")
    assert code == 0
    assert text.startswith("cli-adapter@mine on qm9-1k: all")
    code, text = invoke("check", "morgan", "--checkpoint", str(own))
    assert code == 2
    assert "no adapter is named 'morgan'" in text
    code, text = invoke("check", str(path), "--trust-checkpoint")
    assert code == 2
    assert "--checkpoint, which is missing" in text


def test_run_scores_and_prints_json(own_cache: Path) -> None:
    code, text = invoke("run", "--targets", "size,random-gaussian", "--datasets", "mp-1k", "--json")
    assert code == 0
    board = json.loads(text[text.index("{") :])
    rows = {row["target"]: row for row in board["datasets"][2]["rows"]}
    assert rows["size"]["state"] == rows["random-gaussian"]["state"] == "ok"
    assert rows["random-gaussian"]["alignment"]["beyond_composition"]["value"] == pytest.approx(0, abs=2e-3)


def test_schemas_are_written(tmp_path: Path) -> None:
    assert invoke("schema", "--output", str(tmp_path))[0] == 0
    for name, content in json_schemas().items():
        assert json.loads((tmp_path / name).read_text()) == content


def test_environments_are_listed(own_cache: Path) -> None:
    code, text = invoke("environments", "--json")
    assert code == 0, text
    assert json.loads(text) == []


def test_a_board_is_rebuilt_from_its_records(tmp_path: Path) -> None:
    published = Path(__file__).resolve().parents[1] / "leaderboard" / "v1"
    for path in [published / "spec.toml", *published.glob("results/*/*.json"), *published.glob("pairs/*.json")]:
        copy = tmp_path / path.relative_to(published)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    code, text = invoke("leaderboard", "build", str(tmp_path))
    assert code == 0
    board = json.loads((published / "leaderboard.json").read_text())
    scored = [row for table in board["datasets"] for row in table["rows"] if row["state"] == "ok"]
    assert f"{len(scored)} scored cells" in text
    assert (tmp_path / "leaderboard.json").read_text() == (published / "leaderboard.json").read_text()


def test_runs_are_compared(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for target, name in (("chgnet-0.3.0", "old"), ("chgnet-0.3.0@untrained", "new")):
        code, text = invoke("run", "--targets", target, "--datasets", "mp-1k", "--n", "120", "--save", f"{name}.json")
        assert code == 0, text
    code, text = invoke("compare", "old.json", "old.json", "--fail", "cknna:0%")
    assert code == 0
    assert "Alignment held: none of 1 gated figures regressed" in text
    # The untrained twin under the name of the trained model: its figures are real, and so is the loss.
    content = (tmp_path / "new.json").read_text().replace("chgnet-0.3.0@untrained", "chgnet-0.3.0")
    (tmp_path / "new.json").write_text(content)
    code, text = invoke("compare", "old.json", "new.json", "--fail", "cknna:5%", "--report", "report.md")
    assert code == 1
    assert "Alignment regressed: 1 of 1 gated figures" in text
    assert (tmp_path / "report.md").read_text().startswith("**Alignment regressed")
    code, text = invoke("compare", "old.json", "new.json", "--json")
    assert code == 0
    assert json.loads(text)["verdict"] == "ok"
    published = Path(__file__).resolve().parents[1] / "leaderboard" / "v1"
    code, text = invoke("compare", str(published), "new.json")
    assert code == 2
    assert "sample: all items against 120 items" in text
    code, text = invoke("compare", str(published), str(published), "--fail", "cknna:0%")
    assert code == 0
    code, text = invoke("compare", "old.json", "absent")
    assert code == 2
    assert text.startswith("consilience: no saved run at absent")
    code, text = invoke("compare", "old.json", "old.json", "--fail", "mp-2k/cknna:5%")
    assert code == 2
    assert "could not be judged: mp-2k/cknna:5%" in text
