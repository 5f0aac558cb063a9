"""Kill commands at random moments, and compare what the next undisturbed run gives with a run that nobody disturbed.

``python tests/torture/kill.py --minutes 30 --seed 1`` (or ``--kills N``). A command runs in a process forked from this
one, which has imported the suite. SIGKILL (to the command alone, or to all its processes of one session) or SIGTERM
ends it. Then nothing of it may live on, no file may be torn, and what was finished may not be lost; after an
undisturbed run there may be no temporary file, and records, pairs, tables and pages are those of the first run.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds within which all processes of a killed command have ended.
ENDING = 20.0
#: What differs from run to run.
VOLATILE = {"items_per_second", "created", "finished", "seconds", "peak_memory_mib", "commit", "dirty", "log"}
SPEC = """\
board = "v1"
title = "A small board."
controls = ["composition", "size"]

[settings]
permutations = 4
subsamples = 4

[[datasets]]
name = "mp-1k"
revision = "{revision}"
references = ["diep-fold1", "chgnet-0.3.0"]
"""
TARGET = '''\
# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "ase"]
# ///
"""Counts of atomic numbers and the lengths of the cell."""

from pathlib import Path

import numpy as np

from consilience import Card, Embedded, target


@target(
    Card(
        name="tiny", title="Tiny", family="tiny", modality="atoms", parameters=8, dimension=24, trained_on=("none",),
        level_of_theory="none", licence_code="MIT", licence_weights="MIT", weights_sha256="0" * 64, revision="1",
        reference="none", source="https://example.org/tiny", layer="none", pooling="sum",
    )
)
def load(card, weights, device):
    scale = float(Path(__file__).with_name("scale.txt").read_text())

    def embed(items):
        rows = [
            np.concatenate([np.histogram(one.numbers, 20, (0, 100))[0] * scale, one.cell.lengths(), [len(one)]])
            for one in items
        ]
        return Embedded(rows, [float(len(one)) for one in items])

    return embed
'''
RECIPE = '''\
# /// script
# requires-python = ">=3.11"
# dependencies = ["pyarrow"]
# ///
"""A few crystals."""

from consilience import DatasetCard, Draft, recipe

CARD = DatasetCard(
    name="few-crystals", title="a few crystals", matter="crystal", views=("id", "atoms"), licence="CC-BY-4.0",
    citation="none", source="mp-1k", recipe="this file", selection="the first",
)


@recipe(CARD)
def build(card, sources):
    import pyarrow.parquet as pq

    from consilience.building.schemas import CRYSTALS

    rows = {{row["id"]: row for row in pq.read_table({source!r}).slice(0, 600).to_pylist()}}
    return Draft(CRYSTALS, list(rows), rows.__getitem__)
'''


@dataclass(frozen=True)
class Case:
    """A command that is killed."""

    name: str
    run: Callable[[Place], int | None]
    state: Callable[[Place], Any]
    wipe: Callable[[Place], None]
    before: str = ""
    """Case that has to have run before."""


class Place:
    """A folder with a cache, a board, a target and temporary files of its own."""

    def __init__(self, folder: Path) -> None:
        from consilience.datasets.tables import DATA
        from consilience.records.spec import DEFAULT_SPEC, read_spec

        self.folder = folder
        self.cache, self.board, self.scratch = (folder / name for name in ("cache", "board", "tmp"))
        for one in (self.cache, self.board, self.scratch):
            one.mkdir(parents=True)
        revision = read_spec(DEFAULT_SPEC).dataset("mp-1k").revision
        (self.board / "spec.toml").write_text(SPEC.format(revision=revision))
        (folder / "target_tiny.py").write_text(TARGET)
        (folder / "scale.txt").write_text("2.0")
        (folder / "few_crystals.py").write_text(RECIPE.format(source=str(DATA / "mp-1k.parquet")))
        os.environ["CONSILIENCE_CACHE"] = str(self.cache)
        os.environ["TMPDIR"] = str(self.scratch)
        tempfile.tempdir = str(self.scratch)
        os.chdir(folder)
        # Files that have just changed are hashed each time they are looked at.
        for path in folder.glob("*.*"):
            os.utime(path, (time.time() - 100, time.time() - 100))


def cli(*arguments: str) -> int | None:
    from consilience.cli import main

    main(list(arguments), standalone_mode=True)
    return None


def stripped(value: Any) -> Any:
    """Value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: stripped(one) for key, one in value.items() if key not in VOLATILE}
    return [stripped(one) for one in value] if isinstance(value, list) else value


