"""Kinds of checkpoints, recognised by content before anything is loaded; nothing here builds an object of a file.

A file can be of a kind that runs code when it is read (a pickle of classes, TorchScript, a package of code). Pickles
are judged by their opcodes. Needs the standard library alone.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

from .pickles import MAX_LINE, MAX_PICKLE, Scan, is_pickle, scan_pickles

Kind = Literal[
    "folder",
    "Hugging Face folder",
    "state dict",
    "Lightning checkpoint",
    "pickled objects",
    "TorchScript",
    "torch package",
    "exported program",
    "safetensors",
    "npz",
    "HDF5",
    "Keras",
    "TensorFlow SavedModel",
    "ONNX",
    "GGUF",
    "msgpack",
    "JSON",
    "text",
    "compressed",
    "unknown",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Kinds that are programs: reading one can run code that it holds.
PROGRAMS: frozenset[Kind] = frozenset({"TorchScript", "torch package", "exported program", "TensorFlow SavedModel"})

MAX_MEMBERS = 200_000
MAX_HEADER = 100 * 2**20
AN_OBJECT_ARRAY = "an array of Python objects"
#: What transformers' Trainer leaves beside a model; no adapter reads it, and the worker's gate would refuse it.
_OF_TRAINERS = frozenset({"optimizer.pt", "rng_state.pth", "scaler.pt", "scheduler.pt", "training_args.bin"})
#: Fields of a Hugging Face configuration that count layers, or columns of a matrix.
_COUNT_OF_LAYERS = re.compile(r"(^|_)layers?$")
_WIDTH = re.compile(r"^(d_model|d_ff|d_kv|n_embd|n_inner)$|^(vocab|hidden|intermediate|embedding)_(size|dim)$")
#: So many layers may be of the same weights; any other takes so many bytes in its file, the tensor's name among them.
SHARED_LAYERS, LEAST_BYTES_OF_LAYER = 200, 40
#: Members of a torch file that hold a tensor's bytes.
_TENSOR = re.compile(r"(^|/)data/\d+$")
#: Kinds in words, where they are not "a KIND file".
_WORDS: dict[Kind, str] = {
    "folder": "a folder",
    "Hugging Face folder": "a folder of Hugging Face",
    "state dict": "a state dict of torch",
    "Lightning checkpoint": "a Lightning checkpoint",
    "pickled objects": "a pickle of objects",
    "torch package": "a torch package",
    "exported program": "an exported program of torch",
    "npz": "an archive of arrays (npz)",
    "HDF5": "an HDF5 file",
    "TensorFlow SavedModel": "a SavedModel of TensorFlow",
    "ONNX": "an ONNX file",
    "unknown": "of a kind that is not known here",
}
HOW_TO_TRUST = "if you trust it, allow it with --align-trust-checkpoint (pytest) or --trust-checkpoint (consilience)"


@dataclass(frozen=True)
class Checkpoint:
    """What a file or folder is, by its content."""

    path: Path
    kind: Kind
    foreign: tuple[str, ...] = ()
    """Classes and functions that a pickle in it names, beyond tensors, arrays and plain values."""

    @property
    def runs_code(self) -> bool:
        """Whether reading it the usual way can run code that it names or holds."""
        return self.kind in PROGRAMS or bool(self.foreign)


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, of another kind than its adapter reads, or not trusted."""


def recognise(path: Path) -> Checkpoint:
    r"""Recognise what a checkpoint is.

    Parameters
    ----------
    path
        A file or a folder.

    Raises
    ------
    FileNotFoundError
        There is nothing at `path`.
    CheckpointError
        It is damaged, or refers to files outside its folder.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "model.pt")
    ...     _ = file.write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    ...     recognise(file)  # doctest: +ELLIPSIS
    Checkpoint(path=..., kind='pickled objects', foreign=('os.system',))
    """
    if not path.exists():
        raise FileNotFoundError(_missing(path))
    try:
        if path.is_dir():
            return _folder(path)
        with path.open("rb") as file:
            return _file(path, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:  # encrypted, say
        raise CheckpointError(f"{path}: a damaged zip archive ({error})") from error
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error


def _missing(path: Path) -> str:
    words = str(path)
    hub = re.search(r"(?:^|/)([\w.-]+/[\w.-]+)$", words)
    parent = path.parent
    if hub and not path.suffix and not parent.exists():
        name = hub[1]
        return f"no checkpoint at {path}; it looks like a hub id: `hf download {name} --local-dir {path.name}` first"
    near = sorted(one.name for one in parent.iterdir() if one.suffix == path.suffix)[:5] if parent.is_dir() else []
    there = (
        f"; {parent} holds {', '.join(near)}" if near else "" if parent.is_dir() else f": there is no folder {parent}"
    )
    return f"no checkpoint at {path}{there}"


def _folder(path: Path) -> Checkpoint:
    foreign: dict[str, None] = {}
    kind: Kind = "folder"
    names = {one.name for one in path.iterdir()}
    if "config.json" in names and any(
        name.endswith((".safetensors", ".bin", ".safetensors.index.json")) for name in names
    ):
        kind = "Hugging Face folder"
    elif "saved_model.pb" in names:
        kind = "TensorFlow SavedModel"
    for file in _files(path):
        if file.name.endswith(".index.json"):
            _check_index(path, file)
        if kind == "Hugging Face folder" and file.name in _OF_TRAINERS:
            continue
        if kind == "Hugging Face folder" and file in (path / "config.json", path / "tokenizer_config.json"):
            _check_settings(path, file)
        if file.is_file() and file.stat().st_size:
            with file.open("rb") as content:
                one = _file(file, content)
            if one.kind in PROGRAMS:
                foreign[f"{one.kind} in {file.name}"] = None
            foreign |= dict.fromkeys(one.foreign)
    return Checkpoint(path, kind, tuple(foreign))


def _files(folder: Path) -> list[Path]:
    """Files in a folder and in those that it links to."""
    files: list[Path] = []
    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = Path(place).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        files += [Path(place, name) for name in names]
        if len(files) > MAX_MEMBERS:
            raise CheckpointError(f"{folder}: more than {MAX_MEMBERS:,} files; {MAX_MEMBERS:,} are read")
    return sorted(files)


def _check_index(folder: Path, index: Path) -> None:
    """Refuse an index of weight files that names one outside its folder."""
    try:
        content = json.loads(index.read_text("utf-8"))
        names = set(dict(content["weight_map"]).values())
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index}: not an index of weight files ({type(error).__name__})") from error
    for name in names:
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise CheckpointError(f"{index}: weight_map names {name!r}, which lies outside {folder}")


