"""Comparisons of real records; where a figure is altered, the alteration is what is tested."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any
from uuid import uuid4

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from consilience.board.compare import check_spec, compare, find_run, load_run, make_run, match, saved_path
from consilience.board.gates import read_gates
from consilience.board.report import comparison_lines, comparison_markdown
from consilience.board.schemas import json_schemas
from consilience.embedding.store import Store, shipped_with
from consilience.records.record import Record
from consilience.records.run import ComparedFigure, Comparison, SavedRun, read_run
from consilience.records.schema import to_json
from consilience.records.spec import Spec, read_spec
from consilience.registry import UnknownNameError, get_adapter, get_target
from consilience.scoring.scorer import Cell
from consilience.session.runner import Runner

from ..boards import V1_SPEC  # noqa: TID252
from ..scoring.test_gain import DRAWS, REFERENCES  # noqa: TID252
from ..scoring.test_gain import record as aligned_record  # noqa: TID252

SPEC = read_spec(V1_SPEC)
#: Of an unchanged checkpoint; each takes a process of its own, and fifty take minutes.
REPETITIONS = int(os.environ.get("CONSILIENCE_TEST_REPETITIONS", "5"))
PUBLISHED = Path(__file__).resolve().parents[2] / "leaderboard" / "v1"


@pytest.fixture(scope="module")
def board() -> SavedRun:
    return load_run(PUBLISHED)


def one(board: SavedRun, target: str, name: str | None = None, dataset: str = "qm9-1k") -> Record:
    """Record of a target on a data set, under another target's name where one is given."""
    (found,) = [record for record in board.records if record.dataset == dataset and record.target == target]
    return found.model_copy(update={"target": name or target})


def judge(old: Record, new: Record, *gates: str) -> tuple[Comparison, dict[str, ComparedFigure]]:
    """Compare two records of one cell."""
    found = compare(make_run(SPEC, [old]), make_run(SPEC, [new]), read_gates(gates))
    return found, {figure.name: figure for cell in found.cells for figure in cell.figures}


def test_an_unchanged_run_is_the_same_to_the_last_digit(board: SavedRun, tmp_path: Path) -> None:
    run = make_run(SPEC, board.records)
    (tmp_path / "run.json").write_text(to_json(run))
    found = compare(read_run(tmp_path / "run.json"), run, read_gates(["cknna:0%,alignment:0,dcor:0,ii:0"]))
    assert found.verdict == "ok"
    assert not found.gone + found.added + found.remarks + found.problems
    figures = [figure for cell in found.cells for figure in cell.figures]
    assert len(found.cells) == sum(record.state == "ok" for record in board.records)
    assert {figure.verdict for figure in figures} == {"same"}
    assert {figure.difference.low for figure in figures if figure.paired} == {0}


def test_a_loss_fails_and_a_gain_does_not(board: SavedRun) -> None:
    trained, random = one(board, "so3lr", "mine"), one(board, "so3lr@untrained", "mine")
    found, figures = judge(trained, random, "cknna:5%", "ii:0.01")
    assert found.verdict == "regressed"
    assert {name: figure.verdict for name, figure in figures.items()} == {
        "alignment": "worse",  # as much worse, but nobody asked
        "cknna": "regressed",
        "information_imbalance_to": "regressed",  # lower is better
        "information_imbalance_from": "regressed",
    }
    assert figures["cknna"].allowed == pytest.approx(0.05 * (figures["cknna"].old or 0))
    found, figures = judge(random, trained, "cknna:5%", "ii:0.01")
    assert found.verdict == "ok"
    assert {figure.verdict for figure in figures.values()} == {"better"}


def test_what_noise_explains_fails_at_no_limit(board: SavedRun) -> None:
    """Neighbours on the board whose ranks can't be told apart, as if one were the other's new checkpoint."""
    better, worse = one(board, "chemnet", "mine"), one(board, "admet-ai-regression", "mine")
    found, figures = judge(better, worse, "alignment:0%")
    assert figures["alignment"].difference.value == pytest.approx(-0.002, abs=2e-3)
    assert figures["alignment"].verdict == "noise"
    assert found.verdict == "ok"