def board_state(place: Place) -> Any:
    files = [*place.board.glob("results/*/*.json"), *place.board.glob("pairs/*.json"), place.board / "leaderboard.json"]
    pages = [path.name for path in place.board.glob("*.md")]
    return {str(path.relative_to(place.board)): stripped(json.loads(path.read_text())) for path in sorted(files)} | {
        "pages": sorted(pages)
    }


def wipe_board(place: Place) -> None:
    for name in ("results", "pairs", ".publication"):
        shutil.rmtree(place.board / name, ignore_errors=True)
    for path in place.board.glob("leaderboard.*"):
        path.unlink()
    wipe_cache(place)


def wipe_cache(place: Place) -> None:
    for name in ("embeddings", "records"):
        shutil.rmtree(place.cache / name, ignore_errors=True)


def saved_state(place: Place) -> Any:
    return stripped(json.loads((place.folder / "saved.json").read_text()))


def submission_state(place: Place) -> Any:
    with zipfile.ZipFile(place.folder / "sub.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith("records/")]
        return {name: stripped(json.loads(archive.read(name))) for name in names}


def dataset_state(place: Place) -> Any:
    folder = place.cache / "built" / "few-crystals"
    manifest = stripped(json.loads((folder / "manifest.json").read_text()))
    manifest.pop("checksum", None)
    return [manifest, hashlib.sha256((folder / "few-crystals.parquet").read_bytes()).hexdigest()]


def build_dataset(place: Place) -> int | None:
    from consilience.building.build import build_dataset as build
    from consilience.registry import load_dataset_file

    build(load_dataset_file(place.folder / "few_crystals.py", "few-crystals"))
    return None


def _header() -> Any:
    from consilience.header import Header

    return Header(dependencies=("idna",))


def build_environment(place: Place) -> int | None:
    from consilience.isolation.environments import ensure

    ensure(_header())
    return None


def environment_state(place: Place) -> Any:
    import subprocess

    from consilience.isolation.environments import ensure, packages_of

    python = ensure(_header())
    done = subprocess.run([python, "-c", "import idna, numpy, pydantic, safetensors"], check=False)
    return [packages_of(_header()), done.returncode, sorted(path.name for path in python.parents[2].iterdir())]


def site_state(place: Place) -> Any:
    folder = place.folder / "site"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


CASES = [
    Case(
        "run",
        lambda place: cli(
            "run", "--quiet", "--targets", "target_tiny.py,size", "--datasets", "mp-1k", "--limit", "60",
            "--save", "saved.json",
        ),
        saved_state,
        lambda place: (wipe_cache(place), (place.folder / "saved.json").unlink(missing_ok=True))[0],
    ),
    Case(
        "publish",
        lambda place: cli("run", "--quiet", "--targets", "target_tiny.py,size,composition", "--publish", "board"),
        board_state,
        wipe_board,
    ),
    Case(
        "submit",
        lambda place: cli("submit", "target_tiny.py", "--board", "board", "--output", "sub.zip"),
        submission_state,
        lambda place: (wipe_cache(place), (place.folder / "sub.zip").unlink(missing_ok=True))[0],
    ),
    Case(
        "add",
        lambda place: cli("leaderboard", "add", "board", "sub.zip"),
        board_state,
        wipe_board,
        before="submit",
    ),
    Case(
        "dataset",
        build_dataset,
        dataset_state,
        lambda place: shutil.rmtree(place.cache / "built", ignore_errors=True),
    ),
    Case(
        "environment",
        build_environment,
        environment_state,
        lambda place: shutil.rmtree(place.cache / "environments", ignore_errors=True),
    ),
    Case(
        "site",
        lambda place: cli("site", "--board", "board", "--output", "site", "--jobs", "1"),
        site_state,
        lambda place: shutil.rmtree(place.folder / "site", ignore_errors=True),
        before="publish",
    ),
]  # fmt: skip


def start(case: Case, place: Place) -> int:
    """Run a case in a process forked from this one."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        log = os.open(place.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = case.run(place) or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def descendants() -> list[int]:
    """Processes below this one; orphans come to it, which is their subreaper."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(folder.name))
    below = list(children.get(os.getpid(), []))
    for pid in below:
        below += children.get(pid, [])
    return below


def reap(child: int | None) -> int | None:
    """Exit code of the child where it has ended; other orphans are let go."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)


def whole(place: Place) -> Iterator[tuple[str, str]]:
    """Read each file that a command may have written; yield its name, and why it is torn (empty where it is whole)."""
    from consilience.board.groups import read_pairs
    from consilience.embedding.store import parse_embedding
    from consilience.files import unsealed
    from consilience.records.board import Board
    from consilience.records.migrations import read_record
    from consilience.records.run import read_run

    readers: list[tuple[Path, str, Callable[[Path], object]]] = [
        (place.cache, "embeddings/*/*/embedding*.safetensors", lambda path: parse_embedding(path.read_bytes())),
        (place.cache, "records/*/*.json", lambda path: unsealed(path.read_text())),
        (place.board, "results/*/*.json", read_record),
        (place.board, "pairs/*.json", lambda path: read_pairs(place.board, path.stem)),
        (place.board, "leaderboard.json", lambda path: Board.model_validate_json(path.read_bytes())),
        (place.folder, "saved.json", read_run),
        (place.folder, "sub.zip", lambda path: zipfile.ZipFile(path).testzip()),
        (place.cache, "built/*/manifest.json", lambda path: unsealed(path.read_text())),
        (place.cache, "environments/*/ready.json", lambda path: json.loads(path.read_text())),
    ]
    for folder, pattern, read in readers:
        for path in folder.glob(pattern):
            try:
                read(path)
            except Exception as error:
                yield str(path), f"{type(error).__name__}: {error}"
            else:
                yield str(path), ""


def leftovers(place: Place) -> list[str]:
    """Temporary files and folders of commands that have ended."""
    found = [*place.folder.rglob("*.part"), *place.scratch.glob("*"), *place.cache.glob("environments/.*")]
    found += place.cache.glob("built/*/building")
    found += [path for path in place.folder.glob("site*") if path.name not in ("site",)]
    found += place.board.glob(".publication/*.json")
    # Younger ones may be another command's, somebody's commit, say.
    lock = Path(__file__).resolve().parents[2] / ".git" / "index.lock"
    with contextlib.suppress(FileNotFoundError):
        found += [lock] if time.time() - lock.stat().st_mtime > ENDING else []
    return [str(path.relative_to(place.folder) if path != lock else lock) for path in found]


class Harness:
    """Rounds of kills of one case after another.

    Parameters
    ----------
    seed
        Of moments, signals and numbers of kills.
    log
        Called with a line about each fault.
    """

    def __init__(self, folder: Path, seed: int, log: Callable[[str], None]) -> None:
        self.place, self.rng, self.log = Place(folder), random.Random(seed), log
        self.counts: Counter[str] = Counter()
        self.wanted: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)

    def fault(self, kind: str, case: Case, details: object) -> None:
        self.counts[kind] += 1
        text = (self.place.folder / "log").read_text("utf-8", "replace")[-1500:]
        self.log(f"{kind}: {case.name}: {details}\n{text if kind in ('exit code', 'different') else ''}")

    def undisturbed(self, case: Case) -> bool:
        """Run a case to its end; whether it succeeded."""
        began = time.monotonic()
        child = start(case, self.place)
        code = None
        while code is None:
            code = reap(child)
            time.sleep(0.01)
        self.seconds[case.name] = max(self.seconds.get(case.name, 0.0), time.monotonic() - began)
        if code != 0:
            self.fault("exit code", case, code)
        return code == 0

    def first(self, case: Case) -> None:
        """Learn what an undisturbed run of a case gives."""
        before = next((one for one in CASES if one.name == case.before), None)
        if before is not None:
            before.wipe(self.place)
            self.undisturbed(before)
        case.wipe(self.place)
        if self.undisturbed(case):
            self.wanted[case.name] = case.state(self.place)

    def round(self, case: Case, kills: int) -> None:
        """Kill a case some times, then let it run and compare."""
        case.wipe(self.place)
        finished: set[str] = set()
        for _ in range(kills):
            child = start(case, self.place)
            until = time.monotonic() + self.rng.uniform(0.02, self.seconds[case.name])
            code = None
            while code is None and time.monotonic() < until:
                code = reap(child)
                time.sleep(0.005)
            how = self.rng.choice(["kill", "kill", "all", "term"])
            if code is not None:  # it came to its end first: what follows would find all done
                case.wipe(self.place)
                finished = set()
            else:
                with contextlib.suppress(ProcessLookupError):
                    if how == "all":
                        os.killpg(child, signal.SIGKILL)
                    else:
                        os.kill(child, signal.SIGKILL if how == "kill" else signal.SIGTERM)
                self.counts[f"kills of {case.name}"] += 1
                self.counts["kills"] += 1
            limit = time.monotonic() + ENDING
            while (alive := descendants()) and time.monotonic() < limit:
                reap(None)
                time.sleep(0.02)
            reap(None)
            if alive:
                self.fault("process left", case, [_words(pid) for pid in alive])
                for pid in alive:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            files = dict(whole(self.place))
            for name, torn in files.items():
                if torn:
                    self.fault("torn file", case, f"{name}: {torn}")
            lost = {name for name in finished - set(files) if "embeddings" in name or "results" in name}
            if lost:
                self.fault("lost", case, sorted(lost))
            finished = {name for name, torn in files.items() if not torn}
        if self.undisturbed(case):
            state = case.state(self.place)
            if state != self.wanted[case.name]:
                self.fault("different", case, _difference(self.wanted[case.name], state))
            else:
                self.counts["rounds equal"] += 1
        if left := leftovers(self.place):
            self.fault("leftover", case, left)
            shutil.rmtree(self.place.scratch, ignore_errors=True)
            self.place.scratch.mkdir()
            for path in self.place.folder.rglob("*.part"):
                path.unlink()


def _words(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")[:200]
    return str(pid)


def _difference(one: Any, other: Any, at: str = "") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            if one.get(key) != other.get(key):
                return _difference(one.get(key), other.get(key), f"{at}.{key}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return next(_difference(a, b, f"{at}[{i}]") for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    return f"{at}: {one!r:.150} is now {other!r:.150}"


FAULTS = ("torn file", "lost", "different", "leftover", "process left", "exit code")


def main() -> int:
    """Run it and print the counts; 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--cases", default="", help=f"some of {', '.join(case.name for case in CASES)}")
    parser.add_argument("--log", default="", help="file for the faults, which go to stderr by default")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    # What each command would import anew.
    import ase.io
    import pyarrow.parquet
    import rdkit.Chem
    import scipy.stats
    import sklearn.linear_model

    import consilience.board.publish
    import consilience.board.submission
    import consilience.cli
    import consilience.scoring.pairs
    import consilience.session.runner
    import datasets

    assert all((ase.io, datasets, pyarrow.parquet, rdkit.Chem, scipy.stats, sklearn.linear_model, consilience.cli))
    chosen = [case for case in CASES if not given.cases or case.name in given.cases.split(",")]
    # A short run reaches a few cases only; another seed begins with others.
    chosen = chosen[seed % len(chosen) :] + chosen[: seed % len(chosen)]
    began = time.monotonic()
    counts: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="consilience-kill-") as folder,
        Path(given.log).open("a") if given.log else contextlib.nullcontext() as log,
    ):

        def note(line: str) -> None:
            print(f"seed {seed}: {line}", file=log or sys.stderr, flush=True)

        harness = Harness(Path(folder).resolve() / "place", seed, note)
        try:
            while True:
                for case in chosen:
                    if case.name not in harness.wanted or case.before:
                        harness.first(case)
                    if case.name in harness.wanted:
                        harness.round(case, harness.rng.randint(*((10, 25) if given.kills else (4, 12))))
                        done, faults = harness.counts["kills"], sum(harness.counts[kind] for kind in FAULTS)
                        print(f"seed {seed}: {done} kills up to {case.name}, {faults} faults", flush=True)
                    if 0 < given.kills <= harness.counts["kills"]:
                        break
                    if not given.kills and time.monotonic() - began > 60 * given.minutes:
                        break
                else:
                    continue
                break
        finally:
            counts = harness.counts
            os.chdir("/")
    faults = sum(counts[kind] for kind in FAULTS)
    print(f"kills: {counts['kills']}, seed {seed}, {time.monotonic() - began:.0f} s: {dict(counts)}, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