def _check_settings(folder: Path, file: Path) -> None:
    """Refuse settings of a Hugging Face folder that its library can't read, or the folder's weights can't hold."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # the adapter says what is wrong with it
    if not isinstance(content, dict):
        return
    code = content.get("auto_map", {})
    # Old tokenizers list their classes. On anything else, null included, the library ends with a TypeError.
    if not isinstance(code, (dict, list)):
        raise CheckpointError(
            f"{file}: auto_map is {json.dumps(code)[:40]}, not a table of classes, and transformers can't read that; "
            f"remove the key if the model needs no code of its own"
        )
    if file.name == "config.json":
        _check_counts(folder, file, content)


def _check_counts(folder: Path, config: Path, content: dict[str, object]) -> None:
    """Refuse a configuration that announces more layers or columns than the folder's weights can hold."""
    weights = [one for one in folder.iterdir() if one.is_file() and one.suffix in (".safetensors", ".bin")]
    size = sum(one.stat().st_size for one in weights)
    parts = [content]
    for part in parts:
        parts += [one for one in part.values() if isinstance(one, dict) and len(parts) < 100]
        for name, value in part.items():
            if not isinstance(value, int) or isinstance(value, bool):
                continue
            # A layer has a tensor at least, which names and describes itself; a matrix a byte per column. Layers may
            # share their weights.
            most = max(SHARED_LAYERS, size // LEAST_BYTES_OF_LAYER) if _COUNT_OF_LAYERS.search(name) else size
            if (_COUNT_OF_LAYERS.search(name) or _WIDTH.search(name)) and value > most:
                raise CheckpointError(
                    f"{config}: {name} is {value:,}, more than weights of {size:,} bytes in {folder.name} can hold"
                )


def _file(path: Path, file: IO[bytes]) -> Checkpoint:
    head = file.read(512)
    file.seek(0)
    if not head:
        raise CheckpointError(f"{path}: the file is empty")
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _archive(path, file)
    if is_pickle(head):
        return _pickle(path, scan_pickles(file))
    kind = _kind(path, file, head)
    if kind == "compressed":
        return Checkpoint(path, kind, _inside(path, head))
    if head[257:262] == b"ustar":
        return Checkpoint(path, "pickled objects", ("a tar archive of torch before 1.0",))
    if head.startswith(b"\x93NUMPY") and _holds_objects(head + file.read(MAX_LINE)):
        return Checkpoint(path, kind, (AN_OBJECT_ARRAY,))
    # Some first bytes of other formats are opcodes, too: what an unpickler would call counts, whatever the kind.
    file.seek(0)
    scan = scan_pickles(file)
    return Checkpoint(path, kind, tuple(scan.names) if scan.calls else ())


def _kind(path: Path, file: IO[bytes], head: bytes) -> Kind:
    """Kind of a file that is neither an archive nor a pickle; leaves the file behind its head."""
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= min(path.stat().st_size - 8, MAX_HEADER):
        file.seek(8)
        header = file.read(length)
        file.seek(len(head))
        try:
            if isinstance(json.loads(header), dict):
                return "safetensors"
        except (ValueError, RecursionError):
            return "unknown"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "HDF5"
    if head.startswith(b"GGUF"):
        return "GGUF"
    packed = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\x78")
    if head.startswith(packed):
        return "compressed"
    if head.lstrip()[:1] in (b"{", b"["):
        return "JSON"
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and b"onnx" in head.lower()):
        return "ONNX"
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return "msgpack" if head[:1] in b"\x80\x81\x82\x83\x84\x85\x86\x87\xde\xdf" else "unknown"
    return "text"