def test_the_last_digit_of_a_saved_figure_is_no_loss(board: SavedRun) -> None:
    old = one(board, "so3lr")
    score = old.scores["beyond_composition"]
    assert score.cknna is not None
    new = score.model_copy(update={"cknna": score.cknna - 1e-6})
    found, figures = judge(old, old.model_copy(update={"scores": {"beyond_composition": new}}), "cknna:0%")
    assert figures["cknna"].difference.value != 0
    assert figures["cknna"].verdict == "same"
    assert found.verdict == "ok"


def test_figures_without_an_interval_go_by_the_limit(board: SavedRun) -> None:
    old, new = one(board, "so3lr", "mine"), one(board, "diep-fold1", "mine")
    drop = old.scores["beyond_composition"].metrics["cka"]
    now = new.scores["beyond_composition"].metrics["cka"]
    assert drop is not None
    assert now is not None
    loss = abs(drop - now)
    first, second = (old, new) if drop > now else (new, old)
    for limit, verdict in ((loss * 1.01, "ok"), (loss * 0.99, "regressed")):
        found, figures = judge(first, second, f"cka:{limit:.6f}")
        assert found.verdict == verdict
        assert figures["cka"].difference.low is None


def shipped(name: str, dataset: str) -> Any:
    runner = Runner(SPEC)
    items = runner.items(dataset)
    embedding = runner.embedding(dataset, runner.member(dataset, name))
    assert embedding is not None
    return items, embedding


def noisy(features: NDArray[np.float32], level: float, seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=features.shape) * features.std(axis=0)
    return (features + level * noise).astype(np.float32)


@pytest.fixture(scope="module")
def score() -> Callable[..., Record]:
    """Score SevenNet's shipped embedding of 300 molecules with noise added: real figures of a real loss."""
    from consilience.scoring.protocol import Protocol
    from consilience.scoring.reference_set import ReferenceSet

    items, embedding = shipped("sevennet-0", "qm9-1k")
    few = np.zeros(len(items), dtype=bool)
    few[:300] = True
    references = {
        name: (get_target(name), shipped(name, "qm9-1k")[1].take(few)) for name in ("so3lr", "aimnet2-wb97m-d3")
    }
    panel = ReferenceSet(items.select(few), Protocol.of(SPEC), references)

    def record(level: float, seed: int = 0) -> Record:
        rows = replace(embedding.take(few), features=noisy(embedding.take(few).features, level, seed))
        target = get_target("sevennet-0")
        told: dict[str, Any] = {"board": "v1", "dataset": "qm9-1k", "revision": items.revision, "card": target.card}
        scored = panel.score(target, rows)
        return Record(**told, target="mine", trained=True, state="ok", coverage=1, ranked=SPEC.ranked, **scored)

    record.panel = panel  # type: ignore[attr-defined]
    record.rows = embedding.take(few).features  # type: ignore[attr-defined]
    return record


def test_the_interval_is_that_of_the_difference_on_the_same_halves(score: Any) -> None:
    from consilience.metrics._engine.neighbor_kernel import NeighborKernel
    from consilience.metrics.inference.subsampling import subsample_scores
    from consilience.scoring.presets import get_preset, prepare_in

    panel = score.panel
    halves = panel._subsets

    def mean_of_halves(level: float) -> NDArray[np.float64]:
        mine = NeighborKernel(
            prepare_in(get_preset("beyond_composition", 1), noisy(score.rows, level, 0), panel.items), 25
        )
        others = [panel._reference(name, "beyond_composition").kernel for name in panel.references]
        return np.mean([subsample_scores(mine, other, halves) for other in others], axis=0)

    change = mean_of_halves(0.5) - mean_of_halves(0.0)
    exact = NormalDist().inv_cdf(0.975) * np.sqrt(np.mean(((change[::2] - change[1::2]) / 2) ** 2))
    _, figures = judge(score(0.0), score(0.5))
    interval = figures["cknna"].difference
    assert figures["cknna"].paired
    assert interval.high is not None
    assert interval.low is not None
    assert (interval.high - interval.low) / 2 == pytest.approx(exact, rel=0.02)
    apart = score(0.0).model_copy(update={"coverage": 0.99})  # other items, other halves: nothing is paired
    _, figures = judge(apart, score(0.5))
    wider = figures["cknna"].difference
    assert figures["cknna"].paired is False
    assert wider.high is not None
    assert wider.low is not None
    assert wider.high - wider.low > 1.2 * (interval.high - interval.low)


