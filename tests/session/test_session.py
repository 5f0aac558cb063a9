"""A session takes the same steps for pytest, the command line and Python."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ase.io import write
from click.testing import CliRunner

import consilience
from consilience.cli import main
from consilience.registry import load_target_file
from consilience.session.execute import run_cells
from consilience.session.progress import ItemRate, progress_of, shows_progress
from consilience.session.request import SessionError, fill
from consilience.session.session import Session

BODY = "return Embedded([np.histogram(a.get_all_distances(), 24, (0.5, 8))[0] for a in items])\n"


def run_pytest(folder: Path, *arguments: str, cache: bool = False) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:hypothesispytest",  # it takes a second to import
        *(() if cache else ("-p", "no:cacheprovider")),
        "--benchmark",
        *arguments,
    ]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=variables)


def run_command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["run", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


class Collected:
    """Holds the ids of what pytest collected."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.ids = [item.nodeid for item in session.items]


def ids_of_pytest(folder: Path, *arguments: str) -> list[str]:
    """Ids that pytest collects, in this process: a process for each costs seconds."""
    collected = Collected()
    without = [word for name in ("cacheprovider", "benchmark", "xdist") for word in ("-p", f"no:{name}")]
    with contextlib.chdir(folder):
        assert pytest.main([*without, "--benchmark", "--co", "-q", *arguments], plugins=[collected]) == 0
    return collected.ids


