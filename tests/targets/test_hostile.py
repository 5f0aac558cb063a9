"""No file of a stranger runs code without the user's word: each adapter, in its own environment, on files made to."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import consilience
from consilience.checkpoints import CheckpointError, recognise
from consilience.datasets.items import Items, open_dataset
from consilience.embedding.run import target_job
from consilience.header import Header
from consilience.isolation.environments import python_of
from consilience.isolation.guarded import Guarded
from consilience.isolation.variables import worker_variables
from consilience.registry import Target, get_target, list_targets

FILES = Path(__file__).with_name("hostile_files.py")
_spec = importlib.util.spec_from_file_location("hostile_files", FILES)
assert _spec is not None
assert _spec.loader is not None
hostile_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hostile_files)
#: Suffixes that adapters go by; those of the others end in .pt.
SUFFIXES = {
    "alphanet.py": ".ckpt", "nequip.py": ".ckpt", "pet.py": ".ckpt", "mace.py": ".model", "megnet.py": ".hdf5",
    "nequix.py": ".nqx", "unirep.py": ".npz", "chgnet.py": ".pth.tar", "cgcnn.py": ".pth.tar", "antiberty.py": ".bin",
}  # fmt: skip
#: One adapter for each way to read a file (pickle of tensors, of a module, Keras, folder, arrays); the others, half a
#: minute each and more, are tried by night.
DAILY = {"chgnet.py", "mace.py", "megnet.py", "molformer.py", "unirep.py"}
#: Seconds for all files of an adapter.
SECONDS = 1500


def adapters() -> dict[str, Target]:
    """One target of each file that reads checkpoints, the one with the shortest name."""
    chosen: dict[str, Target] = {}
    for target in sorted(list_targets().values(), key=lambda one: (len(one.name), one.name)):
        if target.card.accepts is not None:
            chosen.setdefault(target.path.name, target)
    return {target.name: target for target in chosen.values()}


def run(python: Path | str, *arguments: str, scratch: Path, log: Path) -> list[dict[str, Any]]:
    """Run the script with an environment's interpreter; the JSON lines that it printed."""
    variables = worker_variables(scratch) | {"HF_HUB_OFFLINE": "1"}
    command = [str(python), "-I", str(FILES), *arguments]
    with log.open("ab") as errors, Guarded(command, stdout=subprocess.PIPE, stderr=errors, env=variables) as guarded:
        try:
            output, _ = guarded.process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            guarded.end()
            output, _ = guarded.process.communicate()
    return [json.loads(line) for line in output.decode().splitlines() if line.startswith(("[", "{"))]


@functools.cache
def items_of(view: str, periodic: bool | None) -> Items:
    """Return two items that a target with this view reads."""
    for name in ("qm9-1k", "mp-1k", "proteins-500"):  # small, and shipped
        items = open_dataset(name).head(2)
        if items.has_view(view) and periodic in (None, name == "mp-1k"):
            return items
    raise AssertionError(view)