def test_draws_cut_off_at_zero_are_not_taken_for_certainty(score: Any) -> None:
    """Rows of noise agree with nothing: their draws are all but cut off, which is not to be read as no spread."""

    def as_in_schema_1(record: Record) -> Record:
        """Schema 1 stated draws only after they were cut off."""
        scores = {name: one.model_copy(update={"uncut_draws": []}) for name, one in record.scores.items()}
        return record.model_copy(update={"scores": scores})

    records = score(100.0, 1), score(100.0, 2)
    for sides, paired in ((map(as_in_schema_1, records), False), (records, True)):
        _, figures = judge(*sides)
        assert figures["alignment"].paired is paired
        interval = figures["alignment"].difference
        assert interval.high is not None
        assert interval.low is not None
        assert interval.high - interval.low > 0.005


def test_alignment_falls_with_noise_and_the_gate_fails_where_asked(score: Any) -> None:
    levels = (0.0, 0.3, 1.0, 3.0)
    records = [score(level) for level in levels]
    values = [record.scores["beyond_composition"].cknna for record in records]
    assert values == sorted(values, reverse=True)
    for record, value in zip(records[1:], values[1:], strict=True):
        loss = 100 * (1 - value / values[0])
        assert judge(records[0], record, f"cknna:{0.9 * loss:.3f}%")[0].verdict == "regressed"
        assert judge(records[0], record, f"cknna:{1.1 * loss:.3f}%")[0].verdict == "ok"


def test_limits_are_read() -> None:
    gates = read_gates(["cknna:5%, dcor:0.02", "mp-1k/mutual-kNN:1e-3"])
    assert [(g.figures, g.number, g.percent, g.dataset) for g in gates] == [
        (("cknna",), 5, True, None),
        (("distance_correlation",), 0.02, False, None),
        (("mutual_knn",), 0.001, False, "mp-1k"),
    ]
    both = ("information_imbalance_to", "information_imbalance_from")
    assert read_gates(["II:5%"])[0].figures == read_gates(["information-imbalance:5%"])[0].figures == both
    assert read_gates(["information_imbalance_to:5%"])[0].figures == both[:1]
    with pytest.raises(UnknownNameError, match=r"'cknn'; did you mean (cka or )?cknna"):
        read_gates(["cknn:5%"])
    for text in ("cknna", "cknna:five", "cknna:-1", "cknna:5%%", "a/b/cknna:5"):
        with pytest.raises(ValueError, match="is no limit"):
            read_gates([text])


def test_the_limit_of_a_data_set_goes_before_the_general_one(board: SavedRun) -> None:
    names = ("qm9-1k", "mp-1k")
    old = [one(board, "chgnet-0.3.0", "mine", name) for name in names]
    new = [one(board, "chgnet-0.3.0@untrained", "mine", name) for name in names]
    gates = read_gates(["cknna:5%", "qm9-1k/cknna:99%"])
    found = compare(make_run(SPEC, old), make_run(SPEC, new), gates)
    verdicts = {cell.dataset: [f.verdict for f in cell.figures if f.name == "cknna"] for cell in found.cells}
    assert verdicts == {"qm9-1k": ["worse"], "mp-1k": ["regressed"]}


