"""Old import paths work for one release, with a warning that says where the names are now."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import pytest

from consilience._moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_path_still_imports_and_says_where_to_go(old: str) -> None:
    sys.modules.pop(f"consilience.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"consilience.{old} has moved to consilience.{MOVED[old][0]}"):
        module = importlib.import_module(f"consilience.{old}")
    for home in MOVED[old]:
        for name, value in vars(importlib.import_module(f"consilience.{home}")).items():
            if not name.startswith("_") and getattr(value, "__module__", None) == f"consilience.{home}":
                assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="it moved to"):
        _ = module.no_such_name


def test_names_are_found_where_they_are_now() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from consilience.leaderboard.publish import publish as old_publish
        from consilience.results import Record as OldRecord
        from consilience.runner import Runner as OldRunner
        from consilience.spec import read_spec as old_read_spec
    from consilience.board.publish import publish
    from consilience.records.record import Record
    from consilience.records.spec import read_spec
    from consilience.session.runner import Runner

    assert (old_publish, OldRecord, OldRunner, old_read_spec) == (publish, Record, Runner, read_spec)


def test_a_name_that_left_a_module_is_found_from_there() -> None:
    from consilience.embedding.identity import identify

    with pytest.warns(DeprecationWarning, match=r"store\.identify has moved to consilience\.embedding\.identity"):
        from consilience.embedding.store import identify as old  # type: ignore[attr-defined]
    assert old is identify


def test_the_suite_itself_uses_no_old_path() -> None:
    modules = ("cli", "pytest_plugin", "testing", "asv", "board.verify", "board.submission", "session.session",
               "session.runner", "site.build", "study", "recommend")  # fmt: skip
    code = "import " + ", ".join(f"consilience.{name}" for name in modules)
    command = [sys.executable, "-W", "error::DeprecationWarning:consilience", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "has moved to" not in done.stderr
