"""Fetching and embedding are two jobs: a real server in a network namespace of its own stands for another machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import embed
from consilience.embedding.errors import EmbeddingFailedError, EmbeddingInterruptedError
from consilience.embedding.run import run_worker
from consilience.embedding.store import Store
from consilience.isolation.opens import _remote_address
from consilience.isolation.sandbox import probe
from consilience.registry import load_target_file
from consilience.testing import check_target

NAMESPACE, DEVICE, HERE, THERE = "consilience", "consilience0", "10.231.77.1", "10.231.77.2"
SERVER = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(json.dumps([self.path, self.headers.get("Authorization")]), flush=True)
        self.send_response(200); self.end_headers(); self.wfile.write(b"2.5")
    def log_message(self, *_): pass
server = http.server.HTTPServer(("10.231.77.2", 8765), Handler)
print("ready", flush=True)
server.serve_forever()
"""
#: Downloads once, with the token that it is given, as the hub's client does.
FETCHING = """\
import os, urllib.request
from pathlib import Path
file = Path.home() / "fetched" / card.name
if not file.exists():
    request = urllib.request.Request("http://10.231.77.2:8765/weights")
    if os.environ.get("HF_TOKEN"):
        request.add_header("Authorization", os.environ["HF_TOKEN"])
    content = urllib.request.urlopen(request, timeout=5).read()
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
scale = float(file.read_text())
assert "HF_TOKEN" not in os.environ or "2.5" == content.decode()
"""
ROWS = "return Embedded([[scale * len(a), a.get_all_distances().std(), a.numbers.sum()] for a in items])\n"
ASKING = """\
import urllib.request
scale = float(urllib.request.urlopen("http://10.231.77.2:8765/item", timeout=5).read())
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """A server that another machine would be: its log holds path and token of each request."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 (apt-get install iproute2) to make a network namespace")

    def ip(*arguments: str, check: bool = True) -> None:
        subprocess.run(["ip", *arguments], check=check, capture_output=True)

    log = tmp_path / "requests"
    process = None
    alone = FileLock(Path(tempfile.gettempdir()) / f"{NAMESPACE}.lock")  # tests of another process use the same names
    alone.acquire()
    try:
        ip("netns", "del", NAMESPACE, check=False)
        ip("link", "del", DEVICE, check=False)
        ip("netns", "add", NAMESPACE)
        ip("link", "add", DEVICE, "type", "veth", "peer", "name", "there", "netns", NAMESPACE)
        ip("addr", "add", f"{HERE}/30", "dev", DEVICE)
        ip("link", "set", DEVICE, "up")
        ip("-n", NAMESPACE, "addr", "add", f"{THERE}/30", "dev", "there")
        ip("-n", NAMESPACE, "link", "set", "there", "up")
        command = ["ip", "netns", "exec", NAMESPACE, sys.executable, "-u", "-c", SERVER]
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file)
        until = time.monotonic() + 60
        while "ready" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        yield log
    finally:
        if process is not None:
            process.kill()
            process.wait()
        ip("netns", "del", NAMESPACE, check=False)
        alone.release()


def requests(log: Path) -> list[str]:
    return log.read_text().splitlines()[1:]


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """The user's token of the hub, and no proxy."""
    monkeypatch.setenv("HTTP_PROXY", "")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    return "hf_of_the_user"


@pytest.fixture
def items() -> Items:
    return open_dataset("qm9-1k").head(12)


@pytest.mark.slow
def test_only_the_job_that_fetches_has_the_network_and_the_token(
    server: Path,
    items: Items,
    write_target: Callable[..., Path],
    own_cache: Path,
    tmp_path: Path,
    token: str,
) -> None:
    (target,) = load_target_file(write_target(ROWS, name="fetching", preamble=FETCHING))
    first = embed(target, items, Store(tmp_path / "store"))
    assert requests(server) == [f'["/weights", "{token}"]'], "once, with the token"
    assert first.features[0, 0] == 2.5 * len(items.view("atoms")[0])
    assert "network" not in first.provenance["inputs"]
    embed(target, items, Store(tmp_path / "store"), fresh=True)
    assert len(requests(server)) == 1, "what was downloaded is here"


