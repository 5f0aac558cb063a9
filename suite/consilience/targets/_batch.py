"""What targets share: batches in which an item may fail, pooling, reading checkpoints."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.weights import Embedded, as_energies, as_features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from consilience.weights import Weights

ALLOW = "if you trust it, allow it with --align-trust-checkpoint (pytest) or --trust-checkpoint (consilience)"

_SYMBOLS = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y
    Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re
    Os Ir Pt Au Hg Tl Pb Bi Ac Th Pa U Np Pu
"""
#: H to Bi and Ac to Pu: the elements of Materials Project data, which most crystal models cover.
ELEMENTS_89 = tuple(_SYMBOLS.split())


#: Atoms of one batch: a batch of items is cut where it has more, so that large crystals do not fill the memory.
#: (A GPU that runs out of memory says so and gets smaller batches; on a CPU the system ends the process instead.)
ATOMS_PER_BATCH = 2048


def embed_by_batch(
    prepare: Callable[[Any], Any],
    forward: Callable[[list[Any]], tuple[Any, Any]],
    dimension: int,
    elements: Sequence[str] | None = None,
    *,
    save: Callable[[Path], object] | None = None,
    size: Callable[[Any], int] = len,
    max_atoms: int = ATOMS_PER_BATCH,
    truncated: Callable[[Any], float] | None = None,
) -> Callable[[list[Any]], Embedded]:
    """Make `embed` of a step per item and a step per batch; an item that fails gets NaN and a reason.

    Parameters
    ----------
    prepare
        Turns an item (an `ase.Atoms`, a string, a `Backbone`) into what the model reads (a graph, tokens); what it
        raises becomes the item's reason.
    forward
        Turns a list of graphs into ``(n, d)`` features and ``(n,)`` energies in eV, or None.
    dimension
        Columns of the features.
    elements
        Chemical symbols that the model covers, for structures.
    save
        Writes the model's weights to a path, as the file (or folder) that the target reads as a user's checkpoint;
        returns the path it wrote to where the format asks for another suffix.
    size
        Size of an item: atoms of a structure, characters of a string.
    max_atoms
        Atoms (as `size` counts them) that one call of `forward` is given; a single item may have more.
    truncated
        Share of an item that `prepare` cut off, told from what `prepare` returned.
    """
    covered = None if elements is None else frozenset(elements)

    def embed(items: list[Any]) -> Embedded:
        features = np.full((len(items), dimension), np.nan, dtype=np.float32)
        energies = np.full(len(items), np.nan)
        reasons: list[str | None] = [None] * len(items)
        cut = None if truncated is None else np.zeros(len(items), dtype=np.float32)
        graphs: dict[int, Any] = {}
        for index, atoms in enumerate(items):
            try:
                foreign = set(atoms.get_chemical_symbols()) - covered if covered is not None else None
                if foreign:
                    raise ValueError(f"elements not covered: {' '.join(sorted(foreign))}")
                graphs[index] = prepare(atoms)
                if truncated is not None and cut is not None:
                    cut[index] = truncated(graphs[index])
            except Exception as error:  # a foreign graph builder may fail in any way; the batch goes on
                reasons[index] = _reason(error)

        def run(indices: list[int]) -> None:
            try:
                rows, values = forward([graphs[index] for index in indices])
            except Exception as error:
                reason = _reason(error)
                if len(indices) == 1:
                    reasons[indices[0]] = reason
                    return
                for index in indices:  # find the item that is to blame
                    run([index])
                return
            features[indices] = as_features(rows)
            if values is not None:
                energies[indices] = as_energies(values).reshape(-1)

        for indices in _groups({index: size(items[index]) for index in graphs}, max_atoms):
            run(indices)
        return Embedded(features, energies, reasons, cut)

    embed.save = save  # type: ignore[attr-defined]
    return embed


def _groups(atoms: dict[int, int], most: int) -> list[list[int]]:
    """Items in order, in groups of at most so many atoms (or of one item)."""
    groups: list[list[int]] = []
    room = 0
    for index, count in atoms.items():
        if not groups or count > room:
            groups.append([])
            room = most
        groups[-1].append(index)
        room -= count
    return groups


def _reason(error: Exception) -> str:
    """One line about a failure; a failure for want of memory is no item's fault and is raised again."""
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
        raise error
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def require_molecule(atoms: Any) -> None:
    """Refuse a periodic structure, for models of molecules."""
    if np.any(atoms.pbc):
        raise ValueError("periodic structures are outside this model's domain")


def mean_over_atoms(per_atom: Any, counts: Any) -> Any:
    """Mean of the rows of each item; items lie one after another, `counts` says how many rows each has.

    Summed in double precision, item by item, so that the batch an item is in leaves no trace.
    """
    import torch

    return torch.segment_reduce(per_atom.double(), "mean", lengths=counts, axis=0)


def require_trust(weights: Weights) -> None:
    """Refuse a user's checkpoint that opens by unpickling or running it, unless the user vouches for it."""
    if weights.kind == "file" and not weights.trusted:
        raise ValueError(f"such a checkpoint can run code when read; {ALLOW}")


def read_checkpoint(weights: Weights, published: str | Path | Callable[[], str | Path]) -> Any:
    """Read the user's checkpoint or the published one (a path, or a download); unpickle only where a user vouches."""
    import torch

    path = weights.file_or_published(published)
    unpickle = weights.kind == "file" and weights.trusted
    try:
        return torch.load(path, map_location="cpu", weights_only=not unpickle)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path.name} holds pickled objects, which can run code when read; {ALLOW}") from error