@pytest.fixture
def nested(write_target: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with a target file below it that must not be imported."""
    folder = tmp_path / "repository"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "target_other.py").write_text("raise RuntimeError('imported')\n")
    return folder


@pytest.mark.parametrize(
    ("targets", "datasets"),
    [
        ("composition", "qm9-1k"),
        ("size,chgnet-0.3.0@untrained", "qm9-*,mp-1k"),
        ("family:chgnet,modality:baseline", "mp-1k"),
        ("chgnet-*", "mp-prototypes-1k,qm9-1k"),
        ("qm9-1k::size,mp-1k::soap", ""),
        ("mine.py,size", "water.xyz,qm9-1k"),
        ("target_two.py::mp-1k::session-two,mp-1k::size", ""),
    ],
)
def test_the_same_words_select_the_same_cells_in_each_front_end(
    targets: str, datasets: str, write_target: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_target(BODY, name="session-mine").rename(tmp_path / "mine.py")
    write_target(BODY, name="session-two").rename(tmp_path / "target_two.py")
    if "water" in datasets:
        from consilience.datasets import open_dataset

        items = open_dataset("qm9-1k").select(range(60))
        write(tmp_path / "water.xyz", items.view("atoms"))
    monkeypatch.chdir(tmp_path)
    options = [f"--targets={targets}", *([f"--datasets={datasets}"] if datasets else [])]
    of_pytest = ids_of_pytest(tmp_path, *(option.replace("--", "--align-") for option in options))
    assert of_pytest
    code, text = run_command("--dry-run", *options)
    assert code == 0, text
    assert [line.split()[0] for line in text.splitlines() if "::" in line and "(reference)" not in line] == of_pytest
    forecast = consilience.run(targets=targets, datasets=datasets, dry_run=True).forecast
    assert [one.id for one in forecast if not one.reference] == of_pytest


@pytest.mark.slow
def test_only_what_is_named_runs_and_nothing_else_is_imported(nested: Path, own_cache: Path) -> None:
    options = ("--align-datasets=qm9-1k", "--align-limit=120")
    done = run_pytest(nested, "--align-targets=composition", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "qm9-1k::composition ok" in done.stdout
    assert "1 passed" in done.stdout
    assert "imported" not in done.stdout + done.stderr
    done = run_pytest(nested, "--co", "models", *options)
    assert "RuntimeError: imported" in done.stdout, "without a name, a folder's files are collected"
    done = run_pytest(nested, "--align-targets=randomgaussian", *options)
    assert done.returncode == 2
    assert "no target is named 'randomgaussian'; did you mean 'random-gaussian'?" in done.stdout + done.stderr
    done = run_pytest(nested, "--align-targets=zzzz", *options)
    assert done.returncode == 2
    assert (done.stdout + done.stderr).partition("there are: ")[2].splitlines()[0].count(",") == 9
    done = run_pytest(nested, "--align-targets=zzzz", "-n", "2", *options)
    assert done.returncode == 2, done.stdout + done.stderr
    # A suite's adapter is known without the folder's files.
    done = run_pytest(nested, "--align-adapter=chgnet", "--align-checkpoint=absent.pt", *options)
    assert done.returncode == 2
    assert "no checkpoint at" in done.stdout + done.stderr


def test_a_named_file_and_a_named_target_both_run(nested: Path, write_target: Callable[..., Path]) -> None:
    write_target(BODY, name="session-both").rename(nested / "target_both.py")
    ids = ids_of_pytest(nested, "target_both.py", "--align-targets=size,session-both", "--align-datasets=qm9-1k")
    assert ids == ["target_both.py::qm9-1k::session-both", "qm9-1k::size"]
    write_target(BODY, name="session-plain").rename(nested / "my_model.py")
    assert ids_of_pytest(nested, "my_model.py", "--align-datasets=qm9-1k") == ["my_model.py::qm9-1k::session-plain"]


@pytest.mark.slow
def test_ids_work_as_typed_back(nested: Path, write_target: Callable[..., Path], own_cache: Path) -> None:
    write_target(BODY, name="session-x").rename(nested / "target_x.py")
    listed = ids_of_pytest(nested, "target_x.py")
    assert "target_x.py::qm9-1k::session-x" in listed
    assert ids_of_pytest(nested, "target_x.py::qm9-1k::session-x") == ["target_x.py::qm9-1k::session-x"]
    assert ids_of_pytest(nested, "target_x.py::qm9-1k") == ["target_x.py::qm9-1k::session-x"]
    assert ids_of_pytest(nested, *reversed(listed[:2])) == listed[:2]
    assert ids_of_pytest(nested, "qm9-1k::composition") == ["qm9-1k::composition"]
    both = ids_of_pytest(nested, "qm9-1k::composition", "target_x.py::mp-1k::session-x")
    assert both == ["qm9-1k::composition", "target_x.py::mp-1k::session-x"]
    done = run_pytest(nested, "qm9-1k::compositon")
    assert done.returncode == 2
    assert "did you mean 'composition'" in done.stdout + done.stderr
    done = run_pytest(nested, "qm9-1k::size", "target_x.py::qm9-1k::session-x", "--align-limit=120", "-n", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.slow
def test_the_cell_that_failed_last_runs_again_alone(
    nested: Path, write_target: Callable[..., Path], own_cache: Path
) -> None:
    write_target("raise RuntimeError('out of luck')\n", name="session-lf").rename(nested / "target_lf.py")
    options = ("--align-limit=120", "--align-datasets=qm9-1k,mp-1k", "target_lf.py", "--align-targets=size")
    done = run_pytest(nested, *options, cache=True)
    assert "2 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    done = run_pytest(nested, *options, "--lf", "--co", "-q", cache=True)
    assert [line for line in done.stdout.splitlines() if "::" in line] == [
        "target_lf.py::qm9-1k::session-lf",
        "target_lf.py::mp-1k::session-lf",
    ]


@pytest.mark.slow
def test_quiet_and_verbose(nested: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(nested)
    options = ["--targets=size,soap", "--datasets=mp-1k", "--limit=120"]
    of_pytest = [option.replace("--", "--align-") for option in options]
    done = run_pytest(nested, "-q", *of_pytest)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "alignment with" not in done.stdout
    assert "2 ok" in done.stdout
    assert len(done.stdout.splitlines()) <= 4, done.stdout
    assert "alignment with" in run_pytest(nested, *of_pytest).stdout
    assert "columns" in run_pytest(nested, "-v", *of_pytest).stdout
    assert run_command("-q", *options) == (0, "2 ok\n")
    code, text = run_command("-v", *options)
    assert code == 0
    assert "mp-1k::size: ok; 100.0% of the items, 3 columns" in text
    assert "columns" not in run_command(*options)[1]


def test_a_dry_run_says_what_it_would_take(nested: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(nested)
    targets = "size,chgnet-0.2.0,orb-v2,smi-ted-light"
    result = consilience.run(targets=targets, datasets="mp-1k", dry_run=True)
    by_id = {one.id: one for one in result.forecast}
    assert by_id["mp-1k::size"].state == "stored", "shipped with the package"
    assert by_id["mp-1k::smi-ted-light"].state == "skip", "crystals have no SMILES"
    own = by_id["mp-1k::chgnet-0.2.0"]
    assert (own.state, own.download, own.bytes) == ("embed", None, 4 * 64 * 1000)
    assert own.seconds is not None
    assert own.seconds > 0
    orb = by_id["mp-1k::orb-v2"]
    assert (orb.state, orb.download, orb.bytes) == ("embed", "download", 4 * 256 * 1000)
    assert not result.records
    assert not list(own_cache.rglob("*.safetensors")), "something was embedded"
    code, text = run_command(f"--targets={targets}", "--datasets=mp-1k", "--dry-run")
    assert code == 0
    assert "dry run: 4 cells, 1 stored, 2 to embed" in text
    assert "downloads: orb-v2" in text
    assert "disk for embeddings: 1.28 MB" in text
    assert text.rstrip() == result.text.rstrip()
    done = run_pytest(nested, f"--align-targets={targets}", "--align-datasets=mp-1k", "--align-dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dry run: 4 cells, 1 stored, 2 to embed" in done.stdout


@pytest.mark.slow
def test_a_repository_s_file_fills_the_request_of_both_front_ends(
    nested: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(nested)
    table = "[tool.consilience]\ntargets = ['size']\ndatasets = 'mp-1k'\n"
    (nested / "pyproject.toml").write_text(table)
    assert ids_of_pytest(nested) == ["mp-1k::size"]
    assert [one.id for one in consilience.run(dry_run=True).forecast if not one.reference] == ["mp-1k::size"]
    assert ids_of_pytest(nested, "--align-targets=soap") == ["mp-1k::soap"]
    monkeypatch.setenv("CONSILIENCE_DATASETS", "qm9-1k")
    assert ids_of_pytest(nested) == ["qm9-1k::size"]
    for line in ("publish = 'board'", "trust-checkpoint = true", "cache = 'x'"):
        (nested / "pyproject.toml").write_text(f"{table}{line}\n")
        done = run_pytest(nested)
        assert done.returncode == 2
        assert f"{line.partition(' ')[0]}: " in done.stdout + done.stderr
        code, text = run_command("--targets=size")
        assert (code, text.count("\n")) == (2, 1)
        assert text.startswith("consilience: ")


def test_run_in_python_returns_records_board_comparison_and_code(
    nested: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(nested)
    result = consilience.run(targets=["size"], datasets="mp-1k", limit=120, save="main", report="out/report.md")
    assert [(record.dataset, record.target, record.state) for record in result.records] == [("mp-1k", "size", "ok")]
    assert result.board is not None
    assert result.exit_code == 0
    assert result.comparison is None
    assert "QUICK LOOK at 120 items" in str(result)
    assert (nested / "out" / "report.md").is_file()
    again = consilience.run(
        targets="size", datasets="mp-1k", limit=120, compare="main", compare_fail=["cknna:5%"], json="out/run.json"
    )
    assert again.comparison is not None
    assert (again.comparison.verdict, again.exit_code) == ("ok", 0)
    assert json.loads((nested / "out" / "run.json").read_text())["board"] == "v1"
    with pytest.raises(SessionError, match=r"compare: .*120 items against 100 items"):
        consilience.run(targets="size", datasets="mp-1k", limit=100, compare="main", report="refused.md")
    assert "120 items against 100 items" in (nested / "refused.md").read_text()
    with pytest.raises(ValueError, match="no target is named 'sise'; did you mean 'size'"):
        consilience.run(targets="sise")
    code, text = run_command("--targets=size", "--datasets=mp-1k", "--limit=120", "--compare=main",
                             "--compare-fail=mp-2k/cknna:5%")  # fmt: skip
    assert code == 2
    assert "could not be judged: mp-2k/cknna:5%" in text


def test_the_example_in_the_docstring_is_true(own_cache: Path) -> None:
    import doctest

    import consilience.session.session as module

    results = doctest.DocTestFinder().find(module.run, globs={})
    assert results
    for test in results:
        assert doctest.DocTestRunner().run(test).failed == 0


def test_a_checkpoint_runs_on_the_command_line(
    write_target: Callable[..., Path], tmp_path: Path, own_cache: Path
) -> None:
    preamble = "scale = float(weights.path.read_text()) if weights.kind == 'file' else 2.0\n"
    body = "return Embedded([np.histogram(a.get_all_distances() * scale, 24, (0.5, 8))[0] for a in items])\n"
    path = write_target(body, name="session-adapter", card=', accepts="a number"', preamble=preamble)
    (tmp_path / "mine.txt").write_text("1.5")
    options = (f"--adapter={path}", f"--checkpoint={tmp_path / 'mine.txt'}", "--datasets=qm9-1k", "--limit=120")
    code, text = run_command(*options, "--targets=size")
    assert code == 0, text
    assert "qm9-1k::session-adapter@mine: ok" in text
    assert "qm9-1k::size: ok" in text
    code, text = run_command("--checkpoint=mine.txt")
    assert code == 2
    assert "--adapter NAME and --checkpoint PATH go together" in text


def test_older_spellings_work_and_are_not_shown(tmp_path: Path, own_cache: Path) -> None:
    code, text = run_command("--targets=size", "--datasets=mp-1k", "--n=120", f"--board={tmp_path}")
    assert code == 2
    assert "--limit is a quick look: its scores are not published (drop --publish)" in text
    for command, old in (("run", "--n "), ("run", "--board"), ("check", "--items"), ("embed", "--n ")):
        shown = CliRunner().invoke(main, [command, "--help"]).output
        assert old not in shown
        assert "--limit N" in shown
    code, text = run_command("--targets=size", f"--board={tmp_path}")
    assert code == 2
    assert f"--publish: {tmp_path} holds no spec.toml" in text


def test_further_metrics_are_never_published(tmp_path: Path) -> None:
    session = Session(fill({"metrics": "cka", "publish": str(tmp_path)}, environment={}))
    with pytest.raises(SessionError, match="metrics: a board takes its own metrics only"):
        session.check()
    with pytest.raises(SessionError, match="no metric is named 'ckaa'; did you mean 'cka'"):
        Session(fill({"metrics": "ckaa"}, environment={})).check()


def test_cells_run_in_order_and_are_reported_as_they_come() -> None:
    class Runner:
        def run(self, cell: str, progress: object) -> str:
            assert progress == f"bar of {cell}"
            return cell.upper()

    seen: list[tuple[str, str]] = []
    records = run_cells(
        ["a", "b"],  # type: ignore[list-item]
        Runner(),  # type: ignore[arg-type]
        progress=lambda cell: f"bar of {cell}",  # type: ignore[arg-type, return-value]
        done=lambda cell, record: seen.append((cell, record)),  # type: ignore[arg-type]
    )
    assert records == ["A", "B"]
    assert seen == [("a", "A"), ("b", "B")]


def test_progress_waits_and_keeps_quiet_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert shows_progress(True)
    assert not shows_progress(False)
    monkeypatch.setenv("CI", "true")
    assert not shows_progress(True)
    assert ItemRate("cell").text(5, 10) is None, "shorter than 3 s"
    rate = ItemRate("cell", delay_s=0)
    assert rate.text(0, 10) == "cell 0/10"
    assert rate.text(5, 10) is None, "too soon for another line"
    assert rate.text(10, 10) == "cell "
    with progress_of("task") as show:
        show(1, 2, "name")
    assert capsys.readouterr() == ("", "")


def test_targets_run_with_own_twins_where_the_board_states_gains(
    tmp_path: Path, write_target: Callable[..., Path]
) -> None:
    """One by default; as many as are asked for; none for what was not trained, nor on a board that can't subtract."""
    studies = Path(__file__).resolve().parents[2] / "docs" / "studies"
    (tmp_path / "spec.toml").write_text((studies / "v2-confirmation.toml").read_text())

    def cells(**options: object) -> list[str]:
        session = Session(fill({"datasets": "qm9-1k", **options}, environment={}, folder=tmp_path))
        own = [mine] if "targets" not in options else None
        return [cell.id.partition("::")[2] for cell in session.plan(own)]

    (mine,) = load_target_file(write_target(BODY, name="mine", card=", untrained=True"))
    board = {"publish": str(tmp_path)}
    assert cells(**board) == ["mine", "mine@untrained:1"]
    assert cells(**board, seeds=2) == ["mine", "mine@untrained:1", "mine@untrained:2"]
    assert cells(**board, seeds=0) == ["mine"]
    assert cells() == ["mine"]
    named = cells(**board, targets="chgnet-0.3.0,soap,diep-fold1@untrained:3")
    assert sorted(named) == ["chgnet-0.3.0", "chgnet-0.3.0@untrained:1", "diep-fold1@untrained:3", "soap"]
