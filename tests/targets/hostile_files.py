"""Files that would run code when they are read, and a process that hands them to a real adapter.

``python hostile_files.py write FOLDER WHAT`` writes them with the packages of the interpreter's environment;
``python hostile_files.py load JOBS.json`` loads each with an adapter in the way of the suite's worker and says, a JSON
line for each file, how it ended. Each file, if run, makes a file of its own in ``FOLDER/marks``.
"""

from __future__ import annotations

import base64
import bz2
import collections
import contextlib
import gzip
import importlib
import importlib.util
import io
import json
import lzma
import marshal
import os
import pickle
import signal
import struct
import sys
import tarfile
import textwrap
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: Names under which adapters look for files in a folder.
NAMES_IN_FOLDERS = (
    "pytorch_model.bin", "model.pt", "state.pt", "smi-ted-Light_40.pt", "model.bin", "tf_model.h5",
    "checkpoint.index", "flax_model.msgpack", "spiece.model", "m3gnet.index", "training_args.bin",
)  # fmt: skip
BERT = {
    "model_type": "bert", "architectures": ["BertModel"], "hidden_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30, "max_position_embeddings": 64,
}  # fmt: skip
#: Stops a file that takes longer.
SECONDS = 120
#: After so many seconds every fifth file is loaded only: some adapters build their network before they read a file.
ALL_WITHIN, EVERY = 150, 5


class Evil:
    """Runs a command of the shell when it is unpickled."""

    def __init__(self, mark: str, extended: bool = False) -> None:
        self.mark, self.extended = mark, extended

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (os.system, (f"touch '{self.mark}'",))


def _value(value: Any) -> bytes:
    """Opcodes that push a value."""
    return pickle.dumps(value, 2)[2:-1]


