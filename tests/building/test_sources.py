"""Files of the hub and files of the user: which are taken, what is remembered, what is said when there are none."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from consilience.building.sources import SourceError, Sources

COMMIT, LATER = "1" * 40, "2" * 40
CONTENT = b"PAR1 is how these begin"
# The hub's library reads its settings when it is imported, hence a process of its own.
FETCH = """
import json, sys, time
from pathlib import Path
from consilience.building.sources import Sources
folder, repository, pattern, options = sys.argv[1:]
sources = Sources(Path(folder))
began = time.monotonic()
try:
    files = sources.hub(repository, [pattern], **json.loads(options))
    told = {"names": files.names, "origin": files.origin, "used": sources.used, "content": files.paths[0].read_text()}
except Exception as error:
    told = {"error": f"{type(error).__name__}: {error}"}
print(json.dumps(told | {"seconds": time.monotonic() - began}))
"""


class Hub(BaseHTTPRequestHandler):
    """A server that answers as the hub does, with one open and one gated data set of one file each."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        main: str = self.server.main  # type: ignore[attr-defined]
        path = self.path.split("?")[0]
        name = "owner/gated" if "owner/gated" in path else "owner/open"
        file = {"type": "file", "path": "co/co_0.parquet", "size": len(CONTENT), "oid": "3" * 40}
        if f"/datasets/{name}" not in path:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, body)
        elif "/resolve/" in path and name == "owner/gated":
            self.send(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, body)
        elif "/resolve/" in path:
            commit = path.split("/resolve/")[1].split("/")[0]
            self.send(200, CONTENT, {"ETag": f'"{"3" * 40}"', "X-Repo-Commit": commit}, body)
        elif "/tree/" in path:
            self.send(200, json.dumps([file]).encode(), {}, body)
        else:
            wanted = path.split("/revision/")[1]
            commit = main if wanted == "main" else wanted
            found = {"id": name, "sha": commit, "siblings": [{"rfilename": file["path"]}]}
            self.send(200, json.dumps(found).encode(), {}, body)

    def send(self, code: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.main = COMMIT  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(
    tmp_path: Path,
    hub: ThreadingHTTPServer | None,
    repository: str = "owner/open",
    pattern: str = "co/*.parquet",
    *,
    offline: bool = False,
    **options: Any,
) -> dict[str, Any]:
    port = hub.server_port if hub is not None else 9  # nobody listens there
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, str(tmp_path / "sources"), repository, pattern, json.dumps(options)],
        env=variables | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_branch_is_resolved_once_and_its_commit_remembered(tmp_path: Path, hub: ThreadingHTTPServer) -> None:
    first = fetch(tmp_path, hub)
    assert first["names"] == ["co/co_0.parquet"]
    assert first["content"].encode() == CONTENT
    assert first["used"] == [{"source": "hub:datasets/owner/open", "commit": COMMIT}]
    assert first["origin"].endswith(COMMIT)
    hub.main = LATER  # type: ignore[attr-defined]
    assert fetch(tmp_path, hub)["used"] == first["used"]
    assert fetch(tmp_path, None, offline=True)["used"] == first["used"]  # all of it is on this machine
    assert fetch(tmp_path / "elsewhere", hub)["used"][0]["commit"] == LATER


def test_an_interrupted_download_goes_on_at_the_remembered_commit(tmp_path: Path, hub: ThreadingHTTPServer) -> None:
    assert "error" not in fetch(tmp_path, hub)
    for blob in (tmp_path / "home").rglob("co_0.parquet"):
        blob.unlink()
    hub.main = LATER  # type: ignore[attr-defined]
    assert fetch(tmp_path, hub)["used"][0]["commit"] == COMMIT


def test_a_commit_is_taken_as_it_is(tmp_path: Path, hub: ThreadingHTTPServer) -> None:
    assert fetch(tmp_path, hub, revision=LATER)["used"][0]["commit"] == LATER


@pytest.mark.parametrize(("offline", "told"), [(True, "HF_HUB_OFFLINE forbids"), (False, "the hub can't be reached")])
def test_without_the_hub_one_line_says_so_at_once(tmp_path: Path, offline: bool, told: str) -> None:
    found = fetch(tmp_path, None, offline=offline)
    assert found["error"].startswith("SourceError: owner/open")
    assert told in found["error"]
    assert "--from FOLDER" in found["error"]
    assert "\n" not in found["error"]
    assert found["seconds"] < 5


