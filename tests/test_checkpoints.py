"""Kinds of checkpoints by content, and the gate: code of a file runs only on the user's word."""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import pickles
from consilience.checkpoints import CheckpointError, recognise
from consilience.registry import get_adapter, get_target, list_targets


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.mark}",))


def torch_zip(content: bytes, *, extra: dict[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", content)
        archive.writestr("model/version", "3\n")
        for name, text in (extra or {}).items():
            archive.writestr(f"model/{name}", text)
    return buffer.getvalue()


def keras(lambda_layer: bool) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Lambda" if lambda_layer else "Dense"}))
        archive.writestr("model.weights.h5", b"")
    return buffer.getvalue()


PLAIN = pickle.dumps(collections.OrderedDict(weight=1.0))
FILES: dict[str, tuple[bytes, str, bool]] = {
    "a torch zip": (torch_zip(PLAIN), "state dict", False),
    "a Lightning zip": (torch_zip(pickle.dumps({"pytorch-lightning_version": "2"})), "Lightning checkpoint", False),
    "a zip of objects": (torch_zip(pickle.dumps(Evil(Path("x")))), "pickled objects", True),
    "TorchScript": (torch_zip(PLAIN, extra={"constants.pkl": PLAIN, "code/__torch__.py": b""}), "TorchScript", True),
    "a torch package": (torch_zip(PLAIN, extra={".data/extern_modules": b""}), "torch package", True),
    "an old torch file": (pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) + PLAIN, "state dict", False),
    "an old pickle": (pickle.dumps(Evil(Path("x")), protocol=0), "pickled objects", True),
    "a pickle of protocol 4": (pickle.dumps(Evil(Path("x")), protocol=4), "pickled objects", True),
    "numbers": (pickle.dumps({"a": argparse.Namespace(b=np.float64(1))}), "state dict", False),
    "an archive of arrays": (b"", "npz", False),
    "an archive of objects": (b"", "npz", True),
    "safetensors": ((2).to_bytes(8, "little") + b"{}", "safetensors", False),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5", False),
    "Keras": (keras(False), "Keras", False),
    "JSON": (b'{"a": 1}', "JSON", False),
    "text": (b"weights: 1\n", "text", False),
    "a compressed pickle": (gzip.compress(pickle.dumps(Evil(Path("x")))), "compressed", True),
}


@pytest.mark.parametrize("name", FILES)
def test_kinds_are_recognised_by_content(tmp_path: Path, name: str) -> None:
    content, kind, runs_code = FILES[name]
    path = tmp_path / "file.bin"
    if kind == "npz":
        buffer = io.BytesIO()
        np.savez(buffer, a=np.array([{}], dtype=object) if runs_code else np.ones(2))
        content = buffer.getvalue()
    path.write_bytes(content)
    one = recognise(path)
    assert (one.kind, one.runs_code) == (kind, runs_code)


@pytest.mark.slow  # torch
def test_what_torch_writes_is_recognised(tmp_path: Path) -> None:
    """Today's format, the one before, objects, programs, packages."""
    import torch
    from torch.package import PackageExporter

    path, layer = tmp_path / "file.pt", torch.nn.Linear(2, 2)
    state = {"state_dict": layer.state_dict(), "config": {"n": 1, "dtype": torch.float32}, "size": torch.Size([2])}
    torch.save(state, path)
    assert recognise(path).kind == "state dict"
    assert not recognise(path).runs_code
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert recognise(path).kind == "state dict"
    torch.save(state | {"pytorch-lightning_version": "2.0"}, path)
    assert recognise(path).kind == "Lightning checkpoint"
    for new in (True, False):
        torch.save(layer, path, _use_new_zipfile_serialization=new)
        assert recognise(path).kind == "pickled objects"
        assert "torch.nn.modules.linear.Linear" in recognise(path).foreign
    torch.jit.script(layer).save(str(path))
    assert recognise(path).kind == "TorchScript"
    with PackageExporter(path) as exporter:
        exporter.save_pickle("a", "b.pkl", {"x": 1})
    assert recognise(path).kind == "torch package"
    torch.export.save(torch.export.export(layer, (torch.zeros(1, 2),)), path)
    assert recognise(path).kind == "exported program"


def test_a_missing_file_says_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.pt").touch()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.pt; .* holds other\.pt"):
        recognise(tmp_path / "absent.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="hub id: `hf download facebook/esm2_t6 --local-dir esm2_t6` first"):
        get_adapter("esm2").from_checkpoint("facebook/esm2_t6")
    (tmp_path / "empty.pt").touch()
    with pytest.raises(CheckpointError, match=r"empty\.pt: the file is empty"):
        recognise(tmp_path / "empty.pt")
    (tmp_path / "cut.pt").write_bytes(torch_zip(PLAIN)[:80])
    with pytest.raises(CheckpointError, match=r"cut\.pt: a damaged zip archive"):
        recognise(tmp_path / "cut.pt")


def test_a_member_without_a_name_is_no_fault_of_ours(tmp_path: Path) -> None:
    """As the directory of a damaged archive may have it."""
    content = torch_zip(PLAIN)
    name = b"model/version" if b"model/version" in content else b"version"
    place = content.rindex(name)
    path = tmp_path / "damaged.pt"
    path.write_bytes(content[:place] + bytes(len(name)) + content[place + len(name) :])
    with pytest.raises(CheckpointError, match="damaged"):
        recognise(path)


def test_a_wrong_kind_names_what_the_adapter_reads(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is a safetensors file; ani-1x reads state_dict"):
        get_adapter("ani-1x").from_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"is a folder; ani-1x reads"):
        get_adapter("ani-1x").from_checkpoint(tmp_path)


#: One adapter of each file.
ADAPTERS = {target.path: target.name for target in list_targets().values() if target.card.accepts is not None}


@pytest.mark.parametrize("name", sorted(ADAPTERS.values()))
def test_no_adapter_takes_a_program_without_trust(tmp_path: Path, name: str) -> None:
    """Before its environment is built: whatever the adapter reads, TorchScript and pickled calls are refused."""
    target = get_target(name)
    for number, content in enumerate((FILES["TorchScript"][0], torch_zip(pickle.dumps(Evil(tmp_path / "mark"))))):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(content)
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        (folder / "model.pt").write_bytes(content)
        (folder / "config.json").write_text("{}")
        for one in (path, folder):
            if (
                number == 1
                and b"_foreign_pickle" in target.path.read_bytes()
                and (one == path or not target.card.reads)
            ):
                target.from_checkpoint(one)  # it reads pickles without their classes: a placeholder to it
                continue
            began = time.process_time()
            with pytest.raises(CheckpointError) as error:
                target.from_checkpoint(one)
            assert time.process_time() - began < 2
            assert "\n" not in str(error.value)
            assert str(one) in str(error.value)
    assert not (tmp_path / "mark").exists()


def test_weights_outside_their_folder_are_refused(tmp_path: Path) -> None:
    for name in ("../other.safetensors", "/etc/passwd", 3):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(CheckpointError, match=r"weight_map names .* which lies outside"):
            recognise(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="not an index of weight files"):
        recognise(tmp_path)


def test_what_a_folder_links_to_is_judged(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (outside / "model.pt").write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    assert not recognise(folder).foreign
    for link, to in ((folder / "model.pt", outside / "model.pt"), (folder / "checkpoints", outside)):
        link.symlink_to(to)
        assert recognise(folder).foreign, link
        link.unlink()
    (outside / "model.pt").unlink()
    (folder / "round").symlink_to(folder)  # a circle ends
    assert not recognise(folder).foreign


def test_a_configuration_announces_what_its_weights_can_hold(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}" + bytes(10_000))
    config = tmp_path / "config.json"
    for announced, says in (
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1,000,000, more than weights of 10,010 bytes"),
        ({"n_layer": 300}, "n_layer is 300"),
        ({"text_config": {"num_decoder_layers": 10**6}}, "num_decoder_layers is 1,000,000"),
        ({"hidden_size": 10**9}, "hidden_size is 1,000,000,000"),
        ({"vocab_size": 10**9}, "vocab_size"),
    ):
        config.write_text(json.dumps(announced))
        with pytest.raises(CheckpointError, match=f"config.json: {says}"):
            recognise(tmp_path)
    for fine in (
        {"num_hidden_layers": 200, "hidden_size": 8, "use_layer": True, "max_position_embeddings": 10**6},
        [1],
    ):
        config.write_text(json.dumps(fine))
        assert recognise(tmp_path).kind == "Hugging Face folder"


def test_a_map_of_code_is_a_table(tmp_path: Path) -> None:
    """The library's own error for a null is "argument of type 'NoneType' is not iterable"."""
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (tmp_path / "config.json").write_text("{}")
    for name in ("config.json", "tokenizer_config.json"):
        for wrong in (None, "modeling.Model", 3):
            (tmp_path / name).write_text(json.dumps({"auto_map": wrong}))
            with pytest.raises(CheckpointError, match=rf"{name}: auto_map is .* remove the key"):
                recognise(tmp_path)
        (tmp_path / name).write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Model"}}))
        assert recognise(tmp_path).kind == "Hugging Face folder"


GATE = """
import pickle, sys, pathlib
from consilience.isolation import gate
path = pathlib.Path(sys.argv[1])
gate.close(path, how_to_trust="say so")
try:
    {body}
except Exception as error:  # NumPy and joblib raise errors of their own from it
    while error is not None:
        print(type(error).__name__, error)
        error = error.__cause__ or error.__context__
else:
    print("read")
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pickle.load(path.open('rb'))", "it names posix.system"),
        ("import numpy as np; np.load(path, allow_pickle=True)", "it names posix.system"),
        ("import joblib; joblib.load(path)", "it names posix.system"),
        ("import marshal; marshal.loads(marshal.dumps(compile('1', 'x', 'eval')))", "compiled Python code"),
        pytest.param(
            "import torch; torch.load(path, weights_only=False)", "it names posix.system", marks=pytest.mark.slow
        ),
        pytest.param("import torch; torch.jit.load(str(path))", "it is TorchScript", marks=pytest.mark.slow),
        ("import json, fractions, rdkit.Chem, scipy.stats", "read"),
    ],
)
def test_the_gate_judges_what_is_loaded(tmp_path: Path, body: str, expected: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    code = textwrap.dedent(GATE).format(body=body)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert expected in done.stdout
    assert not (tmp_path / "mark").exists()


def test_the_gate_stands_before_an_adapter_of_a_user(
    tmp_path: Path, write_target: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that passes the first look (here: it changed since) is judged again as it is read."""
    from consilience.datasets.items import open_dataset
    from consilience.embedding.embed import embed
    from consilience.embedding.errors import EmbeddingFailedError
    from consilience.embedding.store import Store
    from consilience.registry import load_target_file

    file = write_target(
        "return Embedded([[len(a) * w, a.positions.std()] for a in items])\n",
        name="unpickler",
        card=", accepts='a pickle'",
        preamble="import pickle\nw = pickle.load(weights.path.open('rb'))\n",
    )
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(2.0))
    (target,) = load_target_file(file)
    items, store = open_dataset("qm9-1k").head(4), Store(tmp_path / "store", shipped=None)
    rows = embed(target.from_checkpoint(path), items, store).features
    assert rows[0, 0] == 2 * len(items.view("atoms")[0])
    path.write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    with pytest.raises(CheckpointError, match=r"model\.pkl can run code when read \(pickled objects: posix\.system\)"):
        target.from_checkpoint(path)
    monkeypatch.setattr(pickles, "_PLAIN", {**pickles._PLAIN, "posix": {"system"}})
    with pytest.raises(EmbeddingFailedError, match="can run code when read"):  # the worker judges by itself
        embed(target.from_checkpoint(path), items, store)
    assert not (tmp_path / "mark").exists()
    trusted = Store(tmp_path / "other", shipped=None)
    assert (embed(target.from_checkpoint(path, trusted=True), items, trusted).features[:, 0] == 0).all()
    assert (tmp_path / "mark").exists()
