"""What the scripts above this file share: items from the file that the test wrote, rows into the file it reads.

A script is called with these two paths and the name of the card. It runs in the family's environment, reads the items
one by one and calls the package as its documentation does; nothing of the suite is imported.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import pairwise
from typing import Any
from unittest.mock import MagicMock

import numpy as np

ITEMS, OUT, CARD, *ARGUMENTS = sys.argv[1:]


def read() -> list[Any]:
    """Items: strings, ``ase.Atoms``, or pairs of a sequence and (L, 4, 3) coordinates."""
    with np.load(ITEMS) as file:
        view = str(file["view"])
        if view == "atoms":
            return [_atoms(file, i) for i in range(len(file["offsets"]) - 1)]
        if view == "backbone":
            letters = file["residues"].tobytes().decode()
            return [(letters[i:j], file["coordinates"][i:j]) for i, j in pairwise(file["offsets"])]
        text = file["text_bytes"].tobytes()
        return [text[i:j].decode() for i, j in pairwise(file["text_offsets"])]


def _atoms(file: Any, i: int) -> Any:
    from ase import Atoms

    here = slice(*file["offsets"][i : i + 2])
    info = {"charge": int(file["charge"][i]), "spin": int(file["spin"][i])}
    cell, pbc = file["cell"][i], file["pbc"][i]
    return Atoms(file["numbers"][here], file["positions"][here], cell=cell, pbc=pbc, info=info)


def run(call: Callable[[Any], Any]) -> None:
    """Write the rows of all items; `call` gives a row, or a row and an energy in eV, and may fail."""
    rows: list[Any] = []
    energies: list[float] = []
    reasons: list[str] = []
    for item in read():
        try:
            found = call(item)
            row, energy = found if isinstance(found, tuple) else (found, np.nan)
            row = np.asarray(row, dtype=np.float64).reshape(-1)
            if not np.isfinite(row).all():
                raise ValueError("the package gives no number in some column")
            rows.append(row)
            energies.append(float(energy))
            reasons.append("")
        except Exception as error:  # a package may fail in any way
            traceback.print_exc()
            rows.append(None)
            energies.append(np.nan)
            reasons.append(f"{type(error).__name__}: {error}")
    width = max((len(row) for row in rows if row is not None), default=0)
    filled = [np.full(width, np.nan) if row is None else row for row in rows]
    np.savez(OUT, rows=np.array(filled), energies=np.array(energies), reasons=np.array(json.dumps(reasons)))


def boxed(atoms: Any) -> Any:
    """Crystals as they are; molecules in the middle of an empty cube, for codes that know periodic matter alone."""
    if atoms.pbc.any():
        return atoms
    box = atoms.copy()
    box.set_cell([40.0, 40.0, 40.0])
    box.positions += 20.0 - box.positions.mean(axis=0)
    box.pbc = True
    return box


def absent(*names: str) -> None:
    """Stand-ins for packages that the environment leaves out and a package's import, but not its call, asks for."""
    sys.meta_path.append(_StandIns(names))


class _StandIns(MetaPathFinder, Loader):
    """Finds modules of absent packages: whatever is taken from them exists and does nothing."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self.names else None

    def create_module(self, spec: ModuleSpec) -> Any:
        return MagicMock(__path__=[])

    def exec_module(self, module: Any) -> None:
        pass


class Caught:
    """Inputs or output of a torch module as its last call saw them.

    Parameters
    ----------
    module
        The module to watch.
    output
        Keep what it returns instead of its arguments.
    """

    def __init__(self, module: Any, *, output: bool = False) -> None:
        self.value: Any = None
        if output:
            module.register_forward_hook(lambda _, inputs, found: setattr(self, "value", found))
        else:
            module.register_forward_pre_hook(lambda _, inputs: setattr(self, "value", inputs[0]))

    def mean(self, pick: Callable[[Any], Any] = lambda value: value) -> Any:
        """Mean over the first axis of what `pick` takes of it, in double precision."""
        return pick(self.value).detach().double().mean(dim=0).cpu().numpy()
