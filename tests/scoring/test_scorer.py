from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consilience.embedding.store import Store, shipped_with
from consilience.records.spec import MEASUREMENT_1, Choice, read_spec
from consilience.registry import get_target, load_target_file
from consilience.scoring.presets import RANKED
from consilience.scoring.scorer import Cell, Scorer
from consilience.session.plan import plan
from consilience.session.runner import Runner
from consilience.session.session import run_all

from ..boards import V1_SPEC  # noqa: TID252

SPEC = read_spec(V1_SPEC)
#: Few draws, where no test looks at how sharp a figure is.
QUICK = SPEC.model_copy(update={"settings": SPEC.settings.model_copy(update={"permutations": 20, "subsamples": 10})})
GOOD = "return Embedded([np.histogram(a.get_all_distances(), 24, (0.5, 8))[0] for a in items])\n"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """It prepares its references once for all tests."""
    return Runner(QUICK, store=Store(tmp_path_factory.mktemp("store"), shipped=shipped_with("v1")))


def test_the_plan_goes_data_set_by_data_set_references_first_controls_last() -> None:
    cells = plan(SPEC)
    assert [cell.dataset for cell in cells] == sorted(
        (cell.dataset for cell in cells), key=[entry.name for entry in SPEC.datasets].index
    )
    names = [cell.target.name for cell in cells if cell.dataset == "qm9-1k"]
    assert names[:5] == list(SPEC.datasets[0].references)
    assert names[-len(SPEC.controls) :] == list(SPEC.controls)
    assert len(set(names)) == len(names) >= 18
    assert cells[0].id == f"qm9-1k::{names[0]}"


def test_a_published_board_runs_its_own_targets_again(tmp_path: Path) -> None:
    def names(**options: Path) -> set[str]:
        return {cell.target.name for cell in plan(SPEC, datasets=["mp-1k"], **options)}

    everything = names()
    assert {"soap", "chgnet-r2scan", "hienet-v3"} <= everything
    assert "orb-v2" not in everything, "weights that have to be downloaded are not fetched unasked"
    assert names(published=tmp_path) == everything, "a board without records begins with all"
    (tmp_path / "results" / "mp-1k").mkdir(parents=True)
    (tmp_path / "results" / "mp-1k" / "hienet-v3.json").write_text("{}")
    (tmp_path / "results" / "mp-1k" / "orb-v2.json").write_text("{}")
    fixed = {*SPEC.dataset("mp-1k").references, *SPEC.controls}
    assert names(published=tmp_path) == {"hienet-v3", *fixed}
    missing = {
        cell.target.name for cell in plan(SPEC, datasets=["mp-1k"], published=tmp_path, is_available=lambda *_: False)
    }
    assert missing == fixed, "what would have to be embedded first keeps its record"


def test_a_target_mended_since_keeps_its_published_record(tmp_path: Path) -> None:
    target = get_target("so3lr")
    assert target.card.former_revisions
    folder = tmp_path / "results" / "qm9-1k"
    folder.mkdir(parents=True)
    for revision, runs in ((target.card.former_revisions[0], False), (target.card.revision, True)):
        for name in ("so3lr", "so3lr@untrained"):
            card = {"name": "so3lr", "revision": revision}
            (folder / f"{name}.json").write_text(json.dumps({"target": name, "card": card}))
        names = {cell.target.name for cell in plan(SPEC, datasets=["qm9-1k"], published=tmp_path)}
        assert ({"so3lr", "so3lr@untrained"} <= names) is runs
        assert bool(names & {"so3lr", "so3lr@untrained"}) is runs
        assert "size" in names


def test_what_is_shipped_or_does_not_apply_is_available(own_cache: Path) -> None:
    runner = Runner(SPEC)
    assert runner.is_available("mp-1k", get_target("chgnet-0.3.0"))
    assert runner.is_available("mp-1k", get_target("so3lr")), "it takes no run to find out that it reads no crystals"
    assert not runner.is_available("mp-1k", get_target("hienet-v3"))


def test_a_selection_is_taken_by_name() -> None:
    cells = plan(SPEC, targets=["so3lr", "so3lr@untrained"], datasets=["mp-1k"])
    assert [cell.id for cell in cells] == ["mp-1k::so3lr", "mp-1k::so3lr@untrained"]
    with pytest.raises(LookupError, match="no target"):
        plan(SPEC, targets=["so4lr"])
    with pytest.raises(LookupError, match="has no data set 'qm8'"):
        plan(SPEC, datasets=["qm8"])


