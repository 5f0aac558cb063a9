"""The plug-in as its users meet it: a pytest process of its own in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .boards import V1_SPEC

GOOD = """
distances = [a.get_all_distances() for a in items]
weights = [np.sqrt(np.outer(a.numbers, a.numbers)) for a in items]
return Embedded([np.histogram(d, 24, (0.5, 8), weights=w)[0] for d, w in zip(distances, weights)])
"""

TOY = '''\
"""A toy of 15 lines: how far apart the atoms are, weighted by their charges."""
import numpy as np

from consilience import Card, Embedded, target


@target(Card(name="toy", family="toy", modality="atoms"))
def load(card, weights, device):
    def row(atoms):
        charges = np.sqrt(np.outer(atoms.numbers, atoms.numbers))
        return np.histogram(atoms.get_all_distances(mic=any(atoms.pbc)), 32, (0.5, 8), weights=charges)[0]

    def embed(items):
        return Embedded([row(atoms) for atoms in items])
    return embed
'''


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Hypothesis's plug-in takes a second to import and has no part in these tests.
    options = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    # These tests may run under xdist themselves; the run under test must not take itself for one of its workers.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=variables)


def folder_with_toy(tmp_path: Path) -> Path:
    folder = tmp_path / "author"
    folder.mkdir()
    (folder / "target_toy.py").write_text(TOY)
    return folder


def test_a_toy_gets_a_row_and_leaves_no_trace(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_toy(tmp_path)
    datasets = ("qm9-1k", "mp-1k")
    options = (f"--align-datasets={','.join(datasets)}", "--align-json=scores.json")
    done = run(folder, "--benchmark", "target_toy.py", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    for dataset in datasets:
        assert f"target_toy.py::{dataset}::toy ok" in done.stdout
    board = json.loads((folder / "scores.json").read_text())
    for table in [table for table in board["datasets"] if table["name"] in datasets]:
        (row,) = [row for row in table["rows"] if row["target"] == "toy"]
        assert row["state"] == "ok"
        assert 0 < row["alignment"]["beyond_composition"]["value"] < 1
        assert row["alignment"]["paper"]["low"] <= row["alignment"]["paper"]["value"]
        assert {"cka", "distance_correlation", "mutual_knn", "information_imbalance_to"} <= set(row["metrics"])
        assert row["probe_mae"] > 0
    assert not (own_cache / "environments").exists(), "another model's environment was built"
    written = {path.name for path in folder.iterdir()} - {".benchmarks"}  # pytest-benchmark makes that folder
    assert written == {"target_toy.py", "scores.json"}


def test_without_the_flag_nothing_is_collected(tmp_path: Path) -> None:
    folder = folder_with_toy(tmp_path)
    assert run(folder).returncode == 5  # pytest's own code for "no tests"


@pytest.mark.slow
def test_a_failing_cell_fails_alone(write_target: Callable[..., Path], tmp_path: Path, own_cache: Path) -> None:
    write_target(GOOD, name="fine")
    write_target("raise RuntimeError('out of luck')\n", name="raises")
    write_target("return Embedded(np.full((len(items), 2), np.nan))\n", name="nans")
    write_target("return Embedded(np.ones((7, 2)))\n", name="short-of-rows")
    write_target("return Embedded(np.ones((len(items), 2)))\n", name="constant")
    write_target("import time; time.sleep(600)\n", name="hangs")
    done = run(tmp_path, "--align", "--align-datasets=qm9-isomers-1k", "--align-timeout=15", "--align-json=out.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "5 failed, 1 passed" in done.stdout
    (table,) = [t for t in json.loads((tmp_path / "out.json").read_text())["datasets"] if t["name"] == "qm9-isomers-1k"]
    states = {row["target"]: (row["state"], row["reason"] or "") for row in table["rows"]}
    assert states["fine"][0] == "ok"
    for name, reason in {
        "raises": "out of luck",
        "nans": "NaN for",
        "short-of-rows": "7 rows for 32 items",
        "constant": "all 1000 rows are equal",
        "hangs": "time limit of 15 s",
    }.items():
        state, found = states[name]
        assert state == "failed"
        assert reason in found
        assert reason in done.stdout


def test_unknown_names_stop_the_run_with_a_suggestion(tmp_path: Path) -> None:
    done = run(tmp_path, "--benchmark", "--align-targets=chgnet-0.3")
    assert done.returncode == 2
    assert "no target is named 'chgnet-0.3'; did you mean 'chgnet-0.3.0'" in done.stdout + done.stderr
    done = run(tmp_path, "--benchmark", "--align-datasets=qm8-1k")
    assert done.returncode == 2
    assert "qm9-1k" in done.stdout + done.stderr
    done = run(tmp_path, "--benchmark", "--align-targets=family:chgnets")
    assert done.returncode == 2
    assert "did you mean 'family:chgnet'" in done.stdout + done.stderr


def test_targets_are_chosen_by_family_and_modality(tmp_path: Path) -> None:
    done = run(
        tmp_path, "--benchmark", "--collect-only", "-q", "--align-datasets=qm9-1k",
        "--align-targets=family:so3krates,modality:graph",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "qm9-1k::so3lr" in done.stdout
    assert "qm9-1k::minimol" in done.stdout
    assert "chgnet" not in done.stdout


ADAPTER = """\
import numpy as np

