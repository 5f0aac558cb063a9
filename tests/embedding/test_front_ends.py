"""Each kind of input is noticed by each front end: pytest, ``consilience run`` and the steps of the action.

Every kind is real: a real reader, a real installed package, the front end as its user starts it. By hand, before an
issue is resolved (``make test-nightly``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from consilience.header import Header
from consilience.isolation.environments import ensure

ROOT = Path(__file__).resolve().parents[2]
TARGET = """\
import os
import pathlib
import numpy as np
from consilience import Card, Embedded, target

HERE = pathlib.Path(__file__).parent

@target(Card(name="reader", family="reader", modality="atoms"))
def load(card, weights, device):
    with (HERE.parent / "loads").open("a") as file:
        file.write("x")
    power = read()
    def embed(items):
        return Embedded([np.histogram(a.get_all_distances() ** (power / 2), 24, (0.5, 8))[0] for a in items])
    return embed

def read():
"""
PACKAGE = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "mynet-installed"
version = "{version}"
[tool.setuptools]
py-modules = ["mynet_installed"]
"""


@dataclass(frozen=True)
class Kind:
    """A way to read a number.

    Attributes
    ----------
    read
        Body of the function that returns the number, in the target's file.
    write
        Python code that writes `value`; `project` is the target's folder, `above` the one around it.
    requires
        Packages of the target's own environment, with which `write` runs, too.
    variable
        Environment variable that names a path, handed on to workers.
    """

    read: str
    write: str
    requires: tuple[str, ...] = ()
    variable: str | None = None