def _inside(path: Path, head: bytes) -> tuple[str, ...]:
    """Globals of a pickle that is compressed (joblib's files, say)."""
    import bz2
    import gzip
    import lzma

    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
    try:
        if head[:2] in openers:
            with openers[head[:2]](path) as file:
                content = file.read(MAX_PICKLE)
        elif head[:1] == b"\x78":
            content = zlib.decompressobj().decompress(path.read_bytes(), MAX_PICKLE)
        else:
            return ()
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return ()
    scan = scan_pickles(io.BytesIO(content))
    return tuple(scan.names) if scan.calls or is_pickle(content[:512]) else ()


def _archive(path: Path, file: IO[bytes]) -> Checkpoint:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(names) > MAX_MEMBERS:
            raise CheckpointError(f"{path}: an archive of {len(names):,} members; {MAX_MEMBERS:,} are read")
        tails = {name.partition("/")[2] or name for name in names}
        if "constants.pkl" in tails or any(one.startswith("code/") for one in tails):
            return Checkpoint(path, "TorchScript")
        if any(one.endswith(".data/extern_modules") for one in names):
            return Checkpoint(path, "torch package")
        if any(one.startswith(("models/", "serialized_exported_program", "data/aotinductor")) for one in tails):
            return Checkpoint(path, "exported program")
        foreign: dict[str, None] = {}
        arrays = pickles = lightning = False
        for member in archive.infolist():  # of two members of one name, both
            if _TENSOR.search(member.filename) or member.filename.endswith("/"):
                continue
            with archive.open(member) as content:
                head = content.read(MAX_LINE if member.filename.endswith(".npy") else 512)
                if head.startswith(b"\x93NUMPY"):
                    arrays = True
                    if _holds_objects(head + content.read(MAX_LINE)):
                        foreign[AN_OBJECT_ARRAY] = None
                    continue
                named = member.filename.endswith((".pkl", ".pickle"))
                if not named and not is_pickle(head):
                    continue
            with archive.open(member) as content:
                scan = scan_pickles(content)
            if named or scan.calls:
                pickles |= named
                lightning |= scan.lightning
                foreign |= scan.names
        if "model.weights.h5" in tails or ("config.json" in tails and not pickles):
            return Checkpoint(path, "Keras", (*foreign, *_lambdas(archive)))
        if pickles and foreign:
            return Checkpoint(path, "pickled objects", tuple(foreign))
        if arrays:
            return Checkpoint(path, "npz", tuple(foreign))
        if pickles:
            return Checkpoint(path, "Lightning checkpoint" if lightning else "state dict")
    return Checkpoint(path, "unknown", tuple(foreign))


def _holds_objects(content: bytes) -> bool:
    """Whether an array in NumPy's format holds Python objects, which NumPy pickles."""
    major = content[6:7]
    size = 2 if major == b"\x01" else 4
    length = int.from_bytes(content[8 : 8 + size], "little")
    header = content[8 + size : 8 + size + length]
    return len(header) < length or re.search(rb"['\"][|=<>]?O\d*['\"]", header) is not None


def _lambdas(archive: zipfile.ZipFile) -> tuple[str, ...]:
    """Layers of compiled Python code in the configuration of a Keras model."""
    for member in archive.infolist():
        if member.filename.rpartition("/")[2] == "config.json":
            with archive.open(member) as content:
                if b"Lambda" in content.read(MAX_HEADER):
                    return ("a Lambda layer of Keras",)
    return ()


def _pickle(path: Path, scan: Scan) -> Checkpoint:
    if scan.names:
        return Checkpoint(path, "pickled objects", tuple(scan.names))
    return Checkpoint(path, "Lightning checkpoint" if scan.lightning else "state dict")


def check(
    checkpoint: Checkpoint, *, name: str, accepts: str, reads: tuple[Kind, ...], trusted: bool, plain: bool
) -> None:
    """Refuse a checkpoint that an adapter can't read, or that would run code without the user's word.

    Parameters
    ----------
    checkpoint
        The file or folder.
    name, accepts
        Of the adapter: its name and, in words, what it reads.
    reads
        Kinds that it reads; an empty tuple does not say.
    trusted
        Whether the user trusts the file.
    plain
        Whether the adapter reads pickles without building the classes that they name.

    Raises
    ------
    CheckpointError
        With what the adapter reads, or the option that allows it.
    """
    file, kind = checkpoint.path, checkpoint.kind
    if reads and kind not in reads:
        what = _WORDS.get(kind) or f"a {kind} file"
        raise CheckpointError(f"{file} is {what}; {name} reads {accepts}")
    if trusted or not checkpoint.runs_code or (plain and kind not in PROGRAMS):
        return
    if kind in PROGRAMS:
        what = kind
    else:
        more = f" and {len(checkpoint.foreign) - 3} more" if len(checkpoint.foreign) > 3 else ""
        what = f"pickled objects: {', '.join(checkpoint.foreign[:3])}{more}"
    raise CheckpointError(f"{file} can run code when read ({what[:300]}); {HOW_TO_TRUST}")
