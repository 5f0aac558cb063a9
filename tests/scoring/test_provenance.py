"""Where numbers come from."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from consilience.scoring import provenance


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_state_of_the_repository_is_read_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refreshed index would be written under a lock, which stays where the process is killed."""
    package = tmp_path / "suite" / "consilience"
    package.mkdir(parents=True)
    (package / "a.py").write_text("1\n")
    user = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*user, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    os.utime(package / "a.py", (1, 1))  # what the index knows of the file is out of date
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    monkeypatch.setattr(provenance, "PACKAGE", package)
    commit, dirty = provenance.repository_state.__wrapped__()
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False
    assert index.read_bytes() == before
    subprocess.run(["git", "-C", str(tmp_path), "status"], check=True, capture_output=True)
    assert index.read_bytes() != before, "else this test would show nothing"
    (package / "a.py").write_text("2\n")
    assert provenance.repository_state.__wrapped__() == (commit, True)