def test_another_data_revision_is_refused() -> None:
    entry = SPEC.datasets[0].model_copy(update={"revision": "0" * 64})
    runner = Runner(SPEC.model_copy(update={"datasets": (entry,)}))
    with pytest.raises(ValueError, match="board v1 is about revision 000000000000"):
        runner.items("qm9-1k")


def test_a_target_that_covers_too_little_gets_no_rank_but_a_score(
    write_target: Callable[..., Path], own_cache: Path, runner: Runner
) -> None:
    from consilience.board.board import build_board

    card = ", elements=('H', 'C', 'N', 'O'), trained_on=('QM9',)"  # no fluorine, and most items without nitrogen fail
    body = "return Embedded([np.histogram(a.get_all_distances(), 24, (0.5, 8))[0] * (np.nan if 7 in a.numbers else 1.) "
    body += "for a in items], None, ['nitrogen' if 7 in a.numbers else None for a in items])\n"
    (target,) = load_target_file(write_target(body, name="partial", card=card))
    record = runner.run(Cell("qm9-1k", target))
    assert record.state == "ok"
    assert 0.1 < record.coverage < 0.95
    assert record.uncovered["nitrogen"] > 100
    assert record.uncovered["elements not covered: F"] >= 1
    assert record.distribution == "in"
    value = record.scores[RANKED].alignment.value
    assert value is not None
    assert 0 < value < 1
    (row,) = [row for row in build_board(QUICK, [record]).datasets[0].rows if row.target == "partial"]
    assert row.rank is None
    assert row.coverage == record.coverage


