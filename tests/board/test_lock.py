"""One writer at a time on a board: real processes, also where no process number means anything, and kills."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_jsonable_python

from consilience.board.cells import pairs_of
from consilience.board.groups import read_pairs
from consilience.board.lock import FOLDER, NOTE, Publication, is_unfinished, mark_path, publication
from consilience.board.publish import publish
from consilience.board.tolerance import TOLERANCE, differences
from consilience.board.verify import verify_board
from consilience.records.migrations import read_record
from consilience.records.pairs import AllPairs
from consilience.records.spec import read_spec
from consilience.scoring.scorer import Scorer

from ..boards import V1_SPEC  # noqa: TID252

#: Holds the lock while it writes its name, waits, and reads it again.
HOLDER = """
import sys, time
from pathlib import Path
from consilience.board.lock import publication

folder, name, soft = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "soft"
for _ in range(5):
    with publication(folder, wait=120, soft=soft):
        (folder / "inside").write_text(name)
        time.sleep(0.02)
        assert (folder / "inside").read_text() == name, "another writer was inside"
        with (folder / "log").open("a") as log:
            log.write(name)
"""
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


def start(code: str, *arguments: str, within: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*within, sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def has_namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["flock", "soft"])
def test_one_writer_at_a_time(tmp_path: Path, kind: str) -> None:
    writers = [start(HOLDER, str(tmp_path), name, kind) for name in "abc"]
    for writer in writers:
        assert writer.wait(120) == 0, writer.communicate()[0]
    assert sorted((tmp_path / "log").read_text()) == sorted("abc" * 5)
    assert not is_unfinished(tmp_path)


@pytest.mark.skipif(not has_namespaces(), reason="this machine makes no pid namespaces for its users")
def test_a_soft_lock_holds_across_pid_namespaces(tmp_path: Path) -> None:
    """In either namespace the other's process number is nobody's: only signs of life tell that it lives."""
    writers = [start(HOLDER, str(tmp_path), name, "soft", within=NAMESPACE) for name in "ab"]
    for writer in writers:
        assert writer.wait(120) == 0, writer.communicate()[0]
    assert sorted((tmp_path / "log").read_text()) == sorted("ab" * 5)


@pytest.mark.parametrize("soft", [False, True])
def test_a_killed_writer_leaves_no_lock(tmp_path: Path, soft: bool) -> None:
    code = (
        "import sys, time; from pathlib import Path; from consilience.board.lock import publication\n"
        f"with publication(Path(sys.argv[1]), soft={soft}) as own:\n"
        "    own.mark({'mof-500': ['a']}); print('in', flush=True); time.sleep(600)"
    )
    writer = start(code, str(tmp_path))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "in\n"
    with (
        pytest.raises(ValueError, match="another publication has been writing"),
        publication(tmp_path, wait=0.3, soft=soft),
    ):
        pass
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with publication(tmp_path, wait=60, soft=soft) as own:
        assert own.stale == {"mof-500": {"a"}}, "what it had begun is known"
        own.finish()
    assert not is_unfinished(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("soft", [False, True])
def test_one_that_waits_says_once_for_whom(tmp_path: Path, soft: bool) -> None:
    """After three seconds, in the publication that waits and on the terminal of the command."""
    code = (
        "import sys, time; from pathlib import Path; from consilience.board.lock import publication\n"
        f"with publication(Path(sys.argv[1]), soft={soft}): print('in', flush=True); time.sleep(7)"
    )
    writer = start(code, str(tmp_path))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "in\n"
    lines: list[str] = []
    with publication(tmp_path, wait=60, soft=soft, tell=lines.append):
        own = json.loads((tmp_path / FOLDER / NOTE).read_text())
        assert own["pid"] == os.getpid()
    assert writer.wait(60) == 0
    (line,) = lines
    who = rf"\(process {writer.pid} on {re.escape(platform.node())}, since 20\d\d-\d\d-\d\dT[\d:]+\+00:00\)"
    assert re.fullmatch(rf"{re.escape(str(tmp_path))}: waiting for another publication {who}", line), line
    assert not (tmp_path / FOLDER / NOTE).exists()


@pytest.mark.slow
def test_one_that_gives_up_says_for_whom_it_waited(tmp_path: Path) -> None:
    lines: list[str] = []
    with publication(tmp_path):
        code = (
            "import sys; from pathlib import Path; from consilience.board import lock\n"
            "with lock.publication(Path(sys.argv[1]), wait=0.1, tell=print): pass"
        )
        other = start(code, str(tmp_path))
        output, _ = other.communicate()
    assert f"has been writing to this board for 0.1 s (process {os.getpid()} on " in output.splitlines()[-1]
    assert "waiting" not in output, "it gave up before it had waited for long"
    with publication(tmp_path, tell=lines.append):
        pass
    assert not lines


@pytest.mark.slow
@pytest.mark.parametrize("command", ["build", "run", "pytest"])
def test_the_terminal_says_for_whom_a_command_waits(board: Path, tmp_path: Path, command: str) -> None:
    code = (
        "import sys, time; from pathlib import Path; from consilience.board.lock import publication\n"
        "with publication(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    options = ["--targets=size", "--datasets=mof-500"], ["--align-targets=size", "--align-datasets=mof-500"]
    commands = {
        "build": ["consilience", "leaderboard", "build", str(board)],
        "run": ["consilience", "run", *options[0], f"--publish={board}"],
        "pytest": ["pytest", "--benchmark", *options[1], f"--align-publish={board}"],
    }
    with subprocess.Popen(
        [sys.executable, "-c", code, str(board)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"in\n"
        waiter = subprocess.Popen(
            [sys.executable, "-m", *commands[command]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
        )
        assert waiter.stdout is not None
        wanted = f"{board}: waiting for another publication (process {writer.pid} on "
        line = next((line for line in waiter.stdout if "waiting for another" in line), "")
        assert line.startswith(wanted), line
        writer.stdin.close()
        rest = waiter.stdout.read()
        assert "waiting for another" not in rest
        assert waiter.wait() == 0, rest


def test_git_ignores_lock_and_mark(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with publication(tmp_path) as own:
        own.mark({"mof-500": ["a"]})
        status = subprocess.run(
            ["git", "-C", str(tmp_path), "status", "--porcelain"], check=True, capture_output=True, text=True
        )
    assert status.stdout == ""


def test_a_mark_that_cannot_be_read_makes_all_pairs_anew(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "mof-500.json").write_text("{}")
    (tmp_path / FOLDER).mkdir()
    mark_path(tmp_path).write_text('{"stale": ')
    with publication(tmp_path) as own:
        assert own.stale == {"mof-500": {"*"}}


PUBLISHER = """
import sys
from pathlib import Path
from consilience.board.cells import pairs_of
from consilience.board.publish import publish
from consilience.records.spec import read_spec
from consilience.registry import get_target
from consilience.scoring.scorer import Cell, Scorer

