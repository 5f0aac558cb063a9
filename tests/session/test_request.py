"""One field, one option: how a request is filled from a call, the environment and a file."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import consilience
from consilience.cli.scoring import run as run_command
from consilience.session.request import Request, SessionError, fill, options

REPOSITORY = Path(__file__).resolve().parents[2]


def filled(folder: Path, variables: dict[str, str] | None = None, **call: Any) -> Request:
    return fill(call, folder=folder, environment=variables or {})


def repository_with(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(f"[project]\nname = 'x'\n\n[tool.consilience]\n{text}\n")
    return folder


def test_every_field_is_an_option_of_both_front_ends() -> None:
    from consilience import pytest_plugin

    class Group:
        def __init__(self) -> None:
            self.parser = argparse.ArgumentParser()

        def getgroup(self, *_: str) -> Group:
            return self

        def addoption(self, *names: str, **settings: Any) -> None:
            self.parser.add_argument(*names, **settings)

    group = Group()
    pytest_plugin.pytest_addoption(group)  # type: ignore[arg-type]
    shown = group.parser.format_help()  # formats every help text, percent signs included
    of_pytest = {name for action in group.parser._actions for name in action.option_strings}
    of_run = {name for parameter in run_command.params for name in parameter.opts}
    for option in options().values():
        assert f"--{option.word}" in of_run
        assert (f"--align-{option.word}" in of_pytest) == option.pytest
        assert option.word in shown or not option.pytest
    assert len(run_command.params) == len(options())


def test_the_call_goes_before_the_environment_and_both_before_the_file(tmp_path: Path) -> None:
    repository_with(tmp_path, "limit = 100\ndevice = 'cuda'\ndatasets = ['qm9-1k', 'mp-1k']\ncompare-fail = 'cknna:5%'")
    assert filled(tmp_path).limit == 100
    assert filled(tmp_path).datasets == ("qm9-1k", "mp-1k")
    assert filled(tmp_path).compare_fail == ("cknna:5%",)
    assert filled(tmp_path, {"CONSILIENCE_LIMIT": "200"}).limit == 200
    both = filled(tmp_path, {"CONSILIENCE_LIMIT": "200", "CONSILIENCE_FRESH": "true"}, limit=300)
    assert (both.limit, both.device, both.fresh) == (300, "cuda", True)
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    assert filled(inside).limit == 100
    (inside / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert filled(inside).limit is None, "the nearest pyproject.toml is the repository's own"


def test_a_named_file_stands_in_for_that_of_the_repository(tmp_path: Path) -> None:
    repository_with(tmp_path, "limit = 100\ndevice = 'cuda'")
    named = tmp_path / "align.toml"
    named.write_text("limit = 7\npublish = 'board'\ncheckpoint = 'mine.pt'\nadapter = 'chgnet'\nreport = 'out/a.md'\n")
    request = filled(tmp_path, config=str(named))
    assert (request.limit, request.device) == (7, "cpu")
    assert (request.publish, request.checkpoint) == (str(tmp_path / "board"), str(tmp_path / "mine.pt"))
    assert (request.adapter, request.report) == ("chgnet", (str(tmp_path / "out/a.md"),))
    named.write_text("[tool.consilience]\nlimit = 8\n")
    assert filled(tmp_path, config=named).limit == 8
    assert filled(tmp_path, {"CONSILIENCE_CONFIG": str(named)}).limit == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trust-checkpoint = true", "trust-checkpoint: can't be set here, only on the command line or in the call"),
        ("publish = 'board'", "publish: can't be set here, only on the command line or in the call or as CONSILIENCE_"),
        ("cache = '/tmp/x'", "cache: the cache folder is set by the environment variable CONSILIENCE_CACHE alone"),
        ("config = 'other.toml'", "config: can't be set here"),
        ("limits = 3", "there is no option 'limits'; did you mean 'limit'?"),
        ("compare_fial = 'x'", "there is no option 'compare-fial'; did you mean 'compare-fail'?"),
        ("zzzz = 3", "there is no option 'zzzz'; there are: targets, datasets"),
        ("limit = 0", "limit: input should be greater than or equal to 1, found 0"),
        ("limit = 'many'", "limit: input should be a valid integer"),
        ("timeout = 0", "timeout: input should be greater than 0"),
        ("datasets = [1]", "datasets: expected text or a list of texts, found [1]"),
        ("limit = ", "Invalid value"),
    ],
)
def test_what_a_repository_may_not_set_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    repository_with(tmp_path, text)
    with pytest.raises(SessionError) as caught:
        filled(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["json", "report", "save"])
def test_a_repository_writes_below_its_own_folder_only(tmp_path: Path, option: str) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    repository_with(folder, f"{option} = 'out/run.json'")
    assert str(folder / "out/run.json") in str(getattr(filled(folder), option))
    for outside in ("../run.json", str(tmp_path / "run.json")):
        repository_with(folder, f"{option} = '{outside}'")
        with pytest.raises(SessionError, match=f"{option}: .* lies outside"):
            filled(folder)
    named = folder / "align.toml"
    named.write_text(f"{option} = '../run.json'\n")
    assert getattr(filled(folder, config=named), option)


def test_trust_comes_from_the_call_alone(tmp_path: Path) -> None:
    named = tmp_path / "align.toml"
    named.write_text("trust-checkpoint = true\n")
    for call, variables in (({"config": named}, {}), ({}, {"CONSILIENCE_TRUST_CHECKPOINT": "1"})):
        with pytest.raises(SessionError, match="only on the command line or in the call"):
            filled(tmp_path, variables, **call)
    named.write_text("cache = '/tmp/x'\n")
    with pytest.raises(SessionError, match="CONSILIENCE_CACHE alone"):
        filled(tmp_path, config=named)
    with pytest.raises(SessionError, match=r"absent\.toml: No such file"):
        filled(tmp_path, config=tmp_path / "absent.toml")
    assert filled(tmp_path, trust_checkpoint=True).trust_checkpoint


def test_names_are_split_and_paths_of_a_file_start_at_its_folder(tmp_path: Path) -> None:
    assert filled(tmp_path, targets="size, soap,,chgnet-*").targets == ("size", "soap", "chgnet-*")
    assert filled(tmp_path, targets=["size,soap", Path("target_x.py")]).targets == ("size", "soap", "target_x.py")
    (tmp_path / "target_x.py").touch()
    (tmp_path / "mine.xyz").touch()
    repository_with(
        tmp_path, "targets = ['target_x.py', 'chgnet-0.3.0']\ndatasets = './mine.xyz,qm9-1k'\nsave = 'main'"
    )
    request = filled(tmp_path)
    assert request.targets == (str(tmp_path / "target_x.py"), "chgnet-0.3.0")
    assert request.datasets == (str(tmp_path / "mine.xyz"), "qm9-1k")
    assert request.save == "main"


def test_a_call_with_a_wrong_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="there is no option 'dataset'; did you mean 'datasets'"):
        consilience.run(dataset="qm9-1k")
    with pytest.raises(ValueError, match="limit: input should be a valid integer"):
        consilience.run(targets="size", limit="some")
    with pytest.raises(AttributeError):
        filled(tmp_path).limit = 3  # type: ignore[misc]


def test_messages_spell_options_as_the_front_end_does() -> None:
    for front_end, spelling in (
        ("pytest", "--align-compare-fail"),
        ("run", "--compare-fail"),
        ("python", "compare_fail"),
    ):
        assert fill({}, front_end=front_end, environment={}).spelled("compare_fail") == spelling  # type: ignore[arg-type]


def test_the_fields_cost_pytest_nothing() -> None:
    heavy = "[name for name in ('pydantic', 'tomllib', 'click', 'scipy') if name in sys.modules]"
    code = f"import sys, consilience.pytest_plugin; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not (REPOSITORY / "scripts").is_dir(), reason="needs the repository")
def test_the_tables_of_options_in_the_pages_are_those_of_the_fields() -> None:
    path = REPOSITORY / "scripts" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for page in ("README.md", "docs/running.md"):
        text = (REPOSITORY / page).read_text("utf-8")
        assert script.with_options(text) == text, f"{page}: run scripts/update_readme.py"
        assert "`--align-compare-fail LIMITS`" in text
        assert "`--compare-fail LIMITS`" in text