@pytest.mark.slow
def test_code_that_embeds_has_no_network_unless_its_header_says_so(
    server: Path, items: Items, write_target: Callable[..., Path], own_cache: Path, tmp_path: Path, token: str
) -> None:
    path = write_target(ASKING + ROWS, name="asking")
    (target,) = load_target_file(path)
    with pytest.raises(EmbeddingFailedError, match=r"asked for the network \(10\.231\.77\.2:8765\).*network = true"):
        embed(target, items, Store(tmp_path / "store"))
    assert not requests(server)
    header = "# /// script\n# [tool.consilience]\n# network = true\n# ///\nimport os\n"
    path.write_text(
        header + path.read_text().replace("import urllib", "assert 'HF_TOKEN' not in os.environ; import urllib")
    )
    (target,) = load_target_file(path)
    embedding = embed(target, items, Store(tmp_path / "store"))
    assert requests(server)
    assert embedding.provenance["inputs"]["network"] is True, "the record says that it can't be traced"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system observes no connections")
def test_time_that_ends_is_no_property_of_a_target_that_also_asked(
    items: Items, write_target: Callable[..., Path], own_cache: Path, tmp_path: Path
) -> None:
    """Many packages look for an update of theirs and go on without an answer."""
    body = "import socket, time\ntry:\n    socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError:\n    pass\n"
    (target,) = load_target_file(write_target(f"{body}time.sleep(600)\n", name="updating"))
    with pytest.raises(EmbeddingInterruptedError, match=r"^time limit of 8 s reached[^;]*$"):
        embed(target, items, Store(tmp_path / "store"), time_limit=8)


@pytest.mark.slow
def test_a_check_fetches_first(server: Path, items: Items, write_target: Callable[..., Path], own_cache: Path) -> None:
    (target,) = load_target_file(write_target(ROWS, name="fetching-too", preamble=FETCHING))
    assert {one.name for one in check_target(target, items=items).checks if not one.passed} <= {
        "the untrained twin differs"
    }
    assert len(requests(server)) == 1


@pytest.mark.slow
def test_a_stranger_fetches_in_the_sandbox_without_the_token(
    server: Path,
    items: Items,
    write_target: Callable[..., Path],
    own_cache: Path,
    tmp_path: Path,
    token: str,
) -> None:
    if (kind := probe()) == "none":
        pytest.skip("there is no sandbox here: apt-get install bubblewrap")
    (target,) = load_target_file(write_target(ROWS, name="fetching-strange", preamble=FETCHING))
    folder = tmp_path / "rows"
    folder.mkdir()
    run_worker(target, items, "embed", folder=folder, sandbox=kind, stranger=True)
    assert requests(server) == ['["/weights", null]']


@pytest.mark.parametrize(
    ("content", "address"),
    [
        ("02000050 c0000201", "192.0.2.1:80"),
        ("02000050 7f000001", None),
        ("02000050 00000000", None),
        ("0a000050 00000000 20010db8000000000000000000000001 00000000", "[2001:db8::1]:80"),
        ("0a000050 00000000 00000000000000000000000000000001 00000000", None),
        ("0a000050 00000000 00000000000000000000ffff7f000001 00000000", None),
        ("0a000050 00000000 00000000000000000000ffffc0000201 00000000", "192.0.2.1:80"),
        ("0100 2f746d702f78", None),
        ("02", None),
    ],
)
def test_addresses_of_other_machines(content: str, address: str | None) -> None:
    if sys.byteorder == "big":
        pytest.skip("the family is written in the order of this machine")
    assert _remote_address(bytes.fromhex(content)) == address