def attack(target: Target, files: Sequence[dict[str, str]], folder: Path, *, trusted: bool = False) -> list[Any]:
    """Load each file with the adapter in its environment, past the first look; how each ended."""
    python = python_of(Header.of(target.path))
    assert python is not None
    items_file = folder / "items.npz"
    items_of(target.card.input_view, target.card.periodic).save(items_file, view=target.card.input_view)
    job = target_job(target, items_file, "embed", folder=folder / "shards")
    job["weights"] = {**job["weights"], "kind": "file", "trusted": trusted, "expected_sha256": None}
    outcomes: list[Any] = [None] * len(files)
    begin = 0
    while begin < len(files):  # a file may end the process: the next one begins another
        content = {"package": str(Path(consilience.__file__).parent), "job": job, "files": list(files[begin:])}
        (folder / "jobs.json").write_text(json.dumps(content), "utf-8")
        said = run(python, "load", str(folder / "jobs.json"), scratch=folder, log=folder / "log")
        for one in said:
            if "number" in one:
                outcomes[begin + one["number"]] = one
        last = max((one["begin"] for one in said if "begin" in one), default=0)
        if outcomes[begin + last] is None:
            outcomes[begin + last] = {"reason": "the worker ended", "gate": False, "reached": True, "loaded": False}
        begin += last + 1
    return outcomes


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Write the files, those that torch and h5py write with the environments of two adapters."""
    folder = tmp_path_factory.mktemp("hostile")
    written = hostile_files.write(folder)
    for name in ("mace-mh-1", "megnet-band-gap"):
        python = python_of(Header.of(get_target(name).path))
        if python is not None:
            (folder / name).mkdir()
            (more,) = run(python, "write", str(folder / name), "programs", scratch=folder, log=folder / "log")
            written += more
    return written


def with_suffix(files: list[dict[str, str]], suffix: str, folder: Path) -> list[dict[str, str]]:
    """Return the files under names that end in a suffix, as an adapter expects them."""
    renamed = []
    for number, one in enumerate(files):
        path = Path(one["path"])
        if suffix != ".pt" and path.is_file() and path.suffix == ".pt":
            path = folder / f"file{number}{suffix}"
            path.hardlink_to(one["path"])
        renamed.append({**one, "path": str(path)})
    return renamed


def ran(files: list[dict[str, str]]) -> list[str]:
    """Names of the files whose code ran, and forget it."""
    names = []
    for one in files:
        mark = Path(one["mark"])
        if mark.exists():
            names.append(one["name"])
            mark.rmdir() if mark.is_dir() else mark.unlink()
    return names


@pytest.mark.environment
@pytest.mark.parametrize(
    "name",
    [
        name if target.path.name in DAILY else pytest.param(name, marks=pytest.mark.nightly)
        for name, target in adapters().items()
    ],
)
def test_no_hostile_file_runs_code(tmp_path: Path, files: list[dict[str, str]], name: str) -> None:
    """Past the first look, too: what the worker's gate and the adapter itself let through is what is tested."""
    target = get_target(name)
    if python_of(Header.of(target.path)) is None:
        pytest.skip("its environment is not built")
    own = with_suffix(files, SUFFIXES.get(target.path.name, ".pt"), tmp_path)
    refusals: list[str] = []
    for one in own:
        try:
            target.from_checkpoint(one["path"])
        except (ValueError, OSError) as error:
            refusals.append(str(error))
    assert not any("\n" in one for one in refusals)
    assert not ran(own)
    outcomes = attack(target, own, tmp_path)
    reached, gated = sum(o["reached"] for o in outcomes), sum(o["gate"] for o in outcomes)
    tried = sum("left_out" not in o for o in outcomes)
    print(f"{name}: {len(own)} files, {len(refusals)} refused at the first look;", end=" ")
    print(f"past it {tried} tried, {reached} read, {gated} refused by the gate")
    if os.environ.get("CONSILIENCE_HOSTILE_REPORT"):
        for one, how in zip(own, outcomes, strict=True):
            print(f"  {one['name']}: {how}")
    assert not ran(own)
    assert tried > len(own) // hostile_files.EVERY
    for one, how in zip(own, outcomes, strict=True):
        assert how["loaded"] or how["reason"], one["name"]
        assert "\n" not in (how["reason"] or ""), one["name"]


@pytest.mark.environment
def test_the_same_files_run_code_once_they_are_trusted(tmp_path: Path, files: list[dict[str, str]]) -> None:
    """The files are what they claim to be: on the user's word, an adapter that unpickles runs them."""
    target = get_target("mace-mh-1")
    if python_of(Header.of(target.path)) is None:
        pytest.skip("its environment is not built")
    attack(target, files, tmp_path, trusted=True)
    names = ran(files)
    print(f"{target.name}: {len(names)} of {len(files)} ran code when trusted")
    assert {"os.system, protocol 0", "computed texts", "memo", "legacy torch", "TorchScript, setstate"} <= set(names)
    assert len(names) >= 50


#: Files that run nothing by themselves: configurations, and archives that no reader opens.
HARMLESS_TO_READ = (
    "zip behind text", "tar of torch, old tar", "text that is not ASCII first", "gz of a torch zip", "JSON first",
    "JSON of MSONable", "YAML", "hparams", "AIMNet", "ONNX", "nequix", "auto_map", "configurations", "a class",
    "modules of the names",
)  # fmt: skip


def test_the_first_look_refuses_what_an_unpickler_would_run(tmp_path: Path) -> None:
    written = hostile_files.write(tmp_path)
    assert len(written) > 100
    for one in written:
        if one["name"].startswith(HARMLESS_TO_READ):
            continue
        try:
            refused = recognise(Path(one["path"])).runs_code
        except CheckpointError:  # an index that names files elsewhere
            refused = True
        assert refused, one["name"]
    assert not ran(written)


PICKLES = """
import json, pathlib, pickle, sys
from consilience.isolation import gate
for name, path in json.load(open(sys.argv[1])):
    gate.close(pathlib.Path(path), how_to_trust="say so") if name == "os.system, protocol 0" else None
    for options in ({}, {"encoding": "latin1"}):
        try:
            with open(path, "rb") as file:
                while True:
                    pickle.load(file, **options)
        except Exception as error:
            if type(error).__name__ != "UntrustedError":
                print(name, type(error).__name__, error)
"""


def test_the_gate_refuses_every_pickle(tmp_path: Path) -> None:
    """Without the first look, by Python's own unpickler, whatever the opcodes are made to hide."""
    files = hostile_files.write(tmp_path)[: len(hostile_files.pickles())]
    (tmp_path / "files.json").write_text(json.dumps([(one["name"], one["path"]) for one in files]))
    done = subprocess.run(
        [sys.executable, "-c", PICKLES, str(tmp_path / "files.json")], capture_output=True, text=True, check=True
    )
    print(done.stdout)
    assert not ran(files)
    assert len(done.stdout.splitlines()) <= 4  # damaged ones, such as a frame that is too long
