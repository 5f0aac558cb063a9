"""Kinds of checkpoints, recognised by content before anything is loaded; nothing here builds an object of a file.

A file can be of a kind that runs code when it is read (a pickle of classes, TorchScript, a package of code). Pickles
are judged by their opcodes. Needs the standard library alone.
"""

from __future__ import annotations

import _compat_pickle
import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

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
PROGRAMS: frozenset[Kind] = frozenset({"TorchScript", "torch package", "exported program"})

#: Globals that a pickle of tensors, arrays and plain values names; building these runs nothing of the file's choice.
#: torch's own list for ``weights_only=True``, and what adapters of the suite allow beside.
_PLAIN = {
    "_codecs": {"encode"},
    "argparse": {"Namespace"},
    "builtins": {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "set", "slice",
                 "str", "tuple"},
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copyreg": {"_reconstructor"},
    "datetime": {"date", "datetime", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "numpy": {"dtype", "ndarray"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "torch": {"Size", "Tensor", "device", "dtype"},
    "torch._tensor": {"_rebuild_from_type_v2"},
    "torch.nn.parameter": {"Buffer", "Parameter"},
    "torch.serialization": {"_get_layout"},
    "torch.storage": {"TypedStorage", "UntypedStorage"},
    "types": {"SimpleNamespace"},
}  # fmt: skip
_PLAIN_PATTERNS = (
    re.compile(
        r"torch\.(\w*Storage|\w*Tensor|u?int\d+|float\w+|b?complex\d+|bfloat16|bool|q?u?int\w+|bits\w+|per_\w+)"
    ),
    re.compile(r"torch\._utils\._rebuild_\w+"),
    re.compile(r"torch\.cuda\.\w*(Storage|Tensor)"),
    re.compile(r"numpy\.(_core|core)\.multiarray\.(_reconstruct|scalar)"),
    re.compile(r"numpy\.(_core|core)\.numeric\._frombuffer"),
    re.compile(r"numpy\.dtypes\.\w+DType"),
    re.compile(r"numpy\.(float|int|uint|complex|bool)\w*"),
)
#: Of a pickle longer than this the globals are looked for in its head; tensors lie in other members of a torch file.
MAX_PICKLE = 256 * 2**20
MAX_MEMBERS = 200_000
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
    except zipfile.BadZipFile as error:
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
    for file in sorted(path.rglob("*")):
        if file.name.endswith(".index.json"):
            _check_index(path, file)
        if file.is_file() and file.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".model", ".joblib"):
            with file.open("rb") as content:
                one = _file(file, content)
            if one.kind in PROGRAMS:
                foreign[f"{one.kind} in {file.name}"] = None
            foreign |= dict.fromkeys(one.foreign)
    return Checkpoint(path, kind, tuple(foreign))


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


def _file(path: Path, file: IO[bytes]) -> Checkpoint:
    head = file.read(512)
    file.seek(0)
    if not head:
        raise CheckpointError(f"{path}: the file is empty")
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _archive(path, file)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= path.stat().st_size:
        return Checkpoint(path, "safetensors")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Checkpoint(path, "HDF5")
    if head.startswith(b"GGUF"):
        return Checkpoint(path, "GGUF")
    if (
        head[:2] in (b"\x1f\x8b", b"BZ")
        or head.startswith((b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))
        or head[:1] == b"\x78"
    ):
        return Checkpoint(path, "compressed", _inside(path, head))
    if head[257:262] == b"ustar":
        return Checkpoint(path, "pickled objects", ("a tar archive of torch before 1.0",))
    text = head.lstrip()
    if text[:1] in (b"{", b"["):
        return Checkpoint(path, "JSON")
    if _is_pickle(head):
        content = file.read(MAX_PICKLE)
        return _pickle(path, content)
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and b"onnx" in head.lower()):
        return Checkpoint(path, "ONNX")
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return Checkpoint(path, "msgpack" if head[:1] in b"\x80\x81\x82\x83\x84\x85\x86\x87\xde\xdf" else "unknown")
    return Checkpoint(path, "text")


