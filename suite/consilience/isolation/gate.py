"""The gate through which every checkpoint of a user passes that is not trusted: code in it is not run.

Runs inside the worker, before a target's `load`. What an unpickler would build is judged name by name as it is read
(the audit event ``pickle.find_class``, which joblib, NumPy and torch raise too), so the bytes judged are the bytes
loaded. TorchScript has no such event: its readers are replaced. A target that reads pickles without their classes has
its own unpickler, which raises no event.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from consilience.checkpoints import is_plain

_FROZEN = "<frozen importlib"
#: Readers of programs, by module; each is replaced where torch is installed.
_TORCH_READERS = {
    "torch.jit": ("load",),
    "torch.jit._serialization": ("load",),
    "torch._C": ("import_ir_module", "import_ir_module_from_buffer", "_import_ir_module_from_package"),
    "torch.package": ("PackageImporter",),
    "torch.export": ("load",),
    "torch.hub": ("load", "load_state_dict_from_url"),
}


class UntrustedError(RuntimeError):
    """A checkpoint would run code, and the user did not say that it is trusted."""


def close(checkpoint: Path, *, how_to_trust: str) -> None:
    """Refuse from now on, in this process, to run code of a checkpoint; it can't be opened again.

    Parameters
    ----------
    checkpoint
        The user's file or folder.
    how_to_trust
        What the message says of the option that allows it.
    """

    def refuse(what: str) -> NoReturn:
        raise UntrustedError(f"{checkpoint.name} would run code when read ({what}); {how_to_trust}")

    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    below = f"{folder.resolve()}/"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            module, name = arguments[-2:]
            if not is_plain(str(module), str(name)) and not _importing():
                refuse(f"it names {module}.{name}")
        elif event == "marshal.loads":
            if not _importing():
                refuse("it holds compiled Python code")
        elif event == "exec":
            file = getattr(arguments[0], "co_filename", "")
            if checkpoint.is_dir() and file.startswith(below):
                refuse(f"it holds {Path(file).name}")

    sys.addaudithook(hook)
    if importlib.util.find_spec("torch") is not None:
        _replace_readers(refuse)


def _replace_readers(refuse: Callable[[str], NoReturn]) -> None:
    def refused(*arguments: Any, **options: Any) -> NoReturn:
        refuse("it is TorchScript, or another program of torch")

    for module_name, names in _TORCH_READERS.items():
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        for name in names:
            if hasattr(module, name):
                setattr(module, name, refused)


def _importing() -> bool:
    """Whether an import is what runs: an installed package may read pickles of its own."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_FROZEN):
            return True
        frame = frame.f_back
    return False
