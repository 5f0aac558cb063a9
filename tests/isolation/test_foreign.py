"""Packages of a stranger's header: uv runs in the sandbox, sees the index's settings and writes to its own folders."""

from __future__ import annotations

import base64
import http.server
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consilience.cli import main
from consilience.isolation.environments import EnvironmentBuildError, Header, ensure, environments_dir
from consilience.isolation.foreign import FOLDER, uv_in_sandbox
from consilience.isolation.sandbox import Sandbox, probe

SECRET, USER = "word-of-the-index", "reader"


@pytest.fixture
def kind() -> Sandbox:
    kind = probe()
    if kind != "bubblewrap":
        message = "bubblewrap does not work here: apt-get install bubblewrap (as root, after apt-get update)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return kind


def wheel() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        info = "guestpkg-1.0.dist-info"
        file.writestr("guestpkg.py", "SCALE = 2.0\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: guestpkg\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"guestpkg.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return content.getvalue()


def source() -> bytes:
    """A package whose build would fail the test."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in {
            "PKG-INFO": "Metadata-Version: 2.1\nName: guestsource\nVersion: 1.0\n",
            "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'b'\nbackend-path = ['.']\n",
            "b.py": "raise SystemExit('it was built')\n",
        }.items():
            entry = tarfile.TarInfo(f"guestsource-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


class Index(http.server.ThreadingHTTPServer):
    """An index that asks for a password, and looks at whoever asks while it waits for the answer."""

    def __init__(self, secret_file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files = {"guestpkg-1.0-py3-none-any.whl": wheel(), "guestsource-1.0.tar.gz": source()}
        self.secret_file = secret_file
        self.seen: list[tuple[bool, dict[str, str]]] = []
        """Per request of uv: whether it can open the user's file, and its variables."""

    @property
    def address(self) -> str:
        return f"http://{USER}:{SECRET}@127.0.0.1:{self.server_port}/simple"

    def look(self) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                if not arguments[0].endswith(b"/uv") or self.address.encode() not in (folder / "environ").read_bytes():
                    continue
                variables = [one.decode().partition("=") for one in (folder / "environ").read_bytes().split(b"\0")]
            except OSError:
                continue
            opened = Path(f"{folder}/root{self.secret_file}").exists()
            self.seen.append((opened, {name: value for name, _, value in variables if name}))


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.look()
        expected = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
        name = self.path.rstrip("/").rsplit("/", 1)[-1]
        pages = [file for file in self.server.files if file.startswith(f"{name}-")]
        if self.headers.get("Authorization") != f"Basic {expected}":
            status, content = 401, b""
        elif pages:
            status, content = 200, "".join(f'<a href="/files/{file}">{file}</a>' for file in pages).encode()
        else:
            content = self.server.files.get(name, b"")
            status = 200 if content else 404
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if pages else "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    secret_file = tmp_path / "secret.txt"
    secret_file.write_text("secret")
    server = Index(secret_file)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("UV_INDEX", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()


TARGET = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["{dependency}"]
# ///
import os
from consilience import Card, Embedded, target

@target(Card(name="guest", family="guest", modality="string"))
def load(card, weights, device):
    from guestpkg import SCALE
    assert not [one for one in os.environ.items() if {secret!r} in one[1]]
    return lambda items: Embedded([[SCALE * len(item), hash(item.encode()) % 7, item.count("C")] for item in items])
"""


def header(tmp_path: Path, dependency: str) -> tuple[Path, Header]:
    folder = tmp_path / "guest"
    folder.mkdir()
    path = folder / "target_guest.py"
    path.write_text(TARGET.format(dependency=dependency, secret=SECRET))
    return path, Header.of(path)


@pytest.mark.environment
def test_a_wheel_is_installed_in_the_sandbox_and_imported_in_the_worker(
    tmp_path: Path, own_cache: Path, index: Index, kind: Sandbox
) -> None:
    path, _ = header(tmp_path, "guestpkg==1.0")
    done = CliRunner().invoke(main, ["check", str(path), "--items", "4", "--sandbox"])
    assert "ok      independent of batch size" in done.output, done.output
    assert SECRET not in done.output
    assert index.seen, "uv did not ask the index"
    for opened, variables in index.seen:
        assert not opened, "uv sees the user's files"
        assert "HF_TOKEN" not in variables
        assert variables["UV_CACHE_DIR"] == str(own_cache / FOLDER / "uv")
        assert variables["HOME"] == str(own_cache / FOLDER)
    assert list((own_cache / FOLDER / "uv").iterdir())


@pytest.mark.environment
def test_a_package_without_a_wheel_is_refused_in_one_line(
    tmp_path: Path, own_cache: Path, index: Index, kind: Sandbox
) -> None:
    _, wanted = header(tmp_path, "guestsource==1.0")
    with pytest.raises(EnvironmentBuildError, match="guestsource") as error:
        ensure(wanted, wheels_only=True, sandbox=kind)
    assert "\n" not in str(error.value)
    assert "as wheels of the configured index" in str(error.value)
    assert "it was built" not in str(error.value)
    assert SECRET not in str(error.value)
    assert [path.name for path in environments_dir().iterdir()] == [f"{wanted.digest[:16]}.lock"]


@pytest.mark.environment
def test_a_python_that_is_not_here_is_not_downloaded(tmp_path: Path, own_cache: Path, kind: Sandbox) -> None:
    path, _ = header(tmp_path, "guestpkg==1.0")
    path.write_text(path.read_text().replace(">=3.11", "==3.8.1"))
    with pytest.raises(EnvironmentBuildError, match=r"3\.8\.1") as error:
        ensure(Header.of(path), wheels_only=True, sandbox=kind)
    assert "\n" not in str(error.value)


def test_uv_sees_the_settings_of_the_index_and_nothing_else(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of this machine that an index is in are readable; relative ones are made absolute."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "index").mkdir()
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.chdir(tmp_path)
    address = f"https://{USER}:{SECRET}@mirror.example/simple"
    variables = {
        "UV_FIND_LINKS": f"wheels,{address}",
        "UV_INDEX": f"own=file://{tmp_path}/index {address}",
        "UV_INDEX_OWN_PASSWORD": SECRET,
        "https_proxy": "http://proxy:3128",
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "PATH": os.environ["PATH"],
    }
    others = {"HF_TOKEN": "x", "UV_PUBLISH_TOKEN": "x", "UV_CACHE_DIR": "/x", "NETRC": "/x", "AWS_PROFILE": "x"}
    new = tmp_path / "new"
    command, own = uv_in_sandbox(["/opt/uv", "pip"], variables | others, "bubblewrap", new)
    assert own["UV_FIND_LINKS"] == f"{tmp_path}/wheels,{address}"
    assert {name: own[name] for name in variables if name != "UV_FIND_LINKS"} == {
        name: value for name, value in variables.items() if name != "UV_FIND_LINKS"
    }
    assert own["UV_CACHE_DIR"] == str(own_cache / FOLDER / "uv")
    assert not {"HF_TOKEN", "UV_PUBLISH_TOKEN", "NETRC", "AWS_PROFILE"} & set(own)
    mounts = [(command[i], command[i + 1]) for i in range(len(command)) if command[i] in ("--bind", "--ro-bind-try")]
    read = {path for option, path in mounts if option == "--ro-bind-try"}
    assert {f"{tmp_path}/wheels", f"{tmp_path}/index", f"{tmp_path}/ca.pem", "/opt/uv"} <= read
    assert str(Path.home()) not in read
    assert {path for option, path in mounts if option == "--bind"} == {str(new), str(own_cache / FOLDER)}
    assert "--share-net" in command
    assert SECRET not in " ".join(command)
