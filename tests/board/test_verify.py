"""`consilience verify` on a real board: quiet where nothing was touched, and each kind of tampering is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from consilience.board import verify
from consilience.board.cells import target_of
from consilience.board.findings import Report
from consilience.board.publish import publish
from consilience.board.tolerance import differences, tolerance_of
from consilience.board.verify import verify_board
from consilience.cards import Card
from consilience.cli import main
from consilience.metrics import MetricCard, metric
from consilience.records.migrations import read_record
from consilience.records.schema import to_json
from consilience.records.spec import read_spec
from consilience.registry import get_target
from consilience.scoring.presets import PRESETS
from consilience.scoring.scorer import Cell, Scorer

CELLS = 7


def edit(path: Path, change: Callable[[Any], None], *, to: Path | None = None) -> None:
    content = json.loads(path.read_text())
    change(content)
    (to or path).parent.mkdir(exist_ok=True)
    (to or path).write_text(json.dumps(content, indent=1))


def found(report: Report, file: str) -> dict[str, tuple[str, str]]:
    return {one.field: (one.published, one.recomputed) for one in report.findings if one.file == file}


def test_an_untouched_board_is_verified(board: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(board)])
    assert result.output.splitlines() == [
        f"{CELLS} of {CELLS} cells are available to recompute",
        f"{CELLS} cells recomputed, 0 findings",
    ]
    assert result.exit_code == 0


def test_each_kind_of_tampering_is_found(board: Path) -> None:
    cells = board / "results" / "mof-500"

    def all_of_it(content: Any) -> None:
        """Raise a score together with all that it is made of, so that the record agrees with itself."""
        for preset in PRESETS:
            score = content["scores"][preset]
            for pair in score["pairs"].values():
                pair["cknna"] += 0.05
                pair["calibrated"] = (pair["cknna"] - pair["null_quantile"]) / (1 - pair["null_quantile"])
            for mean, of in ((score, "cknna"), (score["alignment"], "calibrated")):
                name = "value" if of == "calibrated" else of
                mean[name] = sum(pair[of] for pair in score["pairs"].values()) / len(score["pairs"])

    edit(cells / "sevennet-0.json", all_of_it)
    edit(cells / "diep-fold1.json", lambda c: c["scores"]["paper"]["alignment"].update(low=0.9))
    edit(cells / "chgnet-0.3.0.json", lambda c: c["provenance"]["embedding"].update(weights_sha256="0" * 64))
    edit(cells / "random-gaussian.json", lambda c: c["provenance"]["references"].update({"diep-fold1": "0" * 64}))
    edit(cells / "chgnet-0.3.0@untrained.json", lambda c: c["card"].update(parameters=1))
    (cells / "composition.json").unlink()
    edit(cells / "size.json", lambda c: c.update(schema_version=3))
    edit(cells / "sevennet-0.json", lambda c: c.update(schema_version=0), to=cells / "older.json")
    edit(cells / "sevennet-0.json", lambda c: c, to=cells / "sevennet-1.json")
    edit(
        cells / "sevennet-0.json",
        lambda c: (c.update(target="nobody"), c["card"].update(name="nobody")),
        to=cells / "nobody.json",
    )
    edit(cells / "sevennet-0.json", lambda c: c.update(dataset="qm8"), to=board / "results" / "qm8" / "sevennet-0.json")
    (cells / "cut.json").write_text((cells / "diep-fold1.json").read_text()[:1000])

    report = verify_board(board)
    score = found(report, "results/mof-500/sevennet-0.json")
    published, recomputed = score["scores.beyond_composition.alignment.value"]
    assert float(published) - float(recomputed) > 0.04
    assert "scores.paper.pairs.chgnet-0.3.0.cknna" in score
    assert not any(name.startswith("provenance") for name in score)
    assert found(report, "results/mof-500/diep-fold1.json").keys() == {"scores.paper.alignment.low"}
    (hashes,) = found(report, "results/mof-500/chgnet-0.3.0.json").items()
    assert hashes[0] == "provenance.embedding.weights_sha256"
    assert hashes[1][0] == "0" * 64
    keys = found(report, "results/mof-500/random-gaussian.json")
    assert keys.keys() == {"provenance.references.diep-fold1"}
    assert found(report, "results/mof-500/chgnet-0.3.0@untrained.json")["card.parameters"][0] == "1"
    assert found(report, "results/mof-500/composition.json")[""][0] == "missing"
    assert "written by a newer consilience" in found(report, "results/mof-500/size.json")[""][0]
    assert "is not a record of schema version 1" in found(report, "results/mof-500/older.json")[""][0]
    assert found(report, "results/mof-500/sevennet-1.json")["dataset, target"][0] == "mof-500, sevennet-0"
    assert found(report, "results/mof-500/nobody.json")["target"][0] == "nobody"
    assert found(report, "results/qm8/sevennet-0.json")["dataset"] == ("qm8", "not on board v1")
    assert "is not a record" in found(report, "results/mof-500/cut.json")[""][0]
    assert found(report, "leaderboard.json")[""][0] == "can't be rebuilt"
    # What was left alone is not accused.
    accused = {one.file for one in report.findings}
    assert accused == {
        *(f"results/mof-500/{path.name}" for path in cells.glob("*.json")),
        "results/mof-500/composition.json",
        "results/qm8/sevennet-0.json",
        "pairs/mof-500.json",  # it still pairs what has no record any more
        "leaderboard.json",
    }
    text = "\n".join(report.lines())
    assert "results/mof-500/sevennet-0.json: " in text
    assert "more (--json has all)" in text


def test_what_is_built_from_the_records_is_built_again(board: Path) -> None:
    def of_pairs(content: Any) -> None:
        content["pairs"][0]["scores"]["paper"]["calibrated"] += 0.01
        content["pairs"].pop()

    edit(board / "pairs" / "mof-500.json", of_pairs)
    edit(board / "leaderboard.json", lambda c: c["datasets"][0]["rows"][1].update(rank=1))
    page = board / "leaderboard.md"
    page.write_text(page.read_text().replace("sevennet-0", "sevennet-0 (best)", 1))
    report = verify_board(board)
    pairs = found(report, "pairs/mof-500.json")
    assert "chgnet-0.3.0 / chgnet-0.3.0@untrained.scores.paper.calibrated" in pairs
    assert ("missing", "a pair") in pairs.values()
    # The board was built from the pairs that were spoilt later: it differs there, too.
    assert found(report, "leaderboard.json")["datasets[0].rows[1].rank"] == ("1", "2")
    assert any("(best)" in old for old, _ in found(report, "leaderboard.md").values())
    assert {one.file for one in report.findings} == {"pairs/mof-500.json", "leaderboard.json", "leaderboard.md"}
    assert report.recomputed == CELLS


def test_a_spec_that_was_changed_is_found_and_its_exit_code_is_1(board: Path) -> None:
    spec = board / "spec.toml"
    revision = read_record(board / "results" / "mof-500" / "size.json").revision
    spec.write_text(
        spec.read_text().replace(revision, "0" * 64).replace("permutations = 20", "permutations = 20\nk = 24")
    )
    result = CliRunner().invoke(main, ["verify", str(board), "--json"])
    assert result.exit_code == 1
    findings = json.loads(result.output)["findings"]
    told = {(one["file"], one["field"]): one["published"] for one in findings}
    assert "the data here are" in told["spec.toml", "datasets.mof-500"]
    assert told["results/mof-500/size.json", "provenance.settings.k"] == "25"
    assert told["results/mof-500/size.json", "revision"] == revision
    assert len(json.loads(result.output)["not_at_hand"]) == CELLS, "nothing is scored on other data"


def test_no_board_is_exit_code_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert result.exit_code == 2
    (tmp_path / "spec.toml").write_text("board = ")
    result = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert result.exit_code == 2
    assert "spec.toml" in result.output


@pytest.mark.slow
def test_what_is_not_at_hand_is_named_and_checked_against_itself(board: Path) -> None:
    """A record under the name of a model whose embedding is not here, with a mean that its pairs don't have."""
    cells = board / "results" / "mof-500"
    card = get_target("hienet-v3").card.model_dump(mode="json")

    def as_hienet(content: Any) -> None:
        content.update(target="hienet-v3", card=card, twin={})
        content["scores"]["paper"]["alignment"].update(value=0.99)

    edit(cells / "sevennet-0.json", as_hienet, to=cells / "hienet-v3.json")
    report = verify_board(board)
    # The identity that it states is SevenNet's.
    assert report.not_at_hand == ["mof-500::hienet-v3 (made by other code, weights or packages than this suite's)"]
    assert found(report, "results/mof-500/hienet-v3.json").keys() == {"scores.paper.alignment.value"}
    assert {one.file for one in report.findings} == {
        "results/mof-500/hienet-v3.json",
        "leaderboard.json",
        "leaderboard.md",
    }


