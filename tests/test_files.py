"""Atomic writes, and what is left of writers that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consilience import files
from consilience.files import host, sealed, sweep, unsealed, write_atomically

#: Dies while it writes: the temporary file stays.
KILLED = """
import os, signal, sys
from pathlib import Path
from consilience import files
os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomically(Path(sys.argv[1]), b"half")
"""


def leave(path: Path) -> Path:
    """Leave the temporary file of a killed process behind."""
    before = set(path.parent.iterdir())
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_leftovers_of_dead_processes_of_this_host_go_at_once(tmp_path: Path) -> None:
    left = leave(tmp_path / "a.json")
    assert left.name.startswith(".a.json.")
    assert host() in left.name
    assert not (tmp_path / "a.json").exists()
    files._swept.discard(tmp_path)
    write_atomically(tmp_path / "b.json", "b")  # as the next command does
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_a_trial_of_a_killed_process_goes_with_the_next_one(tmp_path: Path) -> None:
    """Where nothing is ever written but trials, as in a cache's own folder."""
    code = f"""
import os, pathlib
from consilience import files
pathlib.Path.unlink = lambda path: os.kill(os.getpid(), 9)
files.check_writable(pathlib.Path({str(tmp_path)!r}), folder=True)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".trial.")
    files.check_writable(tmp_path, folder=True)
    assert not list(tmp_path.iterdir())


def test_leftovers_that_may_belong_to_a_living_process_stay_for_a_day(tmp_path: Path) -> None:
    own = tmp_path / f".a.json.{host()}-{os.getpid()}-0123abcd.part"
    elsewhere = tmp_path / ".a.json.0123456789ab-1-0123abcd.part"
    old_style = tmp_path / ".a.json.99999.part"
    others = [tmp_path / "notes.part", tmp_path / ".film.part"]
    for path in (own, elsewhere, old_style, *others):
        path.write_bytes(b"half")
    assert sweep(tmp_path) == []
    for path in (own, elsewhere, old_style, *others):
        os.utime(path, (time.time() - 25 * 3600,) * 2)
    assert set(sweep(tmp_path)) == {own, elsewhere, old_style}
    assert all(path.exists() for path in others), "files of the user's"


def test_two_writers_never_share_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads, or two pid namespaces of one host, have the same number of a process."""
    seen = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append(Path(f"/proc/self/fd/{number}").readlink()))
    for _ in range(2):
        write_atomically(tmp_path / ("a" * 250), b"whole")
    assert len(set(seen)) == 2


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a.json", "a")
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_table_is_read_as_it_was_written_or_not_at_all() -> None:
    content = {"items": 64, "inputs": {"a": "b"}, "share": 0.1}
    text = sealed(content)
    assert unsealed(text) == content
    changed = [text.replace("64", "65"), text.replace('"b"', '"c"'), text[:-9], text.replace("checksum", "checksun")]
    for one in [*changed, "[" * 100_000, "[]", ""]:
        with pytest.raises(ValueError, match=r".+"):
            unsealed(one)
