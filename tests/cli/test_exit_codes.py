"""Whatever keeps a command from running is one line and exit code 2; Ctrl-C is 130. Real processes throughout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..boards import V1_SPEC  # noqa: TID252

GOOD = "return Embedded([[len(a), a.positions.std()] for a in items])\n"
CODE = "from consilience.cli import main; main()"
#: A shell lets what runs in the background ignore Ctrl-C, and nohup the end of a terminal.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    f"signal.signal(signal.SIGHUP, signal.SIG_DFL); {CODE}"
)


def command(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
        timeout=600,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def target_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "target_stranger.py"
    path.write_text(text, "utf-8")
    return path


SOAP = """
from consilience import Card, Embedded, target
@target(Card(name="soap", family="soap", modality="atoms"))
def load(card, weights, device):
    return None
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os; os._exit(0)\n", "ends Python when it is imported (exit code 0)"),
        ("import sys; sys.exit(0)\n", "calls sys.exit(0) when it is imported"),
        ("raise SystemExit\n", "calls sys.exit(None) when it is imported"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n", "ended by SIGSEGV when it was imported"),
        ("def load(:\n", "line 1: SyntaxError"),
        (
            "import no_such_module_anywhere\n",
            "there is no module 'no_such_module_anywhere' among",
        ),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("raise MemoryError\n", "MemoryError"),
        ("raise ValueError('a\\nb' * 10**6)\n", "ValueError: a b"),
        (SOAP, "'soap' is registered by"),
        ("x = 1\n", "registers no target"),
    ],
)
def test_a_stranger_file_that_cannot_be_imported_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = target_file(tmp_path, text)
    done = command("check", path)
    refused(done, words, path.name)
    assert len(done.stderr) < 1500