def test_a_gated_data_set_says_where_to_ask_for_access(tmp_path: Path, hub: ThreadingHTTPServer) -> None:
    for repository, options in (("owner/gated", {}), ("owner/gated", {"gated": True})):
        error = fetch(tmp_path, hub, repository, **options)["error"]
        assert "ask for access at https://huggingface.co/datasets/owner/gated" in error
        assert "`hf auth login`" in error


def test_what_the_hub_does_not_have(tmp_path: Path, hub: ThreadingHTTPServer) -> None:
    assert "the hub has no data set owner/absent" in fetch(tmp_path, hub, "owner/absent")["error"]
    assert "no file named ds/*.csv" in fetch(tmp_path, hub, pattern="ds/*.csv")["error"]


def test_files_of_the_user_are_read_instead_and_their_digest_kept(tmp_path: Path) -> None:
    (tmp_path / "mine" / "co").mkdir(parents=True)
    for name in ("co_0", "co_1"):
        (tmp_path / "mine" / "co" / f"{name}.parquet").write_text(name)
    listing = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  co/{name}.parquet\n" for name in ("co_0", "co_1"))
    sources = Sources(tmp_path / "sources", local=tmp_path / "mine")
    files = sources.hub("owner/open", ["co/co_*.parquet"])
    assert files.names == ("co/co_0.parquet", "co/co_1.parquet")
    assert sources.used[0]["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    inside = Sources(tmp_path / "sources", local=tmp_path / "mine" / "co").hub("owner/open", ["co/co_*.parquet"])
    assert inside.names == ("co_0.parquet", "co_1.parquet")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Get it there; then name their folder \(--from FOLDER\)"):
        Sources(tmp_path).files("Some data", ["*.csv"], hint="Get it there")
    with pytest.raises(SourceError, match="there is no folder"):
        Sources(tmp_path, local=tmp_path / "absent").files("Some data", ["*.csv"])
    with pytest.raises(SourceError, match=r"no file in .* is named \*\.csv"):
        Sources(tmp_path, local=tmp_path).files("Some data", ["*.csv"])


def archive(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 20_000
            tar.addfile(member, io.BytesIO(os.urandom(20_000)))
    return path


def test_archives_are_unpacked_once(tmp_path: Path) -> None:
    path = archive(tmp_path / "val.tar.gz", "val/b.aselmdb", "val/a.aselmdb", "val/a.aselmdb-lock", "val/read.me")
    lines: list[str] = []
    sources = Sources(tmp_path / "sources", lines.append)
    found = sources.unpack(path, "*.aselmdb")
    assert [one.name for one in found] == ["a.aselmdb", "b.aselmdb"]
    assert {one.parent.name for one in found} == {"val"}
    stamps = [one.stat().st_mtime_ns for one in found]
    assert [one.stat().st_mtime_ns for one in sources.unpack(path, "*.aselmdb")] == stamps
    assert lines == ["unpacking val.tar.gz"]


@pytest.mark.parametrize("name", ["../../evil.aselmdb", "/tmp/evil.aselmdb"])  # noqa: S108
def test_nothing_is_unpacked_elsewhere(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "val.tar.gz", name)
    sources = Sources(tmp_path / "sources")
    if name.startswith("/"):  # Python's filter strips the slash
        assert all(tmp_path in one.parents for one in sources.unpack(path, "*.aselmdb"))
        assert not Path(name).exists()
        return
    with pytest.raises(SourceError, match=r"val\.tar\.gz: can't be unpacked"):
        sources.unpack(path, "*.aselmdb")
    assert not list(tmp_path.rglob("evil*"))


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "val.tar.gz", "val/a.aselmdb", "val/b.aselmdb")
    whole = path.read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"val\.tar\.gz: can't be unpacked"):
            Sources(tmp_path / "sources").unpack(path, "*.aselmdb")
    assert not list((tmp_path / "sources").rglob("*.aselmdb"))


def test_an_archive_without_such_files(tmp_path: Path) -> None:
    path = archive(tmp_path / "val.tar.gz", "val/read.me")
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"holds no \*\.aselmdb"):
        Sources(tmp_path / "sources").unpack(path, "*.aselmdb")
    assert time.monotonic() - began < 5