@pytest.mark.parametrize(
    ("published", "recomputed", "fields"),
    [
        (1.0, 1.000005, []),
        (1.0, 1.00002, ["x"]),
        (3000.0, 3000.02, []),
        (3000.0, 3000.04, ["x"]),
        (None, 0.0, ["x"]),
        (float("nan"), 0.5, ["x"]),
        (0.5, float("nan"), ["x"]),
        (True, 1, []),
        ([1, 2], [1], ["x[1]"]),
        ({"a": 1}, {"a": 1, "b": None}, ["x.b"]),
    ],
)
def test_differences_name_their_field(published: Any, recomputed: Any, fields: list[str]) -> None:
    assert [name for name, _, _ in differences(published, recomputed, at="x")] == fields


@pytest.mark.parametrize(
    ("field", "allowed"),
    [
        ("scores.paper.alignment.low", 2e-4),
        ("scores.paper.alignment.high", 2e-4),
        ("scores.paper.draws[3]", 2e-4),
        ("scores.paper.pairs.chgnet-0.3.0.p_value", 0.005),
        ("chgnet-0.3.0 / sevennet-0.scores.paper.calibrated", 2e-4),
        ("coverage", 1e-5),
    ],
)
def test_each_field_has_its_tolerance(field: str, allowed: float) -> None:
    assert tolerance_of(field) == allowed
    assert not list(differences(0.5, 0.5 + 0.9 * allowed, at=field))
    assert list(differences(0.5, 0.5 + 1.1 * allowed, at=field))


