"""Tensors out of pickles that name classes which are not installed; nothing but tensors is built, nothing is run."""

from __future__ import annotations

import io
import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

#: What is built as named; every other class or function becomes a placeholder.
BUILT = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
}


class Placeholder:
    """Stands for an object of any other class; `state` is what the object's `__dict__` held."""

    state: Any = None

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Take and forget an item of a list."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        import torch

        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return lambda content: torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return super().find_class(module, name) if (module, name) in BUILT else Placeholder


def read_pickle(path: Path) -> Any:
    """Read a plain pickle."""
    with path.open("rb") as file:
        return _Unpickler(file).load()


def read_torch_file(path: Path) -> Any:
    """Read what `torch.save` wrote."""
    import torch

    module: Any = SimpleNamespace(
        __name__="pickle", Unpickler=_Unpickler, load=lambda file, **how: _Unpickler(file, **how).load()
    )
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)