def test_a_gate_that_judges_nothing_does_not_pass(board: SavedRun) -> None:
    gaussian = one(board, "random-gaussian")
    found, figures = judge(gaussian, gaussian, "alignment:5%")
    assert found.verdict == "undecided"
    assert "a percentage of 0 says nothing" in str(figures["alignment"].reason)
    assert judge(gaussian, gaussian, "alignment:0.01")[0].verdict == "ok"
    found, _ = judge(one(board, "so3lr"), one(board, "so3lr"), "mp-1k/cknna:5%")
    assert found.verdict == "undecided"
    assert "no figure of the baseline and the run" in found.problems[0]


def test_a_cell_that_is_not_scored_any_more_regressed(board: SavedRun) -> None:
    old = one(board, "so3lr")
    failed = old.model_copy(update={"state": "failed", "reason": "out of luck", "scores": {}, "provenance": None})
    found, _ = judge(old, failed)
    assert found.verdict == "regressed"
    assert "out of luck" in found.cells[0].reason  # type: ignore[operator]
    assert "1 of 1 cells, which are not scored any more" in comparison_markdown(found)
    assert judge(failed, old)[0].added == ["qm9-1k::so3lr"]


def test_a_new_checkpoint_is_compared_with_the_old_one(board: SavedRun) -> None:
    assert match(["a", "b@one", "b@untrained"], ["a", "b@two", "b@untrained"]) == {
        "a": "a",
        "b@two": "b@one",
        "b@untrained": "b@untrained",
    }
    assert match(["b@one", "c@one"], ["b@two", "b@three"]) == {}
    found, _ = judge(one(board, "so3lr", "so3lr@epoch-1"), one(board, "so3lr", "so3lr@epoch-2"))
    assert "so3lr@epoch-2 is compared with so3lr@epoch-1" in found.remarks[0]
    found, _ = judge(one(board, "so3lr"), one(board, "chgnet-0.3.0"))
    assert (found.gone, found.added) == (["qm9-1k::so3lr"], ["qm9-1k::chgnet-0.3.0"])


def altered(spec: Spec, dataset: dict[str, Any] | None = None, **changes: Any) -> Spec:
    content = spec.model_dump() | changes
    content["datasets"] = [entry | (dataset or {}) for entry in content["datasets"]]
    return Spec.model_validate(content)


@pytest.mark.parametrize(
    ("spec", "limit", "message"),
    [
        (altered(SPEC, board="v2"), None, "board v1 against v2"),
        (altered(SPEC, settings={**SPEC.settings.model_dump(), "k": 10}), None, "setting k: 25 against 10"),
        (altered(SPEC, {"revision": "1" * 64}), None, "qm9-1k: revision [0-9a-f]{12} against 111111111111"),
        (altered(SPEC, {"references": ["so3lr"]}), None, "references aimnet2.* against so3lr"),
        (altered(SPEC, {"strata": "formula"}), None, "strata None against formula"),
        (SPEC, 200, "sample: all items against 200 items"),
    ],
)
def test_what_was_measured_differently_is_refused(board: SavedRun, spec: Spec, limit: int, message: str) -> None:
    with pytest.raises(
        ValueError, match=f"measured differently.*{message}.*A new baseline: .*--align-save NAME"
    ) as refusal:
        check_spec(board, spec, limit=limit)
    assert "\n" not in str(refusal.value)


def test_other_metric_versions_and_references_are_refused(board: SavedRun) -> None:
    old = one(board, "so3lr")
    assert old.provenance is not None
    for change, message in (
        ({"metric_versions": {"cknna": 2}}, "version of cknna: 1 against 2"),
        ({"references": {**old.provenance.references, "chgnet-0.3.0": "0" * 64}}, "other embeddings.*chgnet-0.3.0"),
    ):
        new = old.model_copy(update={"provenance": old.provenance.model_copy(update=change)})
        found, _ = judge(old, new, "cknna:5%")
        assert found.verdict == "refused"
        assert re.search(message, found.problems[0])
        assert comparison_markdown(found).startswith(
            "**Alignment was not compared**\n\n- could not be judged: the base"
        )