_TEXT = "(project / 'w.txt').write_text(f'{value:g}')"
_MODULE = "path.parent.mkdir(exist_ok=True); path.write_text(f'WEIGHT = {value}\\n')"
KINDS = {
    "same size and time": Kind(
        "return float((HERE / 'w.txt').read_text())", f"{_TEXT}\nos.utime(project / 'w.txt', (1e9, 1e9))"
    ),
    "safetensors": Kind(
        "from safetensors import safe_open\n"
        "with safe_open(HERE / 'w.safetensors', 'numpy') as file:\n    return float(file.get_tensor('w')[0])",
        "from safetensors.numpy import save_file\nsave_file({'w': np.full(4, value)}, project / 'w.safetensors')",
    ),
    "TorchScript": Kind(
        "import torch\nreturn float(torch.jit.load(str(HERE / 'w.pt'))(torch.zeros(1)))",
        # Of the same network torch does not always write the same bytes.
        "import torch, shutil\nfile = above / f'{value:g}.pt'\nif not file.exists():\n"
        "    torch.jit.script(torch.nn.Threshold(value, value)).save(str(file))\n"
        "shutil.copyfile(file, project / 'w.pt')",
    ),
    "memory map": Kind(
        "return float(np.load(HERE / 'w.npy', mmap_mode='r')[0])", "np.save(project / 'w.npy', np.full(3, value))"
    ),
    "sqlite": Kind(
        "import sqlite3\nreturn sqlite3.connect(HERE / 'w.db').execute('select value from w').fetchone()[0]",
        "import sqlite3\n(project / 'w.db').unlink(missing_ok=True)\nwith sqlite3.connect(project / 'w.db') as db:\n"
        "    db.execute('create table w (value real)')\n    db.execute('insert into w values (?)', (value,))",
    ),
    "LMDB": Kind(
        "import lmdb\nwith lmdb.open(str(HERE / 'w.lmdb'), readonly=True).begin() as reader:\n"
        "    return float(reader.get(b'w'))",
        "import lmdb, shutil\nshutil.rmtree(project / 'w.lmdb', ignore_errors=True)\n"
        "with lmdb.open(str(project / 'w.lmdb')).begin(write=True) as writer:\n    writer.put(b'w', b'%g' % value)",
        requires=("numpy", "ase", "lmdb"),
    ),
    "HDF5": Kind(
        "import h5py\nreturn float(h5py.File(HERE / 'w.h5')['w'][()])",
        "import h5py\nwith h5py.File(project / 'w.h5', 'w') as file:\n    file['w'] = value",
    ),
    "ONNX with external data": Kind(
        "import onnx\nfrom onnx import numpy_helper\nmodel = onnx.load(HERE / 'w.onnx')\n"
        "return float(numpy_helper.to_array(model.graph.initializer[0])[0])",
        "import onnx\nfrom onnx import helper, numpy_helper\n"
        "(project / 'w.bin').unlink(missing_ok=True)\n"
        "weight = numpy_helper.from_array(np.full(1000, value, np.float32), 'w')\n"
        "output = helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, [1000])\n"
        "graph = helper.make_graph([helper.make_node('Identity', ['w'], ['y'])], 'g', [], [output], [weight])\n"
        "onnx.save(helper.make_model(graph), project / 'w.onnx', save_as_external_data=True, location='w.bin')\n",
        requires=("numpy", "ase", "onnx"),
    ),
    "a configuration in YAML": Kind(
        "import yaml\nreturn float(yaml.safe_load((HERE / 'config.yaml').open())['weight'])",
        "(project / 'config.yaml').write_text(f'weight: {value}\\n')",
    ),
    "a symbolic link": Kind(
        "return float((HERE / 'current').read_text())",
        "path = above / f'w{value:g}.txt'\npath.write_text(f'{value:g}')\n"
        "(project / 'current').unlink(missing_ok=True)\n(project / 'current').symlink_to(path)",
    ),
    "files that match a pattern": Kind(
        "return float(len(list((HERE / 'members').glob('*.txt'))))",
        "(project / 'members').mkdir(exist_ok=True)\n"
        "[one.unlink() for one in (project / 'members').iterdir()]\n"
        "[(project / 'members' / f'{i}.txt').write_text('1') for i in range(int(value))]",
    ),
    "a path from an environment variable": Kind(
        "return float(pathlib.Path(os.environ['MY_WEIGHTS'], 'w.txt').read_text())",
        "(above / 'elsewhere').mkdir(exist_ok=True)\n(above / 'elsewhere' / 'w.txt').write_text(f'{value:g}')",
        variable="MY_WEIGHTS",
    ),
    "a file under home": Kind(
        "return float((pathlib.Path.home() / 'models' / 'w.txt').read_text())",
        "(above / 'elsewhere' / 'models').mkdir(exist_ok=True, parents=True)\n"
        "(above / 'elsewhere' / 'models' / 'w.txt').write_text(f'{value:g}')",
        variable="HOME",
    ),
    "a child process": Kind(
        "import subprocess\nreturn float(subprocess.run(['cat', HERE / 'w.txt'], capture_output=True).stdout)", _TEXT
    ),
    "a helper": Kind(
        "from _reader_helper import WEIGHT\nreturn WEIGHT", f"path = project / '_reader_helper.py'\n{_MODULE}"
    ),
    "a module beside": Kind(
        "import mynet_beside\nreturn mynet_beside.WEIGHT", f"path = project / 'mynet_beside.py'\n{_MODULE}"
    ),
    "a package above": Kind(
        "from mynet_above.net import WEIGHT\nreturn WEIGHT",
        f"path = above / 'mynet_above' / 'net.py'\n{_MODULE}\n(path.parent / '__init__.py').touch()",
    ),
    "a namespace package": Kind(
        "from mynet_space.net import WEIGHT\nreturn WEIGHT", f"path = project / 'mynet_space' / 'net.py'\n{_MODULE}"
    ),
    "a compiled extension": Kind(
        "import mynet_compiled\nreturn float(mynet_compiled.weight())",
        "import subprocess, sysconfig\n"
        "source = above / 'compiled.c'\n"
        "source.write_text('''\n"
        "#include <Python.h>\n"
        "static PyObject *weight(PyObject *a, PyObject *b) { return PyFloat_FromDouble(%g); }\n"
        'static PyMethodDef methods[] = {{"weight", weight, METH_NOARGS, ""}, {NULL}};\n'
        'static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "mynet_compiled", "", -1, methods};\n'
        "PyMODINIT_FUNC PyInit_mynet_compiled(void) { return PyModule_Create(&module); }\n"
        "''' % value)\n"
        "output = project / ('mynet_compiled' + sysconfig.get_config_var('EXT_SUFFIX'))\n"
        "output.unlink(missing_ok=True)\n"
        "include = sysconfig.get_paths()['include']\n"
        "subprocess.run(['cc', '-shared', '-fPIC', '-w', f'-I{include}', source, '-o', output], check=True)",
    ),
}
_INSTALL = (
    "import subprocess\n"
    "source = above / f'source{SUFFIX}'\nsource.mkdir(exist_ok=True)\n"
    f"(source / 'pyproject.toml').write_text({PACKAGE!r}.format(version=VERSION))\n"
    "(source / 'mynet_installed.py').write_text(f'WEIGHT = {value}\\n')\n"
    "command = [sys.executable, '-m', 'uv', 'pip', 'install', '--quiet', '--reinstall-package', 'mynet-installed']\n"
    "subprocess.run([*command, '--python', sys.executable, *OPTIONS, source], check=True)"
)
INSTALLED = {
    "an editable install": Kind(
        "import mynet_installed\nreturn mynet_installed.WEIGHT",
        "SUFFIX, VERSION, OPTIONS = '', '1', ['--editable']\n" + _INSTALL,
    ),
    "a package upgraded in place": Kind(
        "import mynet_installed\nreturn mynet_installed.WEIGHT",
        "SUFFIX, VERSION, OPTIONS = f'{value:g}', f'{value:g}', []\n" + _INSTALL,
    ),
}