def test_a_target_known_by_its_card_cannot_be_run_and_reads_no_file(board: Path) -> None:
    record = read_record(board / "results" / "mof-500" / "sevennet-0.json")
    card = record.card.model_copy(update={"training_ids": "../../etc/passwd"})
    target = target_of(record.model_copy(update={"target": "sevennet-0@mine", "card": card}))
    assert target.name == "sevennet-0@mine"
    assert target.card.training_ids is None
    with pytest.raises(NotImplementedError):
        target.load(target.card, target.weights, "cpu")
    with pytest.raises(ValueError, match="is not one of the card"):
        target_of(record.model_copy(update={"target": "another"}))


@pytest.mark.slow
def test_a_stopped_verification_goes_on_and_a_finished_one_begins_anew(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(board / "results" / "mof-500" / "sevennet-0.json", lambda c: c["scores"]["paper"].update(cknna=0.9))
    whole = verify_board(board)
    real, calls = verify._verify_record, []

    def stopped(*arguments: Any) -> None:
        calls.append(arguments[3].target)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(verify, "_verify_record", stopped)
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        verify_board(board, tell=lines.append)
    first = list(calls)
    assert lines == [f"{CELLS} of {CELLS} cells are available to recompute"]
    assert verify_board(board, tell=lines.append) == whole
    assert lines[1] == f"{lines[0]}; 3 files were verified before it was stopped"
    assert calls[4:] == [first[3], *(name for name in calls[5:])]
    assert not set(first[:3]) & set(calls[4:]), "what was verified is not scored again"
    calls.clear()
    monkeypatch.setattr(verify, "_verify_record", lambda *arguments: (calls.append(1), real(*arguments)))
    assert verify_board(board) == whole
    assert len(calls) == CELLS, "a finished verification leaves nothing behind"


@pytest.mark.slow
def test_a_record_of_another_schema_than_its_board_is_found(board: Path) -> None:
    path = board / "results" / "mof-500" / "size.json"
    path.write_text(to_json(read_record(path)))
    assert found(verify_board(board), "results/mof-500/size.json")["schema_version"] == ("2", "1")


@pytest.mark.slow
def test_a_further_metric_changes_no_published_board(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry offers; the board's spec decides. The metric is available to a run that asks for it."""
    from consilience.metrics import card as registry
    from consilience.metrics import list_metrics

    monkeypatch.setattr(registry, "_metrics", dict(registry._metrics))

    @metric(
        MetricCard(
            name="extra", title="Extra", inputs="pair", higher_is_more_alike=True, invariances=(), reference="a test"
        )
    )
    def extra(x: Any, y: Any) -> float:
        return float(np.corrcoef(x[:, 0], y[:, 0])[0, 1])

    assert "extra" in list_metrics()
    assert verify_board(board) == Report(recomputed=CELLS)
    spec = read_spec(board / "spec.toml")
    record = Scorer(spec, metrics=["extra"]).score(Cell("mof-500", get_target("size")))
    assert record.state == "ok", record.reason
    assert "extra" in record.scores["paper"].metrics
    assert record.provenance.metric_versions["extra"] == 1
    with pytest.raises(ValueError, match="other metrics"):
        publish(board, [record])


def test_a_board_outlives_the_mending_of_its_targets(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are compared with the rows that the board measured; the mended target's own cell is embedded anew."""
    from consilience import registry
    from consilience.embedding import identity

    before = Scorer(read_spec(board / "spec.toml")).reference_keys("mof-500")
    old = get_target("sevennet-0")
    newer = replace(
        old, card=old.card.model_copy(update={"revision": "mended"})
    )  # its card does not name the former one
    monkeypatch.setitem(registry._targets, "sevennet-0", newer)
    digest = identity.code_digest
    monkeypatch.setattr(identity, "code_digest", lambda path: "0" * 64 if path == old.path else digest(path))

    file = "results/mof-500/sevennet-0.json"
    assert "card.revision" in found(verify_board(board), file), "a revision that the card does not name"
    revision = old.card.revision
    card = newer.card.model_copy(update={"former_revisions": (revision,)})
    newer = replace(newer, card=card)
    monkeypatch.setitem(registry._targets, "sevennet-0", newer)
    report = verify_board(board)
    assert report.recomputed == CELLS
    assert not report.findings
    assert report.remarks == [f"mof-500::sevennet-0: measured at revision {revision}; this suite has mended"]
    scorer = Scorer(read_spec(board / "spec.toml"))
    assert scorer.reference_keys("mof-500") == before
    assert scorer.member("mof-500", "sevennet-0").card.revision == "mended"
    assert scorer.is_available("mof-500", scorer.member("mof-500", "sevennet-0"))
    assert not scorer.is_available("mof-500", newer)
    assert scorer.score(Cell("mof-500", newer)).state == "missing"
    edit(board / "results" / "mof-500" / "sevennet-0.json", lambda c: c["scores"]["paper"].update(cknna=0.9))
    assert "scores.paper.cknna" in found(verify_board(board), "results/mof-500/sevennet-0.json")


def test_a_corrected_card_is_no_difference(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published record keeps what its card said, byte for byte; a value that the card never had is a finding."""
    from consilience import registry

    file = "results/mof-500/sevennet-0.json"
    old = get_target("sevennet-0")
    card = old.card.model_copy(update={"parameters": 7, "remark": "corrected"})
    monkeypatch.setitem(registry._targets, "sevennet-0", replace(old, card=card))
    assert {"card.parameters", "card.remark"} <= set(found(verify_board(board), file))

    former = tuple((name, getattr(old.card, name)) for name in ("parameters", "remark"))
    monkeypatch.setitem(
        registry._targets,
        "sevennet-0",
        replace(old, card=card.model_copy(update={"corrections": (*old.card.corrections, *former)})),
    )
    assert not verify_board(board).findings
    before = (board / file).read_bytes()
    assert b'"parameters": 7,' not in before
    again = Scorer(read_spec(board / "spec.toml")).score(Cell("mof-500", get_target("sevennet-0")))
    publish(board, [again])
    assert (board / file).read_bytes() == before
    edit(board / file, lambda content: content["card"].update(parameters=8))
    assert "card.parameters" in found(verify_board(board), file)
    with pytest.raises(ValueError, match="a card has no field 'parametres'"):
        Card(name="x", family="x", modality="atoms", corrections=(("parametres", 1),))
