"""Pickles, judged by their opcodes: which classes and functions one names, without building anything.

Needs the standard library alone.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

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
#: A pickle longer than this is not followed; tensors lie in other members of a torch file.
MAX_PICKLE = 256 * 2**20
#: Opcodes and pickles of a file that are followed, and bytes of a line.
MAX_OPCODES, MAX_PICKLES, MAX_LINE = 1_000_000, 16, 2**20
#: torch's format before 1.6: this number first, five pickles in all.
TORCH_MAGIC, TORCH_PICKLES = 0x1950A86A20F9469CFC6C, 5
NOT_FOLLOWED = "a pickle that can't be followed to its end"
_MARK = object()
_CALLING = frozenset({"BUILD", "INST", "NEWOBJ", "NEWOBJ_EX", "OBJ", "REDUCE"})


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
    return tuple(scan_pickles(io.BytesIO(content)).names)


def is_pickle(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a pickle, of whichever protocol."""
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


@dataclass
class Scan:
    """What the opcodes of one or more pickles say."""

    names: dict[str, None]
    calls: bool = False
    """Whether something foreign is called before the pickles end or make no sense."""
    lightning: bool = False


class _Opcodes:
    """A stream that ends after so many bytes and whose lines are short."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.left, self.done = file, MAX_PICKLE, 0

    def read(self, size: int) -> bytes:
        content = self.file.read(min(size, self.left))
        self._count(content)
        return content

    def readline(self) -> bytes:
        content = self.file.readline(min(MAX_LINE, self.left))
        self._count(content)
        return content

    def _count(self, content: bytes) -> None:
        self.left -= len(content)
        self.done += len(content)
        if self.left <= 0:
            raise ValueError("too long")


def scan_pickles(file: IO[bytes]) -> Scan:
    """Follow the opcodes of the pickles at the place of a file, with a stack of the texts that they push."""
    scan, stream, left = Scan({}), _Opcodes(file), MAX_OPCODES
    complete, expected = 0, 1
    while complete < MAX_PICKLES:
        before = stream.done
        try:
            first, left = _scan_one(stream, scan, left)
        except Exception:  # the tensors' bytes of torch's old format follow its pickles
            if complete < expected and stream.done > before + 1:
                scan.names[NOT_FOLLOWED] = None
            break
        complete += 1
        expected = TORCH_PICKLES if first == TORCH_MAGIC else expected
    return scan


def _scan_one(stream: _Opcodes, scan: Scan, left: int) -> tuple[object, int]:
    """Follow one pickle to its end; its first value, and how many opcodes may still follow."""
    stack: list[object] = []
    memo: dict[int, object] = {}
    first: object = None

    def pop(count: int = 1) -> list[object]:
        taken = stack[len(stack) - count :] if count <= len(stack) else [None] * (count - len(stack)) + stack
        del stack[max(0, len(stack) - count) :]
        return taken

    for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
        left -= 1
        if left < 0:
            raise ValueError("too many opcodes")
        name = opcode.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[argument if isinstance(argument, int) else len(memo)] = stack[-1] if stack else None
            continue
        if name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(argument) if isinstance(argument, int) else None)
            continue
        if name == "DUP":
            stack.append(stack[-1] if stack else None)
            continue
        before = opcode.stack_before
        if pickletools.markobject in before:
            while stack and stack.pop() is not _MARK:
                pass
            taken = pop(before.index(pickletools.markobject))
        else:
            taken = pop(len(before))
        if name in ("GLOBAL", "INST"):
            _add(scan.names, *str(argument).split(" ", 1))
        elif name == "STACK_GLOBAL":
            module, attribute = taken
            if isinstance(module, str) and isinstance(attribute, str):
                _add(scan.names, module, attribute)
            else:
                scan.names["a name that is computed"] = None
        elif name in ("EXT1", "EXT2", "EXT4"):
            scan.names[f"extension {argument}"] = None
        if scan.names and name in _CALLING:
            scan.calls = True
        if argument == "pytorch-lightning_version":
            scan.lightning = True
        first = argument if first is None and argument is not None and name not in ("PROTO", "FRAME") else first
        value = argument if name not in ("GLOBAL", "INST") and isinstance(argument, str) else None
        stack += [_MARK if one is pickletools.markobject else value for one in opcode.stack_after]
    return first, left


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