def test_another_machine_is_a_remark(board: SavedRun) -> None:
    old = one(board, "so3lr")
    assert old.provenance is not None
    embedding = {**old.provenance.embedding, "hardware": {"cpu": "another", "cores": 2, "device": "cuda"}}
    provenance = old.provenance.model_copy(
        update={"embedding": embedding, "packages": {**old.provenance.packages, "numpy": "3.0"}}
    )
    found, _ = judge(old, old.model_copy(update={"provenance": provenance}), "cknna:0%")
    assert found.verdict == "ok"
    assert "hardware: device cpu, now cuda" in found.remarks
    assert any(remark.startswith("scoring package: numpy ") for remark in found.remarks)


def test_files_that_are_no_saved_run_are_named(board: SavedRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it is a board; what --align-save"):
        read_run(PUBLISHED / "leaderboard.json")
    run = json.loads(to_json(make_run(SPEC, board.records[:1])))
    path = tmp_path / "run.json"
    for broken in ({**run, "schema_version": 9}, {"records": 1}, [], {**run, "extra": 1}):
        path.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=r"run\.json is not a saved run of schema version 1"):
            read_run(path)
    with pytest.raises(ValueError, match="neither a saved run nor the folder of a board"):
        load_run(tmp_path)
    for name in ("../up", ".hidden", "a/b", ""):
        with pytest.raises(ValueError, match="is no name for a file"):
            saved_path(tmp_path, name)
    (tmp_path / ".consilience").mkdir()
    (tmp_path / ".consilience" / "main.json").write_text(json.dumps(run))
    assert load_run(find_run("main", tmp_path)).records[0].target == board.records[0].target
    with pytest.raises(FileNotFoundError, match=r"no saved run at mian.*: main"):
        find_run("mian", tmp_path)


def test_what_is_written_follows_the_schemas(board: SavedRun) -> None:
    schemas = json_schemas()
    run = make_run(SPEC, board.records, limit=100)
    jsonschema.validate(json.loads(to_json(run)), schemas["run.v2.json"])
    found, _ = judge(one(board, "so3lr", "mine"), one(board, "so3lr@untrained", "mine"), "cknna:5%")
    jsonschema.validate(json.loads(to_json(found)), schemas["comparison.v1.json"])


def test_the_report_begins_with_the_verdict(board: SavedRun) -> None:
    found, figures = judge(one(board, "so3lr", "mine"), one(board, "so3lr@untrained", "mine"), "cknna:5%")
    page = comparison_markdown(found)
    assert page.startswith("**Alignment regressed: 1 of 1 gated figures**\n\n| data set")
    assert page.count("<details>") == page.count("</details>") == 1
    lines = list(comparison_lines(found))
    for text in (page, "\n".join(lines)):
        assert f"{figures['cknna'].new:.4f}" in text
        assert f"[{figures['cknna'].difference.low:+.4f}, " in text
        assert "REGRESSED" in text
    assert lines[-1] == "Alignment regressed: 1 of 1 gated figures"


@pytest.fixture(scope="module")
def chgnet(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Record]:
    """Score CHGNet with noise in its weights, through its adapter as a user's checkpoint, on 200 crystals."""
    import torch

    from consilience.isolation import environments

    adapter = get_adapter("chgnet-0.3.0")
    python = environments.ensure(environments.Header.of(adapter.path))
    (published,) = python.parents[1].glob("lib/python*/site-packages/chgnet/pretrained/0.3.0/*.pth.tar")
    folder = tmp_path_factory.mktemp("checkpoints")
    runners = {n: Runner(SPEC, limit=n, store=Store(folder, shipped=shipped_with("v1"))) for n in (60, 200)}

    def record(level: float, name: str, n: int = 200) -> Record:
        """`level`: noise in deviations of each tensor."""
        # Another file each time: what an earlier session scored is not taken from the cache.
        content = {"model": torch.load(published, map_location="cpu", weights_only=True)["model"], "made": str(uuid4())}
        generator = torch.Generator().manual_seed(0)
        for tensor in content["model"]["state_dict"].values():
            if level and tensor.is_floating_point() and tensor.numel() > 1:
                tensor += level * tensor.std() * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        torch.save(content, folder / f"{name}.pt")
        target = adapter.from_checkpoint(folder / f"{name}.pt")
        return runners[n].run(Cell("mp-1k", target))

    return record


