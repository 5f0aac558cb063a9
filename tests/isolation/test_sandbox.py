"""A stranger's code: no network, no files of the user's, no way to write but to its own folder."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from consilience.datasets.items import open_dataset
from consilience.embedding.embed import EmbeddingFailedError, run_worker
from consilience.embedding.shards import read_shards
from consilience.isolation import sandbox
from consilience.isolation.sandbox import SandboxError, probe, require
from consilience.registry import load_target_file

GOOD = "return Embedded([[len(a), a.positions.std()] for a in items])\n"


@pytest.fixture
def kind() -> sandbox.Sandbox:
    kind = probe()
    if kind != "bubblewrap":
        message = "bubblewrap does not work here: apt-get install bubblewrap (as root, after apt-get update)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return kind


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
