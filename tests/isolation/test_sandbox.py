"""A stranger's code: no network, no files of the user's, no way to write but to its own folder."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consilience.datasets.items import open_dataset
from consilience.embedding.errors import EmbeddingFailedError
from consilience.embedding.run import run_worker
from consilience.embedding.shards import read_shards
from consilience.isolation import sandbox
from consilience.isolation.sandbox import SandboxError, require
from consilience.registry import load_target_file

GOOD = "return Embedded([[len(a), a.positions.std()] for a in items])\n"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's with a secret in it, and the target's folder beside."""
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "secret.txt").write_text("secret")
    return folder


def run(path: Path, folder: Path, kind: sandbox.Sandbox) -> list[float]:
    (target,) = load_target_file(path)
    folder.mkdir()
    run_worker(target, open_dataset("qm9-1k").head(4), "embed", folder=folder, sandbox=kind)
    return [float(value) for value in read_shards(folder).features[:, 0]]


def test_a_target_embeds_in_the_sandbox(
    tmp_path: Path, write_target: Callable[..., Path], kind: sandbox.Sandbox
) -> None:
    sizes = [float(len(a)) for a in open_dataset("qm9-1k").head(4).view("atoms")]
    assert run(write_target(GOOD, name="calm"), tmp_path / "shards", kind) == sizes


@pytest.mark.parametrize("what", ["read", "write", "network", "home", "kill"])
def test_it_reaches_nothing_else(
    tmp_path: Path, write_target: Callable[..., Path], outside: Path, kind: sandbox.Sandbox, what: str
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: [listener.accept()], daemon=True).start()
    home = Path.home()
    shown = {path.relative_to(home).parts[0] for path in sandbox._interpreters() if path.is_relative_to(home)}
    shown |= {path.relative_to(home).parts[0] for path in (sandbox._PACKAGE, tmp_path) if path.is_relative_to(home)}
    body = {
        "read": f"open({str(outside / 'secret.txt')!r}).read()\n",
        "write": f"open({str(outside / 'secret.txt')!r}, 'a').write('x')\n",
        "network": f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 2)\n",
        "home": f"import os; assert set(os.listdir({str(home)!r})) - {shown!r}\n",
        "kill": f"import os; os.kill({os.getpid()}, 0)\n",
    }[what]
    folder = tmp_path / "own"
    folder.mkdir()
    path = write_target(body + GOOD, name=f"wild-{what}")
    path = path.rename(folder / "target_wild.py")
    with pytest.raises(EmbeddingFailedError, match=r"No such file|Read-only|refused|No such process|AssertionError"):
        run(path, tmp_path / "shards", kind)


def test_without_a_sandbox_the_user_has_to_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "probe", lambda: "none")
    with pytest.raises(SandboxError, match=r"apt-get install bubblewrap, or allow it .* --no-sandbox"):
        require()
    assert require(allowed_without=True) == "none"


def check(path: Path, *options: str) -> Result:
    from consilience.cli import main

    return CliRunner().invoke(main, ["check", str(path), "--items", "4", *options])


def test_check_runs_in_the_sandbox(tmp_path: Path, write_target: Callable[..., Path], kind: sandbox.Sandbox) -> None:
    done = check(write_target(GOOD, name="guest-good"), "--sandbox")
    assert "ok      repeatable" in done.output, done.output
    assert "no network, no files but the job's own" in done.output


@pytest.mark.parametrize("when", ["import", "load", "embed"])
def test_a_guest_that_is_checked_reaches_nothing(
    tmp_path: Path, write_target: Callable[..., Path], outside: Path, kind: sandbox.Sandbox, when: str
) -> None:
    """Neither when its cards are read nor later."""
    line = f"open({str(outside / 'mark')!r}, 'w').close()\n"
    folder = tmp_path / "own"
    folder.mkdir()
    body, preamble = (line + GOOD if when == "embed" else GOOD), (line if when == "load" else "")
    path = write_target(body, name=f"guest-{when}", preamble=preamble)
    path = path.rename(folder / "target_guest.py")
    if when == "import":
        path.write_text(line + path.read_text("utf-8"), "utf-8")
    done = check(path, "--sandbox")
    assert done.exit_code in (1, 2), done.output
    assert "No such file" in done.output
    assert not (outside / "mark").exists()
    check(path)  # without the sandbox it does as it likes
    assert (outside / "mark").exists()


def test_a_guest_s_header_is_refused_before_anything_is_installed(
    tmp_path: Path, write_target: Callable[..., Path], kind: sandbox.Sandbox
) -> None:
    path = write_target(GOOD, name="guest-header").rename(tmp_path / "target_guest.py")
    path.write_text('# /// script\n# dependencies = ["x @ file:///tmp/x"]\n# ///\n' + path.read_text("utf-8"), "utf-8")
    done = check(path, "--sandbox")
    assert done.exit_code == 1
    assert "target_guest.py: 'x @ file:///tmp/x' in a stranger's header is no name and version" in done.output


def test_check_says_that_there_is_no_sandbox(
    write_target: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "probe", lambda: "none")
    done = check(write_target(GOOD, name="guest-none"), "--sandbox")
    assert done.exit_code == 2
    assert done.output.startswith("consilience: a stranger's code runs in a sandbox, and there is none here")
    assert len(done.output.splitlines()) == 1