folder = Path(sys.argv[1])
scorer = Scorer(read_spec(folder / "spec.toml"))
for name in sys.argv[2:]:
    publish(folder, [scorer.score(Cell("mof-500", get_target(name)))], all_pairs=pairs_of(folder, scorer))
"""
NAMES = ["diep-fold1", "chgnet-0.3.0", "sevennet-0", "composition", "size", "random-gaussian", "chgnet-0.3.0@untrained"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_publishers_at_the_same_time_publish_what_one_does(made_board: Path, tmp_path: Path, count: int) -> None:
    board = tmp_path / "raced"
    board.mkdir()
    shutil.copy(made_board / "spec.toml", board)
    publishers = [start(PUBLISHER, str(board), *NAMES[number::count]) for number in range(count)]
    for publisher in publishers:
        assert publisher.wait(600) == 0, publisher.communicate()[0]
    # Publishers score in other groups: sums are taken in another order, and the last digit published may differ.
    assert not differing(pairs(made_board), pairs(board))
    assert not differing(figures(made_board), figures(board))
    assert not verify_board(board).findings
    assert not list(board.rglob("*.part"))


def differing(expected: object, found: object) -> list[tuple[str, Any, Any]]:
    """What differs by more than rounding of what is published."""
    return list(differences(to_jsonable_python(expected), to_jsonable_python(found), TOLERANCE))


def pairs(board: Path) -> AllPairs:
    found = read_pairs(board, "mof-500")
    assert found is not None
    return found


def figures(board: Path) -> dict[str, object]:
    records = [read_record(path) for path in (board / "results" / "mof-500").glob("*.json")]
    return {record.target: (record.state, record.scores, record.twin) for record in records}


@pytest.mark.slow
def test_a_publication_that_was_killed_is_made_whole_by_the_next_command(
    made_board: Path, board: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once the record of another embedding is written: its pairs are the old embedding's, and go."""
    scorer = Scorer(read_spec(board / "spec.toml"))
    path = board / "results" / "mof-500" / "sevennet-0.json"
    record = read_record(path)
    assert record.provenance is not None
    identity = {**record.provenance.embedding["identity"], "layer": "another"}
    embedding = {**record.provenance.embedding, "identity": identity}
    other = record.model_copy(update={"provenance": record.provenance.model_copy(update={"embedding": embedding})})

    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed
        monkeypatch.setattr(Publication, "mark", _then(Publication.mark, lambda: None))
        monkeypatch.setattr("consilience.board.publish._renew_pairs", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        publish(board, [other], all_pairs=pairs_of(board, scorer))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert read_record(path).provenance.embedding["identity"]["layer"] == "another"
    (finding,) = [one for one in verify_board(board).findings if one.file == FOLDER]
    assert "is under way, or was stopped" in finding.published
    publish(board)  # as `consilience leaderboard build` without the embedding
    found = read_pairs(board, "mof-500")
    assert found is not None
    assert not any("sevennet-0" in (pair.first, pair.second) for pair in found.pairs), "a pair of an older embedding"
    assert len(found.pairs) == 6 * 5 / 2
    assert not is_unfinished(board)
    publish(board, [record], all_pairs=pairs_of(board, scorer))
    assert not differing(pairs(made_board), pairs(board))


def _then(method, action):  # type: ignore[no-untyped-def]
    def both(*arguments, **options):  # type: ignore[no-untyped-def]
        method(*arguments, **options)
        action()

    return both


def test_pairs_of_schema_2_carry_the_keys_of_their_embeddings(tmp_path: Path, own_cache: Path) -> None:
    """A record that came from elsewhere (a merge, a copy) has no pairs of another embedding."""
    from consilience.records.spec import MEASUREMENT_1
    from consilience.registry import get_target
    from consilience.scoring.scorer import Cell

    spec = read_spec(V1_SPEC)
    entry = spec.dataset("mof-500").model_copy(update={"references": ("diep-fold1", "chgnet-0.3.0")})
    settings = spec.settings.model_copy(update={"permutations": 5, "subsamples": 2})
    update = {"schema_version": 2, "measurement": MEASUREMENT_1, "datasets": (entry,), "settings": settings}
    spec = spec.model_copy(update={**update, "controls": ()})
    (tmp_path / "spec.toml").write_text(_toml(spec.model_dump(mode="json")))
    scorer = Scorer(read_spec(tmp_path / "spec.toml"))
    records = [scorer.score(Cell("mof-500", get_target(name))) for name in ("diep-fold1", "chgnet-0.3.0", "size")]
    publish(tmp_path, records, all_pairs=pairs_of(tmp_path, scorer))
    found = read_pairs(tmp_path, "mof-500")
    assert found is not None
    keys = {record.target: scorer.identity("mof-500", get_target(record.target)).key for record in records}
    assert [pair.keys for pair in found.pairs] == [(keys[pair.first], keys[pair.second]) for pair in found.pairs]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    publish(tmp_path, records, all_pairs=pairs_of(tmp_path, scorer))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    path = tmp_path / "results" / "mof-500" / "size.json"
    content = json.loads(path.read_text())
    content["provenance"]["embedding"]["identity"]["weights"] = "sha256:of another"
    path.write_text(json.dumps(content))
    publish(tmp_path)
    found = read_pairs(tmp_path, "mof-500")
    assert found is not None
    assert [(pair.first, pair.second) for pair in found.pairs] == [("chgnet-0.3.0", "diep-fold1")]
    assert json.loads((tmp_path / "leaderboard.json").read_text())["records_sha256"]


def _toml(content: dict[str, object], prefix: str = "") -> str:
    """Write what a spec holds as TOML: enough for this test."""
    plain = {key: value for key, value in content.items() if not isinstance(value, dict) and not _is_tables(value)}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items() if value is not None)
    for key, value in content.items():
        if isinstance(value, dict):
            text += f"\n[{prefix}{key}]\n" + _toml(value, f"{prefix}{key}.")
        elif _is_tables(value):
            assert isinstance(value, list)
            text += "".join(f"\n[[{prefix}{key}]]\n" + _toml(one, f"{prefix}{key}.") for one in value)
    return text


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
