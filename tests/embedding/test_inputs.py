"""A stored embedding is read only while all that its target read is unchanged."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consilience.datasets.items import Items, open_dataset
from consilience.embedding import inputs as module
from consilience.embedding.embed import embed
from consilience.embedding.errors import EmbeddingFailedError
from consilience.embedding.identity import identify
from consilience.embedding.inputs import Inputs, Origin, collect
from consilience.embedding.store import Store
from consilience.registry import Target, load_target_file

NUMBERS = itertools.count()
HEAD = """\
import os
import pathlib
import numpy as np
from consilience import Card, Embedded, target

HERE = pathlib.Path(__file__).parent

@target(Card(name="NAME", family="reader", modality="atoms"))
def load(card, weights, device):
    weight = read()
    def embed(items):
        return Embedded([[len(a) * weight, a.positions.std()] for a in items])
    return embed
"""


@pytest.fixture(scope="module")
def items() -> Items:
    return open_dataset("qm9-1k").head(12)


class Case:
    """A target file in a folder, and the store of its rows."""

    def __init__(self, folder: Path, items: Items) -> None:
        self.folder, self.items = folder, items
        self.name = f"reader-{next(NUMBERS)}"  # a name is registered once per process
        self.store = Store(folder / "store", shipped=None)
        self.project = folder / "project"
        self.project.mkdir()

    def write(self, body: str, *, header: str = "") -> None:
        text = (
            header
            + HEAD.replace("NAME", self.name)
            + "\ndef read():\n"
            + textwrap.indent(textwrap.dedent(body), "    ")
        )
        (self.project / "target_reader.py").write_text(text, "utf-8")

    @property
    def target(self) -> Target:
        return load_target_file(self.project / "target_reader.py")[0]

    def weight(self) -> float:
        """What the rows were made with: read from the store where they are valid."""
        rows = embed(self.target, self.items, self.store).features[:, 0]
        return float(rows[0] / len(self.items.view("atoms")[0]))

    @property
    def is_stored(self) -> bool:
        return self.store.contains(identify(self.target, self.items))


@pytest.fixture
def case(tmp_path: Path, items: Items) -> Case:
    return Case(tmp_path, items)


def number(path: Path, value: float) -> None:
    """Write a number of one digit, in the same size and with the same time as before."""
    before = path.stat() if path.exists() else None
    path.write_text(f"{value:g}")
    if before is not None:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_rows_are_read_again_while_nothing_changes(case: Case) -> None:
    case.write("return float((HERE / 'w.txt').read_text())\n")
    number(case.project / "w.txt", 2)
    assert not case.is_stored
    assert case.weight() == 2
    assert case.is_stored
    (case.project / "notes.txt").write_text("not read by the target")
    (case.project / ".consilience").mkdir()
    assert case.is_stored


def _text(case: Case) -> None:
    number(case.project / "w.txt", 3)


def _yaml(case: Case) -> None:
    (case.project / "config.yaml").write_text("weight: 3\n")


def _numpy(case: Case) -> None:
    np.save(case.project / "w.npy", np.full(3, 3.0))


def _sqlite(case: Case) -> None:
    connection = sqlite3.connect(case.project / "w.db")
    connection.execute("update w set value = 3")
    connection.commit()
    connection.close()


def _add(case: Case) -> None:
    (case.project / "members" / "b.txt").write_text("1")


def _swap(case: Case) -> None:
    link = case.project / "current"
    link.unlink()
    link.symlink_to(case.folder / "b.txt")


def _safetensors(case: Case) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.full(4, 3.0)}, case.project / "w.safetensors")


def _h5(case: Case) -> None:
    import h5py

    with h5py.File(case.project / "w.h5", "w") as file:
        file["w"] = 3.0


def _arrow(case: Case) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"w": [3.0]}), case.project / "w.parquet")


def _smiles(case: Case) -> None:
    (case.project / "w.smi").write_text("CCC a\n")


def _home(case: Case) -> None:
    number(case.folder / "elsewhere" / "w.txt", 3)


def _appears(case: Case) -> None:
    (case.project / "override.txt").write_text("3")


READERS: dict[str, tuple[str, Callable[[Case], None], Callable[[Case], None]]] = {
    "text, same size and time": (
        "return float((HERE / 'w.txt').read_text())\n",
        lambda case: number(case.project / "w.txt", 2),
        _text,
    ),
    "YAML": (
        "import yaml\nreturn float(yaml.safe_load((HERE / 'config.yaml').open())['weight'])\n",
        lambda case: (case.project / "config.yaml").write_text("weight: 2\n"),
        _yaml,
    ),
    "memory map": (
        "return float(np.load(HERE / 'w.npy', mmap_mode='r')[0])\n",
        lambda case: np.save(case.project / "w.npy", np.full(3, 2.0)),
        _numpy,
    ),
    "sqlite": (
        "import sqlite3\nreturn float(sqlite3.connect(HERE / 'w.db').execute('select value from w').fetchone()[0])\n",
        lambda case: _new_table(case.project / "w.db"),
        _sqlite,
    ),
    "safetensors": (
        "from safetensors import safe_open\n"
        "with safe_open(HERE / 'w.safetensors', 'numpy') as file:\n    return float(file.get_tensor('w')[0])\n",
        lambda case: _save_safetensors(case, 2.0),
        _safetensors,
    ),
    "HDF5": (
        "import h5py\nreturn float(h5py.File(HERE / 'w.h5')['w'][()])\n",
        lambda case: _save_h5(case, 2.0),
        _h5,
    ),
    "Parquet": (
        "import pyarrow.parquet as pq\nreturn pq.read_table(HERE / 'w.parquet')['w'][0].as_py()\n",
        lambda case: _save_arrow(case, 2.0),
        _arrow,
    ),
    "a reader in C++": (
        "from rdkit import Chem\n"
        "path = str(HERE / 'w.smi')\n"
        "return float(next(iter(Chem.SmilesMolSupplier(path, titleLine=False))).GetNumAtoms())\n",
        lambda case: (case.project / "w.smi").write_text("CC a\n"),
        _smiles,
    ),
    "a child process": (
        "import subprocess\n"
        "return float(subprocess.run(['cat', HERE / 'w.txt'], capture_output=True, text=True).stdout)\n",
        lambda case: number(case.project / "w.txt", 2),
        _text,
    ),
    "a file elsewhere": (
        "import subprocess\n"
        "path = HERE.parent / 'elsewhere' / 'w.txt'\n"
        "return float(subprocess.run(['cat', path], capture_output=True, text=True).stdout)\n",
        lambda case: ((case.folder / "elsewhere").mkdir(), number(case.folder / "elsewhere" / "w.txt", 2)),
        _home,
    ),
    "a symbolic link": (
        "return float((HERE / 'current').read_text())\n",
        lambda case: (
            number(case.folder / "a.txt", 2),
            number(case.folder / "b.txt", 3),
            (case.project / "current").symlink_to(case.folder / "a.txt"),
        ),
        _swap,
    ),
    "files that match a pattern": (
        "return 1 + float(len(list((HERE / 'members').glob('*.txt'))))\n",
        lambda case: ((case.project / "members").mkdir(), (case.project / "members" / "a.txt").write_text("1")),
        _add,
    ),
    "a file that was not there": (
        "path = HERE / 'override.txt'\n"
        "try:\n    return float(path.read_text())\nexcept FileNotFoundError:\n    return 2.0\n",
        lambda case: None,
        _appears,
    ),
    "a module beside": (
        "import mynet_beside\nreturn mynet_beside.WEIGHT\n",
        lambda case: (case.project / "mynet_beside.py").write_text("WEIGHT = 2.0\n"),
        lambda case: (case.project / "mynet_beside.py").write_text("WEIGHT = 3.0\n"),
    ),
    "a helper": (
        "from _reader_helper import WEIGHT\nreturn WEIGHT\n",
        lambda case: (case.project / "_reader_helper.py").write_text("WEIGHT = 2.0\n"),
        lambda case: (case.project / "_reader_helper.py").write_text("WEIGHT = 3.0\n"),
    ),
    "a package above": (
        "from mynet_above.net import WEIGHT\nreturn WEIGHT\n",
        lambda case: _package(case.folder / "mynet_above", 2.0),
        lambda case: (case.folder / "mynet_above" / "net.py").write_text("WEIGHT = 3.0\n"),
    ),
    "a namespace package": (
        "from mynet_space.net import WEIGHT\nreturn WEIGHT\n",
        lambda case: ((case.project / "mynet_space").mkdir(), _module(case.project / "mynet_space" / "net.py", 2.0)),
        lambda case: _module(case.project / "mynet_space" / "net.py", 3.0),
    ),
}


def _new_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table w (value real)")
    connection.execute("insert into w values (2)")
    connection.commit()
    connection.close()


def _save_safetensors(case: Case, value: float) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.full(4, value)}, case.project / "w.safetensors")


def _save_h5(case: Case, value: float) -> None:
    import h5py

    with h5py.File(case.project / "w.h5", "w") as file:
        file["w"] = value


def _save_arrow(case: Case, value: float) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"w": [value]}), case.project / "w.parquet")


def _module(path: Path, value: float) -> None:
    path.write_text(f"WEIGHT = {value}\n")


def _package(folder: Path, value: float) -> None:
    folder.mkdir()
    (folder / "__init__.py").touch()
    _module(folder / "net.py", value)


#: One of each way to read; the others are in the second tier.
QUICK = {
    "text, same size and time",
    "a reader in C++",
    "a child process",
    "a module beside",
    "files that match a pattern",
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in READERS]
)
def test_a_change_of_what_was_read_is_noticed(case: Case, name: str) -> None:
    body, prepare, change = READERS[name]
    prepare(case)
    case.write(body)
    assert case.weight() == 2
    assert case.is_stored
    change(case)
    assert not case.is_stored
    assert case.weight() == 3


@pytest.mark.slow  # torch
@pytest.mark.parametrize("mapped", [False, True])
def test_weights_read_by_torch_are_noticed(case: Case, mapped: bool) -> None:
    import torch

    def save(value: float) -> None:
        if mapped:
            torch.save({"w": torch.full((4,), value)}, case.project / "w.pt")
        else:
            torch.jit.script(torch.nn.Threshold(value, value)).save(str(case.project / "w.pt"))

    save(2.0)
    case.write(
        "import torch\nreturn float(torch.load(HERE / 'w.pt', mmap=True)['w'][0])\n"
        if mapped
        else "import torch\nreturn float(torch.jit.load(str(HERE / 'w.pt'))(torch.zeros(1)))\n"
    )
    assert case.weight() == 2
    save(3.0)
    assert not case.is_stored
    assert case.weight() == 3


def test_rows_of_two_branches_are_kept(case: Case) -> None:
    case.write("return float((HERE / 'w.txt').read_text())\n")
    for value in (2, 3):
        number(case.project / "w.txt", value)
        assert case.weight() == value
    number(case.project / "w.txt", 2)
    assert case.is_stored
    assert embed(case.target, case.items, case.store, progress=lambda *_: pytest.fail("embedded")).features[0, 0] > 0
    keys = set()
    for value in (2, 3):
        number(case.project / "w.txt", value)
        entry = case.store.find(identify(case.target, case.items))
        assert entry is not None
        keys.add(entry.key)
    assert len(keys) == 2


@pytest.mark.slow
def test_a_folder_called_like_a_lock_counts(case: Case) -> None:
    case.write("return float((HERE / 'dead-lock' / 'w.txt').read_text())\n")
    (case.project / "dead-lock").mkdir()
    number(case.project / "dead-lock" / "w.txt", 2)
    assert case.weight() == 2
    number(case.project / "dead-lock" / "w.txt", 3)
    assert not case.is_stored


def test_a_folder_that_moved_keeps_its_rows(case: Case) -> None:
    case.write("import mynet_moved\nreturn mynet_moved.WEIGHT + float((HERE / 'w.txt').read_text())\n")
    number(case.project / "w.txt", 1)
    _module(case.project / "mynet_moved.py", 1.0)
    assert case.weight() == 2
    target = case.target
    moved = case.project.rename(case.folder / "renamed")
    target = replace(target, path=moved / "target_reader.py")
    assert case.store.contains(identify(target, case.items))


def test_a_name_relative_to_the_working_folder_counts_with_it(
    case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case.write("return float(open('w.txt').read())\n")
    for value in (2, 3):
        folder = tmp_path / f"at{value}"
        folder.mkdir()
        number(folder / "w.txt", value)
        monkeypatch.chdir(folder)
        assert case.weight() == value
    monkeypatch.chdir(tmp_path / "at2")
    assert case.is_stored


def test_an_upgraded_package_is_noticed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.write("return 2.0\n")
    assert case.weight() == 2
    entry = case.store.find(identify(case.target, case.items))
    assert entry is not None
    assert entry.inputs is not None
    assert entry.inputs.packages["numpy"] == np.__version__
    older = dict(entry.inputs.packages) | {"numpy": "0.1"}
    changed = Inputs(entry.inputs.files, entry.inputs.folders, older, {}, entry.inputs.settings)
    (line,) = module.changes(changed, Origin.of(case.target), {})
    assert line == f"package numpy was 0.1, is {np.__version__}"


def test_a_file_that_changes_while_it_is_read_fails_the_cell(case: Case) -> None:
    case.write("text = (HERE / 'w.txt').read_text()\nos.replace(HERE / 'x.txt', HERE / 'w.txt')\nreturn float(text)\n")
    number(case.project / "w.txt", 2)
    number(case.project / "x.txt", 3)
    with pytest.raises(EmbeddingFailedError, match=r"w\.txt changed while reader-\d+ read it; run it again"):
        case.weight()
    assert not case.is_stored


def test_what_the_target_writes_is_no_input(case: Case) -> None:
    case.write(
        "out = HERE / 'out'\nout.mkdir(exist_ok=True)\n(out / 'log.txt').write_text('x')\n"
        "assert (out / 'log.txt').read_text() == 'x'\nreturn 2.0\n"
    )
    assert case.weight() == 2
    (case.project / "out" / "log.txt").write_text("y")
    assert case.is_stored


def test_inputs_that_a_header_names_count(case: Case) -> None:
    header = '# /// script\n# dependencies = ["numpy", "ase"]\n# [tool.consilience]\n# inputs = ["data"]\n# ///\n'
    case.write("return 2.0\n", header=header)
    with pytest.raises(EmbeddingFailedError, match="inputs: nothing matches 'data'"):
        case.weight()
    (case.project / "data").mkdir()
    number(case.project / "data" / "a.txt", 1)
    assert case.weight() == 2
    number(case.project / "data" / "a.txt", 2)
    assert not case.is_stored


def test_where_nothing_can_be_observed_the_whole_folder_counts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.write("return 2.0\n")
    number(case.project / "w.txt", 1)
    report = {name: [] for name in ("files", "written", "folders", "searched", "relative", "modules", "installed")}
    report |= {"complete": False, "packages": {}}
    assert set(collect(report, None, case.target).files) == {"<target>/w.txt"}
    monkeypatch.setattr(module, "MAX_FILES", 1)
    with pytest.raises(
        module.InputsError, match=r'name them in its header: \[tool.consilience\] inputs = \["\*\.pt"\]'
    ):
        collect(report, None, case.target)


@pytest.mark.parametrize("changed", [False, True])
def test_a_killed_run_goes_on_only_where_nothing_changed(tmp_path: Path, changed: bool) -> None:
    """Rows made with other weights are never mixed."""
    case = Case(tmp_path, open_dataset("qm9-1k").head(300))
    case.write("return float((HERE / 'w.txt').read_text())\n")
    path = case.project / "target_reader.py"
    stop = (
        "        global done\n"
        "        with (HERE / 'calls').open('a') as file:\n            file.write('x')\n"
        "        if done >= 256 and not (HERE.parent / 'go').exists():\n"
        "            import time\n"
        "            while not list((HERE.parent / 'store').rglob('read.json')):\n                time.sleep(0.01)\n"
        "            os._exit(9)\n"
        "        done += len(items)\n"
    )
    text = path.read_text().replace("    def embed(items):\n", f"    def embed(items):\n{stop}")
    path.write_text(text.replace("HERE =", "done = 0\nHERE ="))
    number(case.project / "w.txt", 2)
    with pytest.raises(EmbeddingFailedError, match="exit code 9"):
        case.weight()
    assert list(case.store.cell(identify(case.target, case.items)).glob("shard-*.safetensors"))
    (case.folder / "go").touch()
    (case.project / "calls").unlink()
    if changed:
        number(case.project / "w.txt", 3)
    rows = embed(case.target, case.items, case.store).features[:, 0]
    sizes = np.float32([len(a) for a in case.items.view("atoms")])
    np.testing.assert_array_equal(rows, np.float32(3 if changed else 2) * sizes)
    assert len((case.project / "calls").read_text()) == (10 if changed else 2)


def test_a_compiled_extension_counts(case: Case) -> None:
    """One of the standard library's, copied: it lies outside the installed packages."""
    import _json

    library = shutil.copy(_json.__file__, case.project)
    case.write(
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('_json', HERE / {Path(library).name!r})\n"
        "own = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(own)\nsys.modules['own'] = own\n"
        "return 2.0\n"
    )
    assert case.weight() == 2
    with Path(library).open("ab") as file:
        file.write(b"\0")
    assert not case.is_stored