from consilience import Card, Embedded, target


@target(Card(name="powers", family="powers", modality="atoms", accepts="one number in a text file"))
def load(card, weights, device):
    power = float(weights.path.read_text()) if weights.kind == "file" else 1.0

    def embed(items):
        return Embedded([np.histogram(a.get_all_distances() ** power, 24, (0.5, 8))[0] for a in items])
    return embed
"""


@pytest.mark.slow
def test_a_checkpoint_gets_a_row_through_an_adapter(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "target_powers.py").write_text(ADAPTER)
    (tmp_path / "mine.txt").write_text("1.5")
    options = ("--align-adapter=powers", "--align-checkpoint=mine.txt", "--align-datasets=qm9-1k")
    done = run(tmp_path, "--benchmark", *options, "--align-limit=120", "--align-json=out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "qm9-1k::powers@mine ok" in done.stdout
    assert "1 passed" in done.stdout
    (row,) = [
        row
        for table in json.loads((tmp_path / "out.json").read_text())["datasets"]
        for row in table["rows"]
        if row["target"] == "powers@mine" and row["state"] == "ok"
    ]
    assert row["title"] == "powers, mine.txt"
    done = run(tmp_path, "--benchmark", "--align-checkpoint=mine.txt")
    assert done.returncode == 2
    assert "--align-adapter NAME and --align-checkpoint PATH go together" in done.stdout + done.stderr
    done = run(tmp_path, "--benchmark", "--align-adapter=chgnet", "--align-checkpoint=absent.pt")
    assert done.returncode == 2
    assert "no checkpoint at" in done.stdout + done.stderr


def test_a_quick_look_is_never_published(tmp_path: Path) -> None:
    done = run(tmp_path, "--benchmark", "--align-limit=100", f"--align-publish={tmp_path}")
    assert done.returncode == 2
    assert "not published" in done.stdout + done.stderr


def test_a_quick_look_says_what_it_is(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_toy(tmp_path)
    done = run(folder, "--benchmark", "--align-limit=120", "--align-datasets=qm9-1k")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "QUICK LOOK at 120 items" in done.stdout
    assert not (own_cache / "environments").exists(), "a reference was embedded again"


@pytest.mark.slow
@pytest.mark.parametrize("extra", [["--benchmark-only"], ["-n", "2"], ["-k", "qm9-1k"]])
def test_it_works_beside_other_plugins(tmp_path: Path, own_cache: Path, extra: list[str]) -> None:
    folder = folder_with_toy(tmp_path)
    (folder / "test_other.py").write_text("def test_other(benchmark):\n    benchmark(sum, [1])\n")
    done = run(folder, "--benchmark", "--align-datasets=qm9-1k", *extra)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "toy" in done.stdout.split("alignment with")[1]


def test_pytest_benchmark_keeps_its_own_world(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_other(benchmark):\n    benchmark(sum, [1])\n")
    done = run(tmp_path, "--benchmark-only", "--benchmark-max-time=0.01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_a_second_run_scores_nothing_twice(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_toy(tmp_path)
    assert run(folder, "--benchmark", "--align-datasets=qm9-1k", "--align-json=a.json").returncode == 0
    stamps = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*") if path.is_file()}
    assert run(folder, "--benchmark", "--align-datasets=qm9-1k", "--align-json=b.json").returncode == 0
    changed = {
        path.relative_to(own_cache)
        for path in own_cache.rglob("*")
        if path.is_file() and "lock" not in path.name and stamps.get(path) != path.stat().st_mtime_ns
    }
    assert not changed
    assert (folder / "a.json").read_text() == (folder / "b.json").read_text()


@pytest.mark.slow
def test_a_run_of_one_suite_target_by_name(tmp_path: Path, own_cache: Path) -> None:
    done = run(tmp_path, "--benchmark", "--align-targets=size", "--align-datasets=qm9-*")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    assert "all 1000 rows are equal" in done.stdout


def own_molecules(path: Path, n: int = 60) -> Path:
    """Molecules as a user has them: positions, ids and energies in a file."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from consilience.datasets import open_dataset

    items = open_dataset("qm9-1k")
    items = items.select(range(100, 100 + n))
    found = items.view("atoms")
    for atoms, name, energy in zip(found, items.ids, items.energy, strict=True):
        atoms.info["id"] = name
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    write(path, found)
    return path


