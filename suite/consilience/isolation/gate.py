"""The gate through which every checkpoint of a user passes that is not trusted: code in it is not run.

Runs inside the worker, before a target's `load`. What an unpickler would build is judged name by name as it is read
(the audit event ``pickle.find_class``, which joblib, NumPy and torch raise too), so the bytes judged are the bytes
loaded. TorchScript has no such event: its readers are replaced. So are functions with which a package imports the
classes that a configuration names. A target that reads pickles without their classes has its own unpickler, which
raises no event.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from consilience.pickles import is_plain

_FROZEN = "<frozen importlib"
#: Readers of programs, by module; each is replaced where torch is installed.
_TORCH_READERS = {
    "torch.jit": ("load", "jit_module_from_flatbuffer"),
    "torch.jit._serialization": ("load", "jit_module_from_flatbuffer"),
    "torch._C": (
        "import_ir_module",
        "import_ir_module_from_buffer",
        "_import_ir_module_from_package",
        "_load_for_lite_interpreter",
        "_load_for_lite_interpreter_from_buffer",
        "_load_jit_module_from_bytes",
        "_load_jit_module_from_file",
        "_load_mobile_module_from_bytes",
        "_load_mobile_module_from_file",
    ),
    "torch.package": ("PackageImporter",),
    "torch.export": ("load",),
    "torch.hub": ("load", "load_state_dict_from_url"),
}
#: Readers of programs in modules that are imported late, if at all.
_LATE_READERS = {
    "torch._inductor.package.package": ("load_package",),
    "tensorflow.python.saved_model.load": ("load", "load_partial"),
}
#: Modules that import what a configuration names, with `__import__`: layers of this package are allowed.
_NAMING = {"matgl.utils.io": "matgl"}


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
        elif event in ("exec", "import", "ctypes.dlopen") and checkpoint.is_dir():
            file = arguments[1] if event == "import" else getattr(arguments[0], "co_filename", arguments[0])
            if isinstance(file, str) and file.startswith(below):
                refuse(f"it holds {Path(file).name}")

    sys.addaudithook(hook)
    sys.meta_path.insert(0, _Late(refuse))
    if importlib.util.find_spec("torch") is not None:
        _replace_readers(refuse)


def _replace_readers(refuse: Callable[[str], NoReturn]) -> None:
    for module_name, names in _TORCH_READERS.items():
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        _replace(module, names, refuse)


def _replace(module: ModuleType, names: Sequence[str], refuse: Callable[[str], NoReturn]) -> None:
    def refused(*arguments: Any, **options: Any) -> NoReturn:
        refuse("it is TorchScript, a SavedModel or another program")

    for name in names:
        if hasattr(module, name):
            setattr(module, name, refused)


class _Late:
    """Finds modules as Python does, and replaces what reads programs in them once they are imported."""

    def __init__(self, refuse: Callable[[str], NoReturn]) -> None:
        self.refuse = refuse
        for name in (*_LATE_READERS, *_NAMING):
            if name in sys.modules:
                self._mend(sys.modules[name])

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in _LATE_READERS and name not in _NAMING:
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, _Late))
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target)) is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_mend(module: ModuleType) -> None:
            execute(module)
            self._mend(module)

        spec.loader.exec_module = execute_and_mend  # type: ignore[method-assign]
        return spec

    def _mend(self, module: ModuleType) -> None:
        _replace(module, _LATE_READERS.get(module.__name__, ()), self.refuse)
        package = _NAMING.get(module.__name__)
        if package is not None:
            module.__dict__["__import__"] = _import_layers(package, self.refuse)


def _import_layers(package: str, refuse: Callable[[str], NoReturn]) -> Callable[..., ModuleType]:
    """`__import__` that gives layers of one package alone."""

    def import_layers(name: str, *places: Any, **options: Any) -> ModuleType:
        wanted = options.get("fromlist") or (places[2] if len(places) > 2 else ())
        inside = name == package or name.startswith(f"{package}.")
        module = __import__(name, *places, **options) if inside else None
        for one in wanted or ("?",):
            layer = getattr(module, one, None)
            base = sys.modules["torch"].nn.Module
            if not (isinstance(layer, type) and issubclass(layer, base)):
                refuse(f"it names {name}.{one}")
        assert module is not None
        return module

    return import_layers


def _importing() -> bool:
    """Whether an import is what runs: an installed package may read pickles of its own."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_FROZEN):
            return True
        frame = frame.f_back
    return False