def test_an_import_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from consilience import registry, trial

    monkeypatch.setattr(trial, "SECONDS", 4)
    path = target_file(tmp_path, "import time\nwhile True: time.sleep(1)\n")
    began = time.monotonic()
    with pytest.raises(registry.TargetFileError, match=r"target_stranger\.py: importing it took more than 4 s"):
        registry.load_target_file(path)
    assert time.monotonic() - began < 60


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="alarms")
def test_an_import_without_end_ends_though_its_parent_was_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    text = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\nwhile True: time.sleep(1)\n"
    code = "import sys; from pathlib import Path; from consilience import trial\ntrial.SECONDS = 15\n"
    code += "trial.Trial(Path(sys.argv[1])); import os; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(target_file(tmp_path, text))], check=False)
    until = time.monotonic() + 120
    while not (pid.exists() and pid.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    stat = Path(f"/proc/{pid.read_text()}/stat")

    def lives() -> bool:
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

    while lives() and time.monotonic() < until:
        time.sleep(0.1)
    assert not lives()


def test_a_name_of_the_suite_leaves_the_registry_whole(tmp_path: Path) -> None:
    """In a process of its own: the file comes before the registry is filled."""
    code = f"""
from pathlib import Path
from consilience import registry
try:
    registry.import_file(Path({str(target_file(tmp_path, SOAP))!r}))
    registry.get_target("proteinmpnn-v-48-020")
except ValueError as error:
    print(error)
registry._targets.pop("soap")
print(registry.get_target("proteinmpnn-v-48-020").name, len(registry.list_targets()) > 50)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert "'soap' is registered by" in lines[0], done.stderr
    assert lines[1] == "proteinmpnn-v-48-020 True"


def test_a_file_is_tried_once_per_content(tmp_path: Path) -> None:
    from consilience import registry

    log = tmp_path / "log"
    good = SOAP.replace("soap", "tried-once")
    path = target_file(tmp_path, f"import os\nopen({str(log)!r}, 'a').write(f'{{os.getpid()}} ')\n{good}")
    for _ in range(3):
        assert registry.load_target_file(path)[0].name == "tried-once"
    assert len(log.read_text().split()) == 1  # the child alone: this process runs nothing of it


@pytest.mark.parametrize(
    "options",
    [
        ("--json", "{file}/x.json"),
        ("--report", "{file}/x.md"),
        ("--save", "{file}/x.json"),
        ("--json", "{folder}"),
        ("--json", "/proc/x.json"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_first_cell(
    write_target: Callable[..., Path], tmp_path: Path, options: tuple[str, str]
) -> None:
    path = write_target("open(items, 'never reached')\n")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    where = options[1].format(file=tmp_path / "file", folder=tmp_path / "folder")
    done = command("run", "--targets", path, "--datasets", "qm9-1k", "--limit", "40", options[0], where)
    refused(done, options[0], where.rpartition("/x.")[0] or where)
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize("cache", ["{file}", "{file}/below", "/proc/none"])
def test_a_cache_that_cannot_be_written_is_named(write_target: Callable[..., Path], tmp_path: Path, cache: str) -> None:
    (tmp_path / "file").touch()
    where = cache.format(file=tmp_path / "file")
    path = write_target(GOOD)
    for arguments in (
        ("run", "--targets", path, "--datasets", "qm9-1k", "--limit", "40"),
        ("embed", path, "qm9-1k", "--output", tmp_path / "x.safetensors"),
    ):
        refused(command(*arguments, CONSILIENCE_CACHE=where), where, "CONSILIENCE_CACHE names another")


@pytest.fixture
def powerless() -> list[str]:
    """What a command begins with, so that modes of files hold for it: root may all, unless that is taken away."""
    if os.name != "posix":
        pytest.skip("modes of files")
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("this is root, and setpriv (util-linux) is not here")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.slow
def test_a_board_that_cannot_be_written_is_refused_first(
    write_target: Callable[..., Path], tmp_path: Path, powerless: list[str]
) -> None:
    board = tmp_path / "board"
    board.mkdir()
    shutil.copy(V1_SPEC, board / "spec.toml")
    board.chmod(0o555)
    path = write_target("open(items, 'never reached')\n")
    for arguments in (
        ["-c", CODE, "run", "--targets", str(path), "--publish", str(board)],
        ["-m", "pytest", "-p", "no:cacheprovider", "--benchmark", str(path), f"--align-publish={board}"],
    ):
        done = subprocess.run(
            [*powerless, sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode in ((2,) if arguments[0] == "-c" else (2, 4)), said
        assert "Traceback" not in said
        assert f"{board}: Permission denied" in said
        assert "never reached" not in said


@pytest.mark.slow
def test_the_lock_of_another_user_is_one_line(
    write_target: Callable[..., Path], tmp_path: Path, powerless: list[str]
) -> None:
    variables = os.environ | {"CONSILIENCE_CACHE": str(tmp_path / "cache")}
    arguments = ["run", "--quiet", "--targets", write_target(GOOD), "--datasets", "qm9-1k", "--limit", "60"]
    whole = [sys.executable, "-c", CODE, *map(str, arguments)]
    subprocess.run(whole, capture_output=True, env=variables, check=True)
    (lock,) = (tmp_path / "cache" / "embeddings").glob("*/*/lock")
    for made in (*lock.parent.glob("embedding*"), *(tmp_path / "cache" / "records").rglob("*.json")):
        made.unlink()
    lock.chmod(0)
    done = subprocess.run([*powerless, *whole], capture_output=True, text=True, env=variables, check=False)
    refused(done, str(lock), "Permission denied")


def test_an_output_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "x"
    for arguments in (
        ("embed", "size", "qm9-1k", "--output", output),
        ("submit", "size", "--output", output),
        ("figures", "--output", output),
        ("dataset", "sample", "qm9-1k", "--n", "3", "--output", output),
        ("schema", "--output", output),
    ):
        refused(command(*arguments), str(output))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full device")
def test_a_full_disk_under_the_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", CODE, "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["consilience: No space left on device"]


def test_memory_that_ends_in_the_parent_is_one_line(tmp_path: Path) -> None:
    """A real limit: the file of items needs more than there is."""
    code = (
        "import resource; from consilience.cli import main; import consilience.datasets.items, numpy, pyarrow\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)\n"
        "import consilience.datasets.items as items\n"
        "items.open_dataset = lambda name: numpy.ones(2**32)\n"
        f"main(['dataset', 'sample', 'qm9-1k', '--n', '3', '--output', {str(tmp_path / 'x')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    refused(done, "out of memory")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_its_code_and_leaves_nothing(
    write_target: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    pid = tmp_path / "pid"
    path = write_target(f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "run", "--targets", str(path), "--datasets", "qm9-1k", "--limit", "40"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary), "CONSILIENCE_CACHE": str(tmp_path / "cache")},
    )
    until = time.monotonic() + 300
    while not (pid.exists() and pid.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert errors.strip().splitlines()[-1] == f"consilience: ended by {number.name}"
    assert "Traceback" not in errors
    assert not list(temporary.glob("consilience-*"))
    assert not Path(f"/proc/{pid.read_text()}").exists()