def test_a_reference_that_fails_is_left_out_and_said(
    write_target: Callable[..., Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reference can't be embedded (its file is shipped no more, and it raises): the others still serve."""
    from consilience.scoring import scorer as module

    (broken,) = load_target_file(write_target("raise RuntimeError('no luck')\n", name="broken-reference"))
    (toy,) = load_target_file(write_target(GOOD, name="beside"))
    entry = SPEC.datasets[0].model_copy(update={"references": ("so3lr", "broken-reference")})
    runner = Runner(QUICK.model_copy(update={"datasets": (entry,)}))
    assert module.get_target("broken-reference") == broken
    records = run_all(runner, [Cell("qm9-1k", broken), Cell("qm9-1k", toy)])
    assert [record.state for record in records] == ["failed", "ok"]
    assert "no luck" in (records[0].reason or "")
    assert records[1].reason == "scored without references that failed: broken-reference"
    assert list(records[1].scores[RANKED].pairs) == ["so3lr"]


def test_a_damaged_cached_record_is_scored_again(own_cache: Path) -> None:
    cell = Cell("mof-500", get_target("size"))
    first = Runner(QUICK).run(cell)
    (cached,) = (own_cache / "records").glob("*/*.json")
    whole = cached.read_text()
    cached.write_text(whole[:100])
    second = Runner(QUICK).run(cell)
    assert second.scores == first.scores
    assert json.loads(cached.read_text())["record"]["scores"] == json.loads(whole)["record"]["scores"]


def test_fresh_embeds_what_is_scored_and_reads_the_references(
    own_cache: Path, write_target: Callable[..., Path]
) -> None:
    """Once per run, whatever is stored; a reference that is scored is compared as it is shipped."""
    calls = own_cache.parent / "calls"
    body = f"open({str(calls)!r}, 'a').write('x')\nreturn Embedded([[len(a), a.positions.std()] for a in items])\n"
    (target,) = load_target_file(write_target(body, name="counted"))
    for expected, fresh in ((4, False), (4, False), (8, True)):
        runner = Runner(QUICK, fresh=fresh, limit=100)
        for cell in (Cell("mp-1k", target), Cell("mp-1k", target)):
            assert runner.run(cell).state == "ok"
        assert len(calls.read_text()) == expected
    assert [path.parent.parent.parent.name for path in own_cache.glob("embeddings/*/*/*.safetensors")] == ["embeddings"]
    references = Runner(QUICK, fresh_references=True, limit=100)
    assert references.store.shipped is None
    assert Runner(QUICK, fresh=True).store.shipped is not None


def test_a_twin_of_another_seed_is_another_cell() -> None:
    target = get_target("so3lr@untrained")
    items = Runner(QUICK).items("qm9-1k").head(5)
    from consilience.embedding.identity import identify

    other = replace(target, weights=replace(target.weights, seed=7))
    assert identify(target, items).key != identify(other, items).key


def test_an_embedding_that_cannot_be_scored_fails_its_own_cell(
    write_target: Callable[..., Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consilience.scoring.reference_set import ReferenceSet

    (toy,) = load_target_file(write_target(GOOD, name="unscorable"))
    real = ReferenceSet.score

    def score(self: ReferenceSet, target: object, *arguments: object) -> object:
        if target is toy:
            raise FloatingPointError("a metric gave up")
        return real(self, target, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ReferenceSet, "score", score)
    records = run_all(Runner(QUICK), [Cell("mof-500", toy), Cell("mof-500", get_target("size"))])
    assert [record.state for record in records] == ["failed", "ok"]
    assert records[0].reason == "scoring failed: FloatingPointError: a metric gave up"


@pytest.mark.parametrize(
    "row", ["[len(a) % 2]", "[1e30 * len(a), 1e-30]", "[float(len(a) > 17)] * 3", "np.eye(40)[len(a)]"]
)
def test_odd_embeddings_are_scored(
    write_target: Callable[..., Path], own_cache: Path, runner: Runner, row: str
) -> None:
    """One binary column, huge beside tiny values, duplicates everywhere: figures or nulls, never a crash."""
    body = f"return Embedded([{row} for a in items])\n"
    (target,) = load_target_file(write_target(body, name=f"odd-{abs(hash(row)) % 10**6}"))
    record = runner.run(Cell("qm9-1k", target))
    assert record.state == "ok", record.reason
    value = record.scores[RANKED].alignment.value
    assert value is None or 0 <= value < 0.3


def test_another_family_is_another_score(write_target: Callable[..., Path], own_cache: Path) -> None:
    """The family decides which references are left out: a cached record must not outlive a corrected card."""
    (toy,) = load_target_file(write_target(GOOD, name="renamed-family"))
    moved = replace(toy, card=toy.card.model_copy(update={"family": "chgnet"}))
    first = Runner(QUICK).run(Cell("mof-500", toy))
    second = Runner(QUICK).run(Cell("mof-500", moved))
    assert "chgnet-0.3.0" in first.scores[RANKED].pairs
    assert "chgnet-0.3.0" not in second.scores[RANKED].pairs


@pytest.mark.slow
def test_a_broken_reference_is_named_once_even_when_data_sets_alternate(
    write_target: Callable[..., Path], own_cache: Path
) -> None:
    load_target_file(write_target("raise RuntimeError('no luck')\n", name="broken-twice"))
    entries = tuple(
        entry.model_copy(update={"references": ("chgnet-0.3.0", "broken-twice")}) for entry in SPEC.datasets[::2]
    )
    runner = Runner(QUICK.model_copy(update={"datasets": entries}))
    size = get_target("size")
    records = run_all(runner, [Cell(name, size) for name in ("qm9-1k", "mp-1k", "qm9-1k")])
    assert {record.reason for record in records} == {"scored without references that failed: broken-twice"}


def test_own_twins_are_scored_by_what_a_gain_needs(own_cache: Path) -> None:
    """They stand in their target's row: no board shows their other presets and metrics."""
    choices = {"calibration": Choice(name="excess"), "interval": Choice(name="lineages"), "left_out": "lineage"}
    measured = MEASUREMENT_1.model_copy(update=choices)
    spec = QUICK.model_copy(update={"schema_version": 2, "measurement": measured})
    scorer = Scorer(spec, limit=150)
    rows = scorer.embedding("qm9-1k", scorer.member("qm9-1k", "chgnet-0.3.0@untrained"))
    assert rows is not None
    records = {
        name: scorer.score(Cell("qm9-1k", get_target(name)), embedding=rows)
        for name in ("chgnet-0.3.0@untrained", "chgnet-0.3.0@untrained:1")
    }
    whole, brief = records.values()
    assert set(whole.scores) == {"paper", "standardized", "beyond_composition"}
    assert set(brief.scores) == {"beyond_composition"}
    assert not brief.scores["beyond_composition"].metrics
    assert not brief.singles["beyond_composition"]
    for name, pair in brief.scores["beyond_composition"].pairs.items():
        assert pair.aligned == pytest.approx(whole.scores["beyond_composition"].pairs[name].aligned)
        assert len(pair.draws) == spec.settings.subsamples