@pytest.mark.environment  # the references embed the user's molecules, each in its own environment
def test_own_data_are_scored_against_the_default_references(tmp_path: Path) -> None:
    folder = folder_with_toy(tmp_path)
    own_molecules(folder / "mine.extxyz")
    done = run(folder, "--benchmark", "target_toy.py", "--align-datasets=./mine.extxyz", "--align-json=out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "target_toy.py::mine::toy ok" in done.stdout
    assert "1 passed" in done.stdout
    board = json.loads((folder / "out.json").read_text())
    (table,) = [table for table in board["datasets"] if table["name"] == "mine"]
    assert table["references"] == ["aimnet2-wb97m-d3", "so3lr", "diep-fold1", "chgnet-0.3.0", "sevennet-0"]
    assert table["card"]["items"] == 60
    assert str(folder) not in json.dumps(board)
    (row,) = [row for row in table["rows"] if row["target"] == "toy"]
    assert row["state"] == "ok"
    assert row["reason"] is None, "a reference failed"
    assert 0 < row["alignment"]["standardized"]["value"] < 1
    assert row["probe_mae"] > 0
    (folder / "target_toy.py").unlink()
    done = run(folder, "--benchmark", "--align-targets=soap,composition", "--align-datasets=mine.extxyz")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mine::soap ok" in done.stdout
    assert "mine::composition ok" in done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.slow
def test_own_data_that_cannot_be_used_stop_the_run(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_toy(tmp_path)
    (folder / "mine.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n2\n\nH 0 0 0\nH nan 0 0.74\n")
    (folder / "mine.csv").write_text("id,smile\n1,CCO\n")
    for wanted, message in {
        "mine.xyz": "mine.xyz: item 2, column 'positions': atom 2 lies at [nan",
        "mine.csv": "there are id, smile",
        "absent.extxyz": "no file or folder at absent.extxyz",
        "./absent": "no file or folder at absent",
        "proteins-50": "did you mean 'proteins-500'",
    }.items():
        done = run(folder, "--benchmark", "target_toy.py", f"--align-datasets={wanted}")
        assert done.returncode == 2, done.stdout + done.stderr
        assert message in done.stdout + done.stderr
    assert not own_cache.exists(), "something was cached"


@pytest.mark.slow
def test_own_data_are_not_published(tmp_path: Path) -> None:

    folder = folder_with_toy(tmp_path)
    board = folder / "board"
    board.mkdir()
    (board / "spec.toml").write_bytes(V1_SPEC.read_bytes())
    own_molecules(folder / "mine.extxyz", 3)
    for wanted in ("mine.extxyz", "qm9-1k,mp-prototypes-1k"):
        options = (f"--align-datasets={wanted}", "--align-publish=board")
        done = run(folder, "--benchmark", "target_toy.py", *options)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "is not on board v1" in done.stdout + done.stderr
    assert [path.name for path in board.iterdir()] == ["spec.toml"]


def folder_with_checkpoints(tmp_path: Path) -> Path:
    """An adapter, a checkpoint, and one whose rows tell little more than how many atoms there are."""
    folder = tmp_path / "author"
    folder.mkdir()
    (folder / "target_powers.py").write_text(ADAPTER)
    (folder / "good.txt").write_text("1.5")
    (folder / "bad.txt").write_text("0.001")
    return folder


def run_checkpoint(folder: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    options = ("--align-adapter=powers", f"--align-checkpoint={name}", "--align-datasets=qm9-1k", "--align-limit=120")
    return run(folder, "--benchmark", *options, *more)


@pytest.mark.slow
def test_a_regression_fails_once_its_report_is_written(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_checkpoints(tmp_path)
    done = run_checkpoint(folder, "good.txt", "--align-save=main", "--align-report=first.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| powers@good" in (folder / "first.md").read_text()
    saved = folder / ".consilience" / "main.json"
    assert f"written: {saved}" in done.stdout
    assert [record["target"] for record in json.loads(saved.read_text())["records"]] == ["powers@good"]
    gate = ("--align-compare=main", "--align-compare-fail=cknna:5%,dcor:0.02")
    reports = (
        "--align-report=report.md",
        "--align-report=report.json",
        "--junitxml=junit.xml",
        "--align-json=out.json",
    )
    done = run_checkpoint(folder, "good.txt", *gate, *reports)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Alignment held: none of 2 gated figures regressed" in done.stdout
    assert (folder / "report.md").read_text().startswith("**Alignment held: none of 2 gated figures regressed**")
    done = run_checkpoint(folder, "bad.txt", *gate, *reports)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "qm9-1k::powers@bad regressed: CKNNA" in done.stdout
    assert "Alignment regressed: 2 of 2 gated figures" in done.stdout
    page = (folder / "report.md").read_text()
    assert page.startswith("**Alignment regressed: 2 of 2 gated figures**")
    assert "powers@bad is compared with powers@good" in page
    assert "QUICK LOOK at 120 items" in page
    found = json.loads((folder / "report.json").read_text())
    assert found["verdict"] == "regressed"
    assert found["cells"][0]["baseline"] == "powers@good"
    assert 'failures="1"' in (folder / "junit.xml").read_text()
    assert "regressed: CKNNA" in (folder / "junit.xml").read_text()
    assert {"board", "datasets", "overall"} <= set(json.loads((folder / "out.json").read_text()))


@pytest.mark.slow
def test_a_regression_fails_in_several_processes(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_checkpoints(tmp_path)
    assert run_checkpoint(folder, "good.txt", "--align-save=main").returncode == 0
    done = run_checkpoint(folder, "bad.txt", "-n", "2", "--align-compare=.consilience/main.json",
                          "--align-compare-fail=qm9-1k/cknna:5%", "--align-compare-fail=ii:50%")  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "Alignment regressed" in done.stdout


@pytest.mark.slow
def test_a_comparison_that_cannot_be_made_stops_the_run(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_checkpoints(tmp_path)
    assert run_checkpoint(folder, "good.txt", "--align-save=main").returncode == 0
    compared = "--align-compare=main"
    for options, message in {
        (compared, "--align-compare-fail=cknn:5%"): "no figure is named 'cknn'; did you mean",
        (compared, "--align-limit=100", "--align-report=report.md"): "sample: 120 items against 100 items",
        ("--align-compare-fail=cknna:5%",): "--align-compare RUN says what to compare with",
        ("--align-compare=other",): "no saved run at other; saved in",
        ("--align-save=../main",): "'../main' is no name for a file",
    }.items():
        done = run_checkpoint(folder, "good.txt", *options)
        assert done.returncode == 2, done.stdout + done.stderr
        assert message in done.stdout + done.stderr
        assert "passed" not in done.stdout, "something was scored"
    assert "sample: 120 items against 100 items" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_references_that_are_others_are_refused_after_the_report(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_checkpoints(tmp_path)
    assert run_checkpoint(folder, "good.txt", "--align-save=main").returncode == 0
    saved = folder / ".consilience" / "main.json"
    content = json.loads(saved.read_text())
    content["records"][0]["provenance"]["references"]["so3lr"] = "0" * 64
    saved.write_text(json.dumps(content))
    done = run_checkpoint(folder, "good.txt", "--align-compare=main", "--align-report=report.md")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "other embeddings of the references so3lr" in done.stdout
    assert "other embeddings of the references so3lr" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_a_cell_that_is_skipped_now_regressed(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_checkpoints(tmp_path)
    assert run_checkpoint(folder, "good.txt", "--align-save=main").returncode == 0
    source = (folder / "target_powers.py").read_text()
    (folder / "target_powers.py").write_text(source.replace('accepts="one', 'elements=("Xe",), accepts="one'))
    done = run_checkpoint(folder, "good.txt", "--align-compare=main", "--align-report=report.md")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "it was scored in the baseline and is skipped now" in done.stdout
    assert "1 of 1 cells, which are not scored any more" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_a_repository_that_has_its_own_benchmark_option(tmp_path: Path, own_cache: Path) -> None:
    folder = folder_with_toy(tmp_path)
    (folder / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--benchmark', metavar='THEIRS')\n"
    )
    (folder / "test_other.py").write_text(
        "def test_other(request):\n    assert request.config.getoption('benchmark') == 'fast'\n"
    )
    theirs = run(folder, "--benchmark=fast", "test_other.py")
    assert theirs.returncode == 0, theirs.stdout + theirs.stderr
    assert "1 passed" in theirs.stdout
    ours = run(folder, "--align", "--align-datasets=qm9-1k", "--align-limit=120", "target_toy.py")
    assert ours.returncode == 0, ours.stdout + ours.stderr
    assert "target_toy.py::qm9-1k::toy ok" in ours.stdout


@pytest.mark.slow
@pytest.mark.environment
def test_it_works_beside_codspeed(tmp_path: Path, own_cache: Path) -> None:
    from uv import find_uv_bin

    from consilience.isolation.environments import uv_variables

    # Beside the installed packages, not among them: its fixture takes the name of pytest-benchmark's.
    extra = tmp_path / "extra"
    command = [
        find_uv_bin(),
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(extra),
        "pytest-codspeed==5.0.4",
    ]
    subprocess.run(command, check=True, env=uv_variables())
    folder = folder_with_toy(tmp_path)
    options = ("--align-datasets=qm9-1k", "--align-limit=120", "target_toy.py")
    for more in ((), ("--codspeed",)):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:benchmark", "--benchmark", *more]
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        path = os.pathsep.join(filter(None, [str(extra), variables.get("PYTHONPATH")]))
        done = subprocess.run(
            [*command, *options], cwd=folder, capture_output=True, text=True, check=False,
            env=variables | {"PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "codspeed" in done.stdout
        assert "target_toy.py::qm9-1k::toy" in done.stdout


BOARD = """\
board = "v1"
title = "A small board."
controls = ["composition", "random-gaussian"]

[settings]  # few draws: what is tested is whether the same comes out, not how sharp it is
permutations = 10
subsamples = 4

[[datasets]]
name = "{dataset}"
revision = "{revision}"
references = ["diep-fold1", "chgnet-0.3.0"]
"""


def small_board(folder: Path, dataset: str = "qm9-isomers-1k") -> Path:
    from consilience.records.spec import read_spec

    folder.mkdir(parents=True)
    revision = read_spec(V1_SPEC).dataset(dataset).revision
    (folder / "spec.toml").write_text(BOARD.format(dataset=dataset, revision=revision))
    return folder


def published(board: Path) -> dict[str, Any]:
    """All that a board publishes, but for when and how fast."""

    def steady(content: Any) -> Any:
        if isinstance(content, dict):
            circumstances = ("created", "finished", "seconds", "items_per_second", "peak_memory_mib")
            return {key: steady(value) for key, value in content.items() if key not in circumstances}
        return [steady(value) for value in content] if isinstance(content, list) else content

    return {
        path.relative_to(board).as_posix(): steady(json.loads(path.read_text()))
        for path in sorted(board.glob("**/*.json"))
    }


@pytest.mark.nightly
def test_a_parallel_run_publishes_what_a_serial_one_does(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Target files, a checkpoint and targets of the suite: the same records and the same pairs, each of them."""
    folder = folder_with_checkpoints(tmp_path)
    (folder / "target_toy.py").write_text(TOY)
    (folder / "target_other.py").write_text(TOY.replace("32", "24").replace('"toy"', '"other"'))
    boards = {}
    for name, processes in {"serial": (), "parallel": ("-n", "2")}.items():
        monkeypatch.setenv("CONSILIENCE_CACHE", str(tmp_path / f"cache-{name}"))
        board = boards[name] = small_board(tmp_path / name)
        publish = ("--align", f"--align-publish={board}", *processes)
        names = "--align-targets=chgnet-0.3.0,diep-fold1,composition,random-gaussian"
        for options in (
            (names,),
            ("target_toy.py", "target_other.py"),
            ("--align-adapter=powers", "--align-checkpoint=good.txt"),
        ):
            done = run(folder, *publish, *options)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "pairs are missing" not in done.stdout
        # A target that changes gets other pairs, and loses none.
        before = published(board)["pairs/qm9-isomers-1k.json"]["pairs"]
        (folder / "target_toy.py").write_text(TOY.replace("8)", "6)"))
        done = run(folder, *publish, "target_toy.py")
        (folder / "target_toy.py").write_text(TOY)
        assert done.returncode == 0, done.stdout + done.stderr
        after = published(board)["pairs/qm9-isomers-1k.json"]["pairs"]
        changed = {(one["first"], one["second"]) for one, old in zip(after, before, strict=True) if one != old}
        assert changed
        assert all("toy" in pair for pair in changed)
    assert published(boards["parallel"]) == published(boards["serial"])
    pairs = published(boards["serial"])["pairs/qm9-isomers-1k.json"]["pairs"]
    names = {pair["first"] for pair in pairs} | {pair["second"] for pair in pairs}
    # The composition of all isomers is one: it has a record that says so, and no pair.
    assert names == {"chgnet-0.3.0", "diep-fold1", "random-gaussian", "toy", "other", "powers@good"}
    assert len(pairs) == 6 * 5 / 2


@pytest.mark.slow
def test_pairs_that_cannot_be_scored_are_named(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier publication embedded elsewhere is named; what this run embedded has to be found."""
    folder = folder_with_toy(tmp_path)
    board = small_board(tmp_path / "board")
    done = run(folder, "--align", f"--align-publish={board}", "target_toy.py")
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("CONSILIENCE_CACHE", str(tmp_path / "another"))
    done = run(folder, "--align", f"--align-publish={board}", "--align-targets=chgnet-0.3.0,diep-fold1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "qm9-isomers-1k: pairs are missing: no embedding was found of toy" in done.stdout
    (folder / "conftest.py").write_text(FORGETFUL)
    done = run(folder, "--align", f"--align-publish={board}", "target_toy.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "qm9-isomers-1k: pairs are missing: no embedding was found of toy" in done.stdout


#: A cache that somebody empties between scoring and publishing.
FORGETFUL = """\
import os, shutil, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    shutil.rmtree(os.environ["CONSILIENCE_CACHE"] + "/embeddings")
"""