def _inside(path: Path, head: bytes) -> tuple[str, ...]:
    """Globals of a pickle that is compressed (joblib's files, say)."""
    import bz2
    import gzip
    import lzma
    import zlib

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
    return foreign_globals(content) if _is_pickle(content[:512]) else ()


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
        if "model.weights.h5" in tails or "config.json" in tails:
            return Checkpoint(path, "Keras")
        foreign: dict[str, None] = {}
        arrays = [name for name in names if name.endswith(".npy")]
        for name in arrays:
            with archive.open(name) as member:
                if b"'O'" in member.read(256) or b"|O" in archive.open(name).read(256):
                    foreign["an array of Python objects"] = None
        if arrays:
            return Checkpoint(path, "npz", tuple(foreign))
        pickles = [name for name in names if name.endswith((".pkl", ".pickle"))]
        lightning = False
        for name in pickles:
            with archive.open(name) as member:
                content = member.read(MAX_PICKLE)
            foreign |= dict.fromkeys(foreign_globals(content))
            lightning |= b"pytorch-lightning_version" in content
        if foreign:
            return Checkpoint(path, "pickled objects", tuple(foreign))
        if pickles:
            return Checkpoint(path, "Lightning checkpoint" if lightning else "state dict")
    return Checkpoint(path, "unknown")


def _is_pickle(head: bytes) -> bool:
    if head[:1] == b"\x80":
        return len(head) > 1 and head[1] <= 5
    # Protocol 0 and 1 have no mark: some opcodes that begin one, and a full stop is the last.
    try:
        first = [opcode.name for opcode, _, _ in _opcodes(head[:64])]
    except ValueError:
        return False
    return bool(first) and first[0] in {"GLOBAL", "MARK", "EMPTY_DICT", "EMPTY_LIST", "DICT", "LIST", "INST", "PROTO"}


def _opcodes(content: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, object, int | None]]:
    """Opcodes up to where the text ends or makes no sense."""
    try:
        yield from pickletools.genops(content)
    except Exception:  # cut off, or no pickle: what came before is what there is
        return


def _pickle(path: Path, content: bytes) -> Checkpoint:
    foreign = foreign_globals(content)
    if foreign:
        return Checkpoint(path, "pickled objects", foreign)
    return Checkpoint(path, "Lightning checkpoint" if b"pytorch-lightning_version" in content else "state dict")


def foreign_globals(content: bytes) -> tuple[str, ...]:
    """Names of what a pickle calls or builds, beyond tensors, arrays and plain values, in the order of the file.

    Parameters
    ----------
    content
        One or more pickles, one after another (torch's old format holds five).

    Examples
    --------
    >>> import collections, pickle
    >>> foreign_globals(pickle.dumps(collections.OrderedDict(a=1)))
    ()
    >>> foreign_globals(pickle.dumps(print))
    ('builtins.print',)
    """
    names: dict[str, None] = {}
    stream = io.BytesIO(content)
    while stream.tell() < len(content):
        before = stream.tell()
        strings: list[str] = []
        memo: dict[int, str] = {}
        last: str | None = None
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                name = opcode.name
                if name in ("GLOBAL", "INST") and isinstance(argument, str):
                    _add(names, *argument.split(" ", 1))
                elif name == "STACK_GLOBAL":
                    _add(names, *(strings[-2:] if len(strings) > 1 else ("?", "?")))
                elif name in ("EXT1", "EXT2", "EXT4"):
                    names[f"extension {argument}"] = None
                elif name in ("PUT", "BINPUT", "LONG_BINPUT") and last is not None and isinstance(argument, int):
                    memo[argument] = last
                elif name == "MEMOIZE" and last is not None:
                    memo[len(memo)] = last
                elif name in ("GET", "BINGET", "LONG_BINGET") and isinstance(argument, int):
                    last = memo.get(argument, "?")
                    strings.append(last)
                    continue
                if isinstance(argument, str) and name not in ("GLOBAL", "INST"):
                    strings.append(argument)
                    last = argument
                elif name == "MEMOIZE":
                    memo.setdefault(len(memo), "?")
                elif name not in ("PUT", "BINPUT", "LONG_BINPUT", "FRAME", "PROTO"):
                    last = None
        except Exception:  # the tensors' bytes of torch's old format follow the pickles
            return tuple(names)
        if stream.tell() == before:
            break
    return tuple(names)


def _add(names: dict[str, None], module: str, name: str = "?") -> None:
    # Pickles of protocols 0 to 2 name modules as Python 2 did; unpicklers translate them.
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    if not is_plain(module, name):
        names[f"{module}.{name}"] = None


def is_plain(module: str, name: str) -> bool:
    """Whether a global of a pickle is a tensor, an array or a plain value."""
    if name in _PLAIN.get(module, ()):
        return True
    return any(pattern.fullmatch(f"{module}.{name}") for pattern in _PLAIN_PATTERNS)


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