@pytest.mark.environment
@pytest.mark.slow
def test_noise_in_the_weights_fails_at_the_level_asked_for(chgnet: Callable[..., Record]) -> None:
    old = chgnet(0.0, "published")
    new = [chgnet(level, f"noise-{level}") for level in (0.05, 0.2, 1.0)]
    scores = [record.scores["beyond_composition"] for record in (old, *new)]
    for values in ([score.cknna for score in scores], [score.alignment.value for score in scores]):
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 4
    before = scores[0].cknna
    assert before is not None
    for record, score in zip(new, scores[1:], strict=True):
        assert score.cknna is not None
        loss = 100 * (1 - score.cknna / before)
        assert judge(old, record, f"cknna:{loss - 1:.2f}%")[0].verdict == "regressed"
        assert judge(old, record, f"cknna:{loss + 1:.2f}%")[0].verdict == "ok"


@pytest.mark.environment
@pytest.mark.slow
def test_unchanged_weights_never_fail(chgnet: Callable[..., Record]) -> None:
    """Files of the same weights, each embedded anew (its bytes and so its key are others)."""
    old = chgnet(0.0, "first", 60)
    for i in range(REPETITIONS):
        new = chgnet(0.0, f"again-{i}", 60)
        assert new.state == "ok"
        assert judge(old, new, "cknna:0%,alignment:0%,dcor:0,ii:0")[0].verdict == "ok"


def test_a_training_gain_is_gated_against_the_twins_of_either_side() -> None:
    """What a twin and its target share, easy or hard items, is no part of the interval of a lost gain."""
    random = np.random.default_rng(0)
    common = {name: 0.05 * random.normal(size=DRAWS) for name in REFERENCES}

    def run(target: float, twin: float, noise: float = 0.0) -> SavedRun:
        draws = {name: one + noise * random.normal(size=DRAWS) for name, one in common.items()}
        records = [
            aligned_record("diep-fold1", dict.fromkeys(REFERENCES, target), draws),
            aligned_record("diep-fold1@untrained:1", dict.fromkeys(REFERENCES, twin), common),
        ]
        return make_run(SPEC, [record.model_copy(update={"coverage": 1.0}) for record in records])

    def gain(old: SavedRun, new: SavedRun, gate: str = "gain:0.02") -> ComparedFigure:
        (cell,) = [one for one in compare(old, new, read_gates([gate])).cells if one.target == "diep-fold1"]
        (figure,) = [one for one in cell.figures if one.name == "gain"]
        return figure

    lost = gain(run(0.5, 0.2), run(0.45, 0.2))
    assert (lost.old, lost.new) == pytest.approx((0.3, 0.25))
    assert (lost.verdict, lost.paired) == ("regressed", True)
    assert gain(run(0.5, 0.2), run(0.45, 0.2), "gain:0.06").verdict == "worse"
    assert gain(run(0.5, 0.2), run(0.45, 0.15)).verdict == "same"
    assert gain(run(0.5, 0.2, 0.2), run(0.45, 0.2, 0.2)).verdict == "noise"
    without = compare(run(0.5, 0.2), make_run(SPEC, run(0.5, 0.2).records[:1]), read_gates(["gain:0.02"]))
    assert without.verdict == "regressed", "a gain that can't be told any more does not pass"
    alone = make_run(SPEC, run(0.5, 0.2).records[:1])
    assert "no figure" in compare(alone, alone, read_gates(["gain:0.02"])).problems[0]