class Place:
    """A repository of an author, its cache, and the interpreter that its user starts."""

    def __init__(self, folder: Path, kind: Kind, python: Path) -> None:
        self.folder, self.kind, self.python = folder, kind, python
        self.project = folder / "project"
        self.project.mkdir()
        header = "".join(f"# {line}\n" for line in ("/// script", f"dependencies = {json.dumps(kind.requires)}", "///"))
        self.file = self.project / "target_reader.py"
        self.file.write_text((header if kind.requires else "") + TARGET + textwrap.indent(kind.read, "    ") + "\n")
        self.writer = ensure(Header.of(self.file)) if kind.requires else python

    def write(self, value: float) -> None:
        code = (
            "import os, pathlib, sys\nimport numpy as np\n"
            "above, value = pathlib.Path(sys.argv[1]), float(sys.argv[2])\n"
            f"project = above / 'project'\n{self.kind.write}\n"
        )
        done = subprocess.run(
            [self.writer, "-c", code, self.folder, str(value)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def score(self, front_end: str, cache: Path) -> float:
        """Alignment that this front end reports."""
        variables = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
        variables |= {"CONSILIENCE_CACHE": str(cache), "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"}
        if self.kind.variable is not None:
            variables |= {
                "CONSILIENCE_PASS_ENV": self.kind.variable, self.kind.variable: str(self.folder / "elsewhere")
            }  # fmt: skip
        output = self.folder / "run.json"
        output.unlink(missing_ok=True)
        sample = ("datasets=qm9-1k", "limit=60")
        if front_end == "pytest":
            options = [f"--align-{one}" for one in (*sample, f"save={output}")]
            command = ["-m", "pytest", "-p", "no:cacheprovider", "--benchmark", self.file.name, *options]
        elif front_end == "run":
            options = [f"--{one}" for one in (*sample, f"save={output}")]
            command = ["-m", "consilience", "run", "--targets", self.file.name, *options]
        else:
            inputs = [part for one in (f"target={self.file.name}", *sample) for part in ("--input", one)]
            command = [str(ROOT / "scripts" / "run_action.py"), str(self.project), "--skip", "Install", *inputs]
            output = self.project / "consilience-report" / "run.json"
            output.unlink(missing_ok=True)
        done = subprocess.run(
            [self.python, *command], cwd=self.project, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        content = json.loads(output.read_text())
        if front_end == "action":  # it writes a board
            (row,) = (row for row in content["datasets"][0]["rows"] if row["target"] == "reader")
            assert row["state"] == "ok", row["reason"]
            return float(row["alignment"]["beyond_composition"]["value"])
        (record,) = content["records"]
        assert record["state"] == "ok", record["reason"]
        return float(record["scores"]["beyond_composition"]["alignment"]["value"])

    @property
    def loads(self) -> int:
        return len((self.folder / "loads").read_text())


@pytest.fixture(scope="module")
def own_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a copy of this environment, into which packages may be installed."""
    folder = tmp_path_factory.mktemp("python") / "venv"
    try:
        shutil.copytree(sys.prefix, folder, symlinks=True, copy_function=os.link)
    except OSError:  # on another disk
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sys.prefix, folder, symlinks=True)
    return folder / "bin" / "python"


def judge(place: Place, front_end: str, cache: Path) -> Iterator[str]:
    """What is wrong: a change that is not noticed, or an embedding made again without one."""
    place.write(2)
    first, loads = place.score(front_end, cache), place.loads
    if place.score(front_end, cache) != first or place.loads != loads:
        yield "made again, though nothing changed"
    place.write(3)
    second = place.score(front_end, cache)
    if second == first or place.loads == loads:
        yield "the change was not noticed"
    loads = place.loads
    place.write(2)
    if place.score(front_end, cache) != first:
        yield "not the first score after the change was taken back"
    if place.loads != loads:
        yield "made again, though it is as it was"


@pytest.mark.nightly
@pytest.mark.parametrize("front_end", ["pytest", "run", "action"])
@pytest.mark.parametrize("name", KINDS)
def test_a_change_is_noticed(tmp_path: Path, name: str, front_end: str) -> None:
    place = Place(tmp_path, KINDS[name], Path(sys.executable))
    assert not list(judge(place, front_end, tmp_path / "cache"))


@pytest.mark.nightly
@pytest.mark.parametrize("front_end", ["pytest", "run", "action"])
@pytest.mark.parametrize("name", INSTALLED)
def test_a_change_of_an_installed_package_is_noticed(
    tmp_path: Path, own_python: Path, name: str, front_end: str
) -> None:
    place = Place(tmp_path, INSTALLED[name], own_python)
    assert not list(judge(place, front_end, tmp_path / "cache"))
