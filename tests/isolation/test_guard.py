"""Processes that jobs start, as real processes: none outlives its job, or our own end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from consilience.isolation import guarded, job
from consilience.isolation.job import JobFailedError, run_job

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and death signals are Linux's")
#: In C code, with the lock of the interpreter held: no thread of the worker can act.
IN_C = "import re; re.match(r'(a|aa)+$', 'a' * 60 + 'b')"


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worker whose jobs run Python code."""
    worker = tmp_path / "worker.py"
    text = job.WORKER.read_text("utf-8").replace(
        "Path(__file__).resolve().parents[1]", f"Path({str(job.WORKER.parents[1])!r})"
    )
    old = '    module, _, name = str(job["entry"]).partition(":")\n'
    assert old in text
    worker.write_text(text.replace(old, '    exec(job["code"], {"say": say})\n    return\n' + old))
    monkeypatch.setattr(job, "WORKER", worker)
    return tmp_path


def carry_out(code: str, folder: Path, **options: object) -> job.Outcome:
    wanted = {"code": textwrap.dedent(code), "entry": "x:y"}
    return run_job(Path(sys.executable), wanted, folder / "log", **options)  # type: ignore[arg-type]


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ended(pid: int, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while lives(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not lives(pid)


FORK = """
import os, time
pid = os.fork()
if pid == 0:
    {escape}
    time.sleep(600)
    os._exit(0)
open({file!r}, "w").write(str(pid))
{then}
"""


@LINUX
@pytest.mark.parametrize("escape", ["pass", "os.setsid()", "os.setsid()\n    if os.fork(): os._exit(0)"])
@pytest.mark.parametrize(
    "then",
    ["", "raise ValueError('stop')", "os._exit(3)", pytest.param("time.sleep(600)", marks=pytest.mark.slow)],
)
def test_no_child_of_a_worker_outlives_it_or_delays_its_end(jobs: Path, escape: str, then: str) -> None:
    file = str(jobs / "pid")
    began = time.monotonic()
    code = FORK.format(escape=escape, then=then, file=file)
    if then:
        with pytest.raises(JobFailedError):
            carry_out(code, jobs, time_limit=8 if "sleep" in then else 300)
    else:
        assert carry_out(code, jobs).finished
    assert time.monotonic() - began < 120, "a child that holds the pipe delayed the end"
    assert ended(int(Path(file).read_text()), 2)


def test_a_time_limit_ends_a_worker_in_c_code(jobs: Path) -> None:
    with pytest.raises(JobFailedError, match="time limit of 3 s") as error:
        carry_out(IN_C, jobs, time_limit=3)
    assert error.value.outcome.circumstance


@LINUX
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_worker_in_c_code_ends_with_its_parent(jobs: Path, number: int) -> None:
    parent_code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this one
from pathlib import Path
from consilience.isolation import job
job.WORKER = Path({str(job.WORKER)!r})
code = "import os; open({str(jobs / "pid")!r}, 'w').write(str(os.getpid()))\\n" + {IN_C!r}
job.run_job(Path(sys.executable), {{"code": code, "entry": "x:y"}}, Path({str(jobs / "log")!r}))
"""
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stderr=subprocess.DEVNULL)
    pid = wait_for_pid(jobs / "pid")
    time.sleep(0.2)
    parent.send_signal(number)
    parent.wait()
    assert ended(pid, 10)


@LINUX
def test_a_worker_in_c_code_ends_with_its_guard(jobs: Path) -> None:
    code = f"import os\nopen({str(jobs / 'pid')!r}, 'w').write(f'{{os.getpid()}} {{os.getppid()}}')\n{IN_C}"
    script = (
        "import sys, json; from pathlib import Path; from consilience.isolation import job;"
        "job.WORKER = Path(sys.argv[1]);"
        "job.run_job(Path(sys.executable), json.loads(sys.argv[2]), Path(sys.argv[3]))"
    )
    wanted = json.dumps({"code": code, "entry": "x:y"})
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(job.WORKER), wanted, str(jobs / "log")], stderr=subprocess.DEVNULL
    )
    wait_for_pid(jobs / "pid")
    worker, guard = map(int, (jobs / "pid").read_text().split())
    os.kill(guard, signal.SIGKILL)
    assert ended(worker, 10)
    parent.wait(60)


def wait_for_pid(path: Path) -> int:
    until = time.monotonic() + 120
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return int(path.read_text().split()[0])


def test_the_exit_code_and_the_output_of_a_command_come_back() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    done = guarded.run([sys.executable, "-c", code], dict(os.environ))
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    done = guarded.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], dict(os.environ))
    assert done.returncode == -signal.SIGSEGV
    done = guarded.run(["/no/such/program"], dict(os.environ))
    assert done.returncode == 127
    assert "can't be started" in done.stderr


def test_what_a_worker_prints_is_kept_with_head_and_tail_while_it_runs(jobs: Path) -> None:
    code = f"""
        import os, sys, time
        print("the head")
        block = "x" * 2**20
        for _ in range(200):
            print(block)
        sys.stdout.flush()
        open({str(jobs / "size")!r}, "w").write(str(os.path.getsize({str(jobs / "log")!r})))
        print("the tail")
    """
    text = carry_out(code, jobs).log
    assert int((jobs / "size").read_text()) <= 2**20
    assert (jobs / "log").stat().st_size < 2.1 * 2**20
    assert len(text) < 2.1 * 2**20
    assert text.startswith("the head")
    assert text.rstrip().endswith("the tail")
    assert "bytes left out" in text


@pytest.mark.slow
def test_a_reason_of_ten_megabytes_is_cut(jobs: Path) -> None:
    with pytest.raises(JobFailedError) as error:
        carry_out("raise ValueError('head ' + 'x' * 10**7 + ' tail')", jobs)
    reason = str(error.value)
    assert len(reason) < 1200
    assert reason.startswith("ValueError: head")
    assert reason.endswith("tail")