def call(module: str, name: str, *arguments: Any) -> bytes:
    """Pickle that calls a global, in opcodes of protocol 2; an argument of bytes that begins with a call is spliced."""
    pushed = b"".join(one.content if isinstance(one, Spliced) else _value(one) for one in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + pushed + b"tR."


class Spliced:
    """Opcodes of a pickle as an argument of another."""

    def __init__(self, pickled: bytes) -> None:
        self.content = pickled[2:-1]


def call4(module: bytes, name: bytes, *arguments: Any) -> bytes:
    """Pickle of protocol 4 that calls what two groups of opcodes name."""
    pushed = b"".join(_value(one) for one in arguments)
    return b"\x80\x04" + module + name + b"\x93(" + pushed + b"tR."


def nested(content: bytes) -> bytes:
    """Pickle of bytes, to be spliced into another."""
    return b"\x80\x02B" + struct.pack("<I", len(content)) + content + b"."


def text(value: str) -> bytes:
    """Opcode of a short text."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def computed(value: str) -> bytes:
    """Opcodes that make a text with `str`, a plain type: it stands nowhere as a text."""
    return (
        text("builtins") + text("str") + b"\x93(" + b"C" + bytes([len(value)]) + value.encode() + text("ascii") + b"tR"
    )


def pickles() -> dict[str, Callable[[str], bytes]]:
    """Pickles by name; each function takes the path of the mark."""

    def shell(mark: str) -> str:
        return f"touch '{mark}'"

    def code(mark: str) -> str:
        return f"open({mark!r}, 'w').close()"

    made: dict[str, Callable[[str], bytes]] = {
        f"os.system, protocol {p}": (lambda mark, p=p: pickle.dumps({"state_dict": Evil(mark)}, protocol=p))
        for p in range(6)
    }
    calls: dict[str, Callable[[str], tuple[Any, ...]]] = {
        "posix.system": lambda mark: ("posix", "system", shell(mark)),
        "builtins.exec": lambda mark: ("builtins", "exec", code(mark)),
        "builtins.eval": lambda mark: ("builtins", "eval", code(mark)),
        "__builtin__.eval": lambda mark: ("__builtin__", "eval", code(mark)),
        "commands.getoutput": lambda mark: ("commands", "getoutput", shell(mark)),
        "subprocess.Popen": lambda mark: ("subprocess", "Popen", ["touch", mark]),
        "subprocess.call": lambda mark: ("subprocess", "call", ["touch", mark]),
        "runpy._run_code": lambda mark: ("runpy", "_run_code", code(mark), {}),
        "timeit.main": lambda mark: ("timeit", "main", ["-n1", "-r1", code(mark)]),
        "cProfile.run": lambda mark: ("cProfile", "run", code(mark)),
        "pickle.loads": lambda mark: ("pickle", "loads", Spliced(nested(pickle.dumps(Evil(mark))))),
        "_pickle.loads": lambda mark: ("_pickle", "loads", Spliced(nested(pickle.dumps(Evil(mark))))),
        "torch.storage._load_from_bytes": lambda mark: (
            "torch.storage", "_load_from_bytes",
            Spliced(nested(legacy(pickle.dumps(Evil(mark), 2)))),
        ),
        "numpy.f2py.crackfortran.myeval": lambda mark: ("numpy.f2py.crackfortran", "myeval", code(mark), {}),
        "numpy.testing._private.utils.runstring": lambda mark: (
            "numpy.testing._private.utils", "runstring", code(mark), {},
        ),
        "shutil.copyfile": lambda mark: ("shutil", "copyfile", "/etc/passwd", mark),
        "os.mkdir": lambda mark: ("os", "mkdir", mark),
        "_io.open": lambda mark: ("_io", "open", mark, "w"),
        "logging.FileHandler": lambda mark: ("logging", "FileHandler", mark),
        "numpy.memmap": lambda mark: ("numpy", "memmap", mark, "u1", "w+", 0, 4),
        "torch.from_file": lambda mark: ("torch", "from_file", mark, True, 16),
        "codecs.open": lambda mark: ("codecs", "open", mark, "w"),
        "sqlite3.connect": lambda mark: ("sqlite3", "connect", mark),
        "getattr": lambda mark: ("builtins", "exec", Spliced(call("operator", "concat", "", code(mark)))),
    }  # fmt: skip
    made |= {name: (lambda mark, make=make: call(*make(mark))) for name, make in calls.items()}
    system = text("posix") + text("system")
    made |= {
        "a dotted name": lambda mark: call4(text("torch"), text("UntypedStorage.from_file"), mark, True, 16),
        "a dotted name of a plain class": lambda mark: call4(text("pathlib"), text("Path.touch"), Path(mark)),
        "memo": lambda mark: (
            b"\x80\x04" + text("posix") + b"\x940" + text("system") + b"\x940"
            + text("collections") + text("OrderedDict") + b"00" + b"h\x00h\x01\x93(" + _value(shell(mark)) + b"tR."
        ),
        "memo written twice": lambda mark: (
            b"\x80\x04" + text("collections") + b"q\x000" + text("posix") + b"q\x000" + text("OrderedDict") + b"q\x010"
            + text("system") + b"q\x010" + b"h\x00h\x01\x93(" + _value(shell(mark)) + b"tR."
        ),
        "texts thrown away": lambda mark: (
            b"\x80\x04" + system + text("collections") + text("OrderedDict") + b"00\x93(" + _value(shell(mark)) + b"tR."
        ),
        "texts thrown away to a mark": lambda mark: (
            b"\x80\x04" + system + b"(" + text("collections") + text("OrderedDict") + b"1\x93("
            + _value(shell(mark)) + b"tR."
        ),
        "one text twice": lambda mark: b"\x80\x04" + text("timeit") + b"2\x93(" + _value(code(mark)) + b"tR.",
        "computed texts": lambda mark: (
            b"\x80\x04" + computed("posix") + computed("system") + text("collections") + text("OrderedDict")
            + b"00\x93(" + _value(shell(mark)) + b"tR."
        ),
        "long opcodes of text": lambda mark: (
            b"\x80\x04\x8d" + struct.pack("<Q", 5) + b"posixX" + struct.pack("<I", 6) + b"system\x93("
            + _value(shell(mark)) + b"tR."
        ),
        "escaped text": lambda mark: (
            b"\x80\x04V\\u0070osix\nVsyst\\u0065m\n\x93(" + _value(shell(mark)) + b"tR."
        ),
        "without an end": lambda mark: call("posix", "system", shell(mark))[:-1],
        "with garbage behind": lambda mark: call("posix", "system", shell(mark)) + os.urandom(64),
        "two pickles": lambda mark: pickle.dumps({}) + call("posix", "system", shell(mark)),
        "an integer first": lambda mark: b"I1\n0" + call("posix", "system", shell(mark))[2:],
        "None first": lambda mark: b"N0" + call("posix", "system", shell(mark))[2:],
        "a text first": lambda mark: b"S'weights'\n0" + call("posix", "system", shell(mark))[2:],
        "a float first": lambda mark: b"F1.5\n0" + call("posix", "system", shell(mark))[2:],
        "protocol in the middle": lambda mark: b"(1\x80\x04" + call("posix", "system", shell(mark)),
        "a frame that is too long": lambda mark: (
            b"\x80\x04\x95" + struct.pack("<Q", 10**6) + call("posix", "system", shell(mark))[2:]
        ),
        "INST": lambda mark: b"(S" + repr(shell(mark)).encode() + b"\niposix\nsystem\n.",
        "OBJ": lambda mark: b"(cposix\nsystem\nS" + repr(shell(mark)).encode() + b"\no.",
        "EXT1": lambda mark: (
            call("copyreg", "add_extension", "posix", "system", 240)[:-1] + b"0\x82\xf0(" + _value(shell(mark)) + b"tR."
        ),
        "deep in a dict": lambda mark: pickle.dumps({"a": [{"b": (1, {"c": Evil(mark)})}]}),
        "as a key": lambda mark: b"\x80\x02}" + call("posix", "system", shell(mark))[2:-1] + b"K\x01s.",
        "behind many tensors' names": lambda mark: pickle.dumps(
            collections.OrderedDict([*((f"layer.{i}", float(i)) for i in range(5000)), ("z", Evil(mark))])
        ),
    }  # fmt: skip
    return made


def torch_zip(
    content: bytes, *, compress: bool = False, extra: dict[str, bytes] | None = None, first: bytes = b""
) -> bytes:
    """Layout that `torch.save` writes; `first` is a second member of the same name before it."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive, contextlib.suppress(UserWarning):
        import warnings

        warnings.simplefilter("ignore")
        if first:
            archive.writestr("model/data.pkl", first)
        archive.writestr("model/data.pkl", content)
        archive.writestr("model/byteorder", "little")
        archive.writestr("model/version", "3\n")
        for name, member in (extra or {}).items():
            archive.writestr(name, member)
    return buffer.getvalue()


def legacy(content: bytes) -> bytes:
    """Layout of torch before 1.6."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(one, 2) for one in head) + content + pickle.dumps([], 2)


def tar(content: bytes) -> bytes:
    """Layout of torch before 0.1.10."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            data = content if name in ("pickle", "storages") else pickle.dumps(0, 2)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def npy(content: bytes, fields: int = 0) -> bytes:
    """Array of objects in NumPy's format; with many fields, the object's type stands far behind."""
    descr = repr([(f"f{i}", "<f8") for i in range(fields)] + [("o", "|O")]) if fields else "'|O'"
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def npz(members: dict[str, bytes]) -> bytes:
    """Archive of arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return buffer.getvalue()


def lambda_config(mark: str) -> str:
    """Keras model with a layer of compiled Python code."""
    function = compile(f"lambda x: (open({mark!r}, 'w').close(), x)[1]", "x", "eval").co_consts[0]
    layer = {
        "class_name": "Lambda",
        "config": {
            "name": "l",
            "function": [base64.b64encode(marshal.dumps(function)).decode(), None, None],
            "function_type": "lambda",
            "output_shape_type": "raw",
            "arguments": {},
        },
    }
    shape = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 1], "dtype": "float32", "name": "i"}}
    return json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": [shape, layer]}})


def containers() -> dict[str, Callable[[str], bytes]]:
    """Files that hold a pickle or a program, by name."""
    plain = pickle.dumps(collections.OrderedDict(), 2)

    def evil(mark: str) -> bytes:
        return pickle.dumps(Evil(mark), 2)

    def keras(mark: str) -> bytes:
        return npz({"config.json": lambda_config(mark).encode(), "metadata.json": b"{}", "model.weights.h5": b""})

    return {
        "torch zip": lambda mark: torch_zip(evil(mark)),
        "torch zip, compressed": lambda mark: torch_zip(evil(mark), compress=True),
        "torch zip, computed names": lambda mark: torch_zip(pickles()["computed texts"](mark)),
        "torch zip with an array": lambda mark: torch_zip(evil(mark), extra={"model/a.npy": npy(b"")[:-1]}),
        "torch zip with config.json": lambda mark: torch_zip(evil(mark), extra={"model/config.json": b"{}"}),
        "torch zip, evil one first": lambda mark: torch_zip(plain, first=evil(mark)),
        "torch zip, evil one last": lambda mark: torch_zip(evil(mark), first=plain),
        "torch zip behind an empty one": lambda mark: b"PK\x05\x06" + bytes(18) + torch_zip(evil(mark)),
        "zip behind text": lambda mark: b"weights\n" + torch_zip(evil(mark)),
        "legacy torch": lambda mark: legacy(evil(mark)),
        "legacy torch, memo": lambda mark: legacy(pickles()["memo"](mark)),
        "legacy torch, first pickle": lambda mark: evil(mark) + legacy(plain),
        "tar of torch": lambda mark: tar(evil(mark)),
        "tar of torch, old tar": lambda mark: tar(evil(mark)).replace(b"ustar\x0000", b"\0" * 8),
        "npy of objects": lambda mark: npy(evil(mark)),
        "npz of objects": lambda mark: npz({"a.npy": npy(evil(mark))}),
        "npz of objects, no suffix": lambda mark: npz({"a": npy(evil(mark))}),
        "npz of records": lambda mark: npz({"a.npy": npy(evil(mark), fields=60)}),
        "npz with a pickle": lambda mark: npz({"a.npy": npy(b"")[:-1], "data.pkl": evil(mark)}),
        "npz of UniRep with objects": lambda mark: npz(
            {f"{name}.npy": npy(evil(mark)) for name in ("embedding", *(f"mlstm.0.{part}" for part in ("wmh", "wmx")))}
        ),
        "like safetensors": lambda mark: b"G" + bytes(7) + b"{0" + evil(mark),
        "like GGUF": lambda mark: b"GGUF\x00\x00\x00\x00\x000" + evil(mark),
        "like bzip2": lambda mark: b"BZh1\x00"[:1] + struct.pack("<I", 0x68) + b"x" * 0x68 + b"0" + evil(mark),
        "text that is not ASCII first": lambda mark: b"S'\xc3\xa9'\n0" + evil(mark),
        "gz": lambda mark: gzip.compress(evil(mark)),
        "bz2": lambda mark: bz2.compress(evil(mark)),
        "xz": lambda mark: lzma.compress(evil(mark)),
        "lzma": lambda mark: lzma.compress(evil(mark), format=lzma.FORMAT_ALONE),
        "zlib (joblib)": lambda mark: zlib.compress(evil(mark)),
        "gz of a torch zip": lambda mark: gzip.compress(torch_zip(evil(mark))),
        "Keras with a Lambda": keras,
        "JSON first, then a pickle": lambda mark: b'{"hidden_size": 1}\n' + evil(mark),
        "JSON of MSONable": lambda mark: json.dumps(
            {"@module": "subprocess", "@class": "Popen", "args": ["touch", mark], "_target_": "os.system"}
        ).encode(),
        "YAML of objects": lambda mark: f"model: !!python/object/apply:os.system [\"touch '{mark}'\"]\n".encode(),
        "YAML with _target_": lambda mark: f"model:\n  _target_: os.system\n  command: touch '{mark}'\n".encode(),
        "hparams with _target_": lambda mark: torch_zip(
            pickle.dumps(
                {
                    "state_dict": {}, "pytorch-lightning_version": "2.0", "hparams_name": "kwargs",
                    "hyper_parameters": {"model": {"_target_": "os.system", "command": f"touch '{mark}'"}},
                    "config": {"model": {"_target_": "os.system", "command": f"touch '{mark}'"}},
                    "model_config": {"_target_": "os.system", "command": f"touch '{mark}'"},
                    "model_yaml": f"class: os.system\nkwargs:\n  command: touch '{mark}'\n",
                    "model_name": "m3gnet", "model_args": {"_target_": "os.system"}, "model": {}, "args": {},
                    "architecture_name": "experimental.evil", "tasks_config": [],
                }, 2,
            )
        ),
        "AIMNet with a class": lambda mark: torch_zip(
            pickle.dumps(
                {
                    "format_version": 2, "cutoff": 5.0, "needs_coulomb": False, "needs_dispersion": False,
                    "coulomb_mode": "none", "implemented_species": [1], "state_dict": {},
                    "model_yaml": f"class: subprocess.Popen\nkwargs: {{args: [touch, '{mark}']}}\n",
                }, 2,
            )
        ),
        "ONNX with data outside": lambda mark: (
            b"\x08\x07\x12\x04onnx:;\n\x01n\x1a\x02g\x00*0\n\x01w\x10\x01h\x01j\x20\n\x08location\x12\x14../../../etc/passwd\x00"
        ),
        "nequix with a pickle": lambda mark: (
            json.dumps({"atomic_numbers": [1], "hidden_irreps": "4x0e", "lmax": 1}).encode() + b"\n" + npy(evil(mark))
        ),
    }  # fmt: skip


def programs(folder: Path, suffix: str = ".pt") -> Iterator[tuple[str, Callable[[str], Path]]]:
    """Files that only torch, h5py or pyarrow can write, where the environment has them."""
    if importlib.util.find_spec("torch") is not None:

        def torchscript(mark: str, *, when: str, path: Path) -> Path:
            import torch

            source = folder / f"module_{when}.py"
            body = {
                "setstate": f"self.cutoff = float(torch.from_file({mark!r}, shared=True, size=16).sum())",
                "forward": "pass",
            }[when]
            source.write_text(
                textwrap.dedent(
                    f"""
                    import torch
                    from typing import Tuple
                    class M(torch.nn.Module):
                        cutoff: float
                        def __init__(self):
                            super().__init__()
                            self.cutoff = 5.0
                            self.training = False
                        @torch.jit.export
                        def __getstate__(self) -> Tuple[float, bool]:
                            return (self.cutoff, self.training)
                        @torch.jit.export
                        def __setstate__(self, state: Tuple[float, bool]) -> None:
                            self.cutoff = state[0]
                            self.training = state[1]
                            {body}
                        def forward(self, x: torch.Tensor) -> torch.Tensor:
                            y = torch.from_file({mark!r}, shared=True, size=16)
                            return x + y.sum()
                    """
                ),
                "utf-8",
            )
            spec = importlib.util.spec_from_file_location(f"module_{when}", source)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            torch.jit.script(module.M()).save(str(path))
            Path(mark).unlink(missing_ok=True)
            return path

        def package(mark: str, path: Path) -> Path:
            from torch.package import PackageExporter

            with PackageExporter(str(path)) as exporter:
                exporter.save_source_string("evil", f"open({mark!r}, 'w').close()\nclass M:\n    pass\n")
                exporter.save_source_string("nequip_evil", f"import evil\nopen({mark!r}, 'w').close()\n")
                exporter.save_pickle("model", "model.pkl", {})
            return path

        for when in ("setstate", "forward"):
            yield (
                f"TorchScript, {when}",
                lambda mark, when=when: torchscript(mark, when=when, path=folder / f"torchscript-{when}{suffix}"),
            )
        yield (
            "TorchScript as .jpt",
            lambda mark: torchscript(mark, when="setstate", path=folder / "torchscript.jpt"),
        )
        yield "torch package", lambda mark: package(mark, folder / f"package{suffix}")
        yield "torch package as .nequip.zip", lambda mark: package(mark, folder / "package.nequip.zip")
    if importlib.util.find_spec("h5py") is not None:

        def hdf5(mark: str) -> Path:
            import h5py

            path = folder / f"lambda{suffix}"
            with h5py.File(path, "w") as file:
                file.attrs["model_config"] = lambda_config(mark)
                file.attrs["keras_version"], file.attrs["backend"] = "2.8.0", "tensorflow"
                file.create_group("model_weights").attrs["layer_names"] = [b"l"]
            path.with_name(path.name + ".json").write_text(
                json.dumps({"@module": "subprocess", "@class": "Popen", "args": ["touch", mark]}), "utf-8"
            )
            return path

        yield "HDF5 of Keras with a Lambda", hdf5
    if importlib.util.find_spec("pyarrow") is not None:

        def parquet(mark: str) -> Path:
            import pyarrow as pa
            import pyarrow.parquet as pq

            metadata = {b"ARROW:extension:name": b"arrow.py_extension_type",
                        b"ARROW:extension:metadata": pickle.dumps(Evil(mark), 2)}  # fmt: skip
            field = pa.field("a", pa.int64(), metadata=metadata)
            path = folder / f"parquet{suffix}"
            pq.write_table(pa.table([[1]], pa.schema([field])), path)
            return path

        yield "parquet with a pickled type", parquet


def folders(folder: Path) -> Iterator[tuple[str, Callable[[str], Path]]]:
    """Folders of Hugging Face and others."""
    for kind in (
        "torch zip",
        "legacy torch",
        "torch zip, computed names",
        "torch zip, evil one first",
        "npy of objects",
    ):

        def everywhere(mark: str, kind: str = kind) -> Path:
            path = _bert(folder / f"folder of {kind}")
            for name in NAMES_IN_FOLDERS:
                (path / name).write_bytes(containers()[kind](mark))
            return path

        yield f"folder: {kind}", everywhere

    for opening in ("memo", "an integer first", "without an end", "os.system, protocol 0"):

        def bare(mark: str, opening: str = opening) -> Path:
            path = _bert(folder / f"folder of {opening}")
            for name in NAMES_IN_FOLDERS:
                (path / name).write_bytes(pickles()[opening](mark))
            return path

        yield f"folder: bare pickle, {opening}", bare

    def auto_map(mark: str, name: str, table: dict[str, str], **more: Any) -> Path:
        path = _bert(folder / name, auto_map=table, **more)
        (path / "evil.py").write_text(f"open({mark!r}, 'w').close()\n", "utf-8")
        (path / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}})
        )
        return path

    yield (
        "auto_map of a model",
        lambda mark: auto_map(
            mark, "auto_map", {"AutoModel": "evil.Evil", "AutoConfig": "evil.EvilConfig"}, model_type="evil"
        ),
    )
    yield "auto_map of a known kind", lambda mark: auto_map(mark, "auto_map_known", {"AutoModel": "evil.Evil"})
    yield (
        "auto_map into another folder",
        lambda mark: auto_map(mark, "auto_map_other", {"AutoModel": f"{folder}/auto_map--evil.Evil"}, model_type="x"),
    )
    yield "auto_map of a tokenizer", lambda mark: auto_map(mark, "auto_map_tokenizer", {})

    def outside(mark: str, name: str, index: str, target: str) -> Path:
        path = _bert(folder / name)
        file = folder / f"{name}.evil"
        file.write_bytes(torch_zip(pickle.dumps({"embeddings.weight": Evil(mark)}, 2)))
        where = {"up": f"../{file.name}", "absolute": str(file)}[target]
        (path / index).write_text(json.dumps({"metadata": {}, "weight_map": {"embeddings.weight": where}}))
        return path

    for target in ("up", "absolute"):
        for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
            yield (
                f"{index}, {target}",
                lambda mark, index=index, target=target: outside(mark, f"{index}-{target}", index, target),
            )

    def link(mark: str, *, whole: bool) -> Path:
        path = _bert(folder / f"links-{whole}")
        other = folder / f"links-{whole}-outside"
        other.mkdir(exist_ok=True)
        for name in NAMES_IN_FOLDERS:
            (other / name).write_bytes(torch_zip(pickle.dumps(Evil(mark), 2)))
            if not whole:
                (path / name).symlink_to(other / name)
        if whole:
            (path / "checkpoints").symlink_to(other)
            (path / "checkpoint").write_text(f'model_checkpoint_path: "{other}/m3gnet"\n')
        return path

    yield "links to files outside", lambda mark: link(mark, whole=False)
    yield "a link to a folder outside", lambda mark: link(mark, whole=True)

    def configured(mark: str) -> Path:
        path = _bert(folder / "configured")
        entry = {"@module": "subprocess", "@class": "Popen", "args": ["touch", mark]}
        for name in ("model.json", "m3gnet.json", "config.json"):
            (path / name).write_text(json.dumps({**entry, "model": entry, "_target_": "os.system"}))
        for name in ("model.yaml", "config.yaml", "hparams.yaml"):
            (path / name).write_bytes(containers()["YAML of objects"](mark))
        return path

    yield "configurations that name classes", configured

    def targets(mark: str) -> Path:
        path = _bert(folder / "targets")
        for name in ("model.yaml", "config.yaml", "hparams.yaml"):
            (path / name).write_bytes(containers()["YAML with _target_"](mark))
        return path

    yield "YAML with _target_ in a folder", targets

    def matgl(mark: str, module: str, name: str, arguments: dict[str, Any]) -> Path:
        path = _bert(folder / f"matgl {module}")
        described = {"@class": "Potential", "@module": "matgl.apps.pes", "@model_version": 1, "metadata": None}
        (path / "model.json").write_text(json.dumps({**described, "kwargs": {}}))
        network = {"@class": name, "@module": module, "@model_version": 99, "init_args": arguments}
        (path / "model.pt").write_bytes(torch_zip(pickle.dumps({"model": network}, 2)))
        (path / "state.pt").write_bytes(torch_zip(pickle.dumps({}, 2)))
        return path

    yield (
        "a class named in model.pt",
        lambda mark: matgl(mark, "subprocess", "Popen", {"args": ["touch", mark]}),
    )
    yield (
        "a class named in model.pt, of a package",
        lambda mark: matgl(mark, "numpy", "memmap", {"filename": mark, "dtype": "u1", "mode": "w+", "shape": 4}),
    )

    def matgl_json(mark: str) -> Path:
        path = matgl(mark, "subprocess", "Popen", {"args": ["touch", mark]})
        described = {"@class": "Popen", "@module": "subprocess", "@model_version": 1, "metadata": None}
        (path / "model.json").write_text(json.dumps({**described, "kwargs": {"args": ["touch", mark]}}))
        return path

    yield "a class named in model.json", matgl_json
    yield (
        "a class of the package that is no layer",
        lambda mark: matgl(
            mark,
            "matgl.utils.io",
            "RemoteFile",
            {"uri": f"file:///etc/{Path(mark).name}", "cache_location": str(folder)},
        ),
    )

    def saved_model(mark: str) -> Path:
        path = folder / "saved_model"
        path.mkdir(exist_ok=True)
        (path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
        (path / "keras_metadata.pb").write_bytes(lambda_config(mark).encode())
        return path

    yield "SavedModel", saved_model

    def library(mark: str) -> Path:
        path = _bert(folder / "library")
        for name in (
            "__init__.py",
            "conftest.py",
            "sitecustomize.py",
            "usercustomize.py",
            "transformers.py",
            "torch.py",
        ):
            (path / name).write_text(f"open({mark!r}, 'w').close()\n")
        return path

    yield "modules of the names of packages", library


def _bert(path: Path, **more: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({**BERT, **more}))
    (path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnoCNO()=1"])
    )
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return path


def write(folder: Path, what: str = "plain") -> list[dict[str, str]]:
    """Write the plain ones, or the programs that other packages write; what each is called, its path and its mark."""
    (folder / "marks").mkdir(parents=True, exist_ok=True)
    written: list[dict[str, str]] = []

    def note(name: str, make: Callable[[str], Path]) -> None:
        mark = str(folder / "marks" / f"{what}{len(written)}")
        try:
            path = make(mark)
        except Exception as error:  # torch of another version can't write it
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            return
        written.append({"name": name, "path": str(path), "mark": mark})

    def file(make: Callable[[str], bytes]) -> Callable[[str], Path]:
        def writing(mark: str) -> Path:
            path = folder / f"file{len(written)}.pt"
            path.write_bytes(make(mark))
            return path

        return writing

    if what == "plain":
        for name, make in {**pickles(), **containers()}.items():
            note(name, file(make))
    for name, place in folders(folder) if what == "plain" else programs(folder):
        note(name, place)
    return written


def load(jobs: dict[str, Any], say: Callable[..., None]) -> None:
    """Hand the files to an adapter as the worker does, without the first look unless it is wanted."""
    source = Path(jobs["package"]) / "isolation" / "worker.py"
    spec = importlib.util.spec_from_file_location("worker", source)
    assert spec is not None
    assert spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    worker._adopt_package()
    from consilience import registry
    from consilience.circumstances import cut
    from consilience.embedding.target_job import use_target

    registry.recognise = lambda path: None  # type: ignore[assignment,return-value]
    registry.check = lambda *arguments, **options: None
    opened: set[str] = set()
    sys.addaudithook(lambda event, arguments: opened.add(str(arguments[0])) if event == "open" else None)

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    began = time.monotonic()
    for number, one in enumerate(jobs["files"]):
        if time.monotonic() - began > ALL_WITHIN and number % EVERY:
            say(number=number, reason="left out", gate=False, reached=False, loaded=False, left_out=True)
            continue
        opened.clear()
        say(begin=number)
        job = {**jobs["job"], "folder": f"{jobs['job']['folder']}/{number}"}
        job["weights"] = {**job["weights"], "path": one["path"]}
        Path(job["folder"]).mkdir(parents=True, exist_ok=True)
        signal.alarm(SECONDS)
        stages: list[str] = []
        try:
            use_target(job, lambda event, stages=stages, **_: stages.append(event))
        except BaseException as error:  # pyo3's panics are no Exceptions
            traceback.print_exc(file=sys.stderr)
            reason, gate = cut(f"{type(error).__name__}: {error}", 1000), type(error).__name__ == "UntrustedError"
        else:
            reason, gate = None, False
        finally:
            signal.alarm(0)
        reached = any(one["path"] in path for path in opened)
        say(number=number, reason=reason, gate=gate, reached=reached, loaded="loaded" in stages)


def main() -> None:
    """Write or load, as the command line says."""
    if sys.argv[1] == "write":
        print(json.dumps(write(Path(sys.argv[2]), sys.argv[3])))
        return
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    load(json.loads(Path(sys.argv[2]).read_text("utf-8")), lambda **what: print(json.dumps(what), file=channel))
    channel.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