def test_many_threads_read_digests(case: Case) -> None:
    """CPython's syntax trees are not safe in threads; the digest is."""
    case.write("return 2.0\n")
    digests, failures = set(), []

    def digest() -> None:
        from consilience.embedding import code

        try:
            for _ in range(30):
                code._module_digest.cache_clear()
                digests.add(code.code_digest(case.project / "target_reader.py"))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=digest) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(digests) == 1


@pytest.mark.slow
def test_digests_are_equal_on_all_pythons() -> None:
    """An embedding made with one version of Python is found by another."""
    root = Path(__file__).parents[2] / "suite" / "consilience"
    script = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('code_', sys.argv[1])\n"
        "code = importlib.util.module_from_spec(spec); sys.modules['code_'] = code; spec.loader.exec_module(code)\n"
        "for path in sorted(pathlib.Path(sys.argv[2]).rglob('*.py')):\n"
        "    print(path.name, code.code_digest(path))\n"
    )
    versions = Path.home() / ".pyenv" / "versions"
    pythons = [Path(sys.executable), *(path for path in versions.glob("3.1[123].*/bin/python"))]
    texts = set()
    for python in pythons:
        command = [str(python), "-I", "-c", script, str(root / "embedding" / "code.py"), str(root / "targets")]
        texts.add(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert len(texts) == 1
    if len(pythons) == 1:
        pytest.skip("no other Python lies under ~/.pyenv: pyenv install 3.12 3.13")
