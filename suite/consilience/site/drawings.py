"""Items as pictures, and who is whose neighbour: what a reader sees of a data set and of a model's space."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.cache import cache_dir
from consilience.files import write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.study import Study

#: Items for which a target page shows neighbours, and how many of them.
QUERIES = 8
NEAREST = 5
#: Items drawn on the page of a data set.
SAMPLE = 12
#: Structures in one file: a click loads one of these.
CHUNK = 25

_WIDTH, _HEIGHT = 320, 240
_PATH = re.compile(r"<path [^>]*?d='([^']*)'[^>]*?style='([^']*)'")
_TEXT = re.compile(r"<text x='([^']*)' y='([^']*)'[^>]*?style='([^']*)'[^>]*>([^<]*)</text>")
_NUMBER = re.compile(r"-?\d+\.\d+")
#: RDKit's colours that a dark page needs in another shade; a page's style sheet names them.
_SHADES = {"#000000": "currentColor", "#0000FF": "var(--atom-n)", "#FF0000": "var(--atom-o)"}


def choose(items: Items, count: int) -> list[int]:
    """Places of a seeded draw of items: the same on every machine."""
    place = {one: i for i, one in enumerate(items.ids)}
    return sorted(place[one] for one in items.sample(count).ids)


def label(items: Items, index: int) -> str:
    """What an item is called under its picture: its formula, or its id and length."""
    if items.has_view("atoms"):
        return _formulas(items)[index]
    if items.has_view("sequence"):
        return f"{len(items.view('sequence', [index])[0])} residues"
    return items.ids[index]


@lru_cache(maxsize=16)
def _formulas(items: Items) -> list[str]:
    try:
        return [str(one) for one in items.column("formula")]
    except (ValueError, KeyError):  # a data set without the column
        return [atoms.get_chemical_formula() for atoms in items.view("atoms")]


def draw(items: Items, index: int) -> str:
    """Draw an item as one SVG element without a background; its lines take the colour of the text around it.

    Molecules are drawn in 2D from their SMILES, crystals in their unit cell, proteins as the trace of their backbone.
    """
    if items.has_view("smiles"):
        body = _draw_molecule(items.view("smiles", [index])[0])
    elif items.has_view("atoms"):
        body = _draw_atoms(items, index)
    elif items.has_view("backbone"):
        body = _draw_trace(items, index)
    else:
        body = f'<text x="{_WIDTH // 2}" y="{_HEIGHT // 2}" text-anchor="middle">{escape(items.ids[index])}</text>'
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true" focusable="false">{body}</svg>'


def structure(items: Items, index: int) -> dict[str, Any] | None:
    """Structure of an item for the 3D viewer; lengths in hundredths of an Angstrom. None where it has none."""
    if items.has_view("atoms"):
        whole = items.structures
        start, stop = whole.offsets[index], whole.offsets[index + 1]
        found: dict[str, Any] = {
            "z": _symbols(whole.numbers[start:stop]),
            "p": _hundredths(whole.positions[start:stop]),
        }
        if whole.pbc[index].any():
            found["c"] = _hundredths(whole.cell[index])
        return found
    if items.has_view("backbone"):
        chain = items.chains
        start, stop = chain.offsets[index], chain.offsets[index + 1]
        trace = chain.coordinates[start:stop, 1]
        known = np.isfinite(trace).all(axis=1)
        return {"r": (np.flatnonzero(known) + 1).tolist(), "p": _hundredths(trace[known])}
    return None


def neighbours(study: Study, dataset: str, queries: Sequence[int], count: int = NEAREST) -> dict[str, list[list[int]]]:
    """Nearest items of each query in each model's space, beyond composition: what the ranked score compares.

    Parameters
    ----------
    study
        The board.
    dataset
        Data set.
    queries
        Places of items.
    count
        Neighbours of each, nearest first; the item itself is not among them.

    Returns
    -------
    dict
        By target whose embedding is at hand; an empty list where a target did not embed the item.
    """
    items = study.items(dataset)
    controls = items.controls()
    found: dict[str, list[list[int]]] = {}
    for name in study.records(dataset):
        embedding = study.embedding(dataset, name)
        if embedding is None or embedding.ids != items.ids:
            continue
        embedded = np.flatnonzero(embedding.embedded)
        if len(embedded) <= max(count, 10):
            continue
        near = _remembered(embedding.features[embedded], controls[embedded], embedded, queries, count)
        if near:
            found[name] = near
    return found


def _remembered(
    features: NDArray[np.float32],
    controls: NDArray[np.float64],
    embedded: NDArray[np.intp],
    queries: Sequence[int],
    count: int,
) -> list[list[int]]:
    """Nearest items, kept in the cache folder under a hash of all they depend on, the code that prepares included.

    Preparing hundreds of embeddings takes a good part of a minute, and they hardly change from one site to the next.
    """
    from consilience.metrics import preparation

    digest = hashlib.sha256(Path(preparation.__file__).read_bytes())
    for part in (features, controls, embedded, np.array([*queries, count])):
        digest.update(repr((part.shape, part.dtype.str)).encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    path = cache_dir() / "neighbours" / f"{digest.hexdigest()}.json"
    try:
        kept: list[list[int]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        kept = _nearest(features, controls, embedded, queries, count)
        with suppress(OSError):  # a cache that can't be written to costs time alone
            write_atomically(path, json.dumps(kept))
    return kept


def _nearest(
    features: NDArray[np.float32],
    controls: NDArray[np.float64],
    embedded: NDArray[np.intp],
    queries: Sequence[int],
    count: int,
) -> list[list[int]]:
    from consilience.metrics import prepare

    rows = prepare(features, scheme="standardized", controls=controls)
    if not rows.any():  # constant columns: everyone is everyone's neighbour
        return []
    place = {int(one): i for i, one in enumerate(embedded)}
    found: list[list[int]] = []
    for query in queries:
        if query not in place:
            found.append([])
            continue
        likeness = rows @ rows[place[query]]
        likeness[place[query]] = -np.inf
        found.append([int(embedded[i]) for i in np.argsort(-likeness, kind="stable")[:count]])
    return found


# -- drawing -------------------------------------------------------------------------------------------------------


def _draw_molecule(smiles: str) -> str:
    from rdkit import Chem, rdBase
    from rdkit.Chem.Draw import rdMolDraw2D

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return f'<text x="8" y="{_HEIGHT // 2}">{escape(smiles[:40])}</text>'
    # Letters as text, not as outlines: a tenth of the size.
    canvas = rdMolDraw2D.MolDraw2DSVG(_WIDTH, _HEIGHT, -1, -1, True)
    options: Any = canvas.drawOptions()
    options.clearBackground, options.bondLineWidth, options.padding = False, 3, 0.06
    options.fixedBondLength = 45
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, molecule)
    canvas.FinishDrawing()
    return _condensed(canvas.GetDrawingText())


def _condensed(svg: str) -> str:
    """Drawing of RDKit's with its strokes joined by colour and its numbers rounded."""
    strokes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, style in _PATH.findall(svg):
        kind = "stroke" if "fill:none" in style else "fill"
        colour = _style(style, kind)
        strokes[kind, _SHADES.get(colour, colour)].append(_NUMBER.sub(lambda one: f"{float(one[0]):.0f}", path))
    parts = []
    for (kind, colour), paths in strokes.items():
        drawn = re.sub(r"\s*([MLQCZ,])\s*", r"\1", " ".join(paths))
        look = f'fill="none" stroke="{colour}" stroke-width="2.5"' if kind == "stroke" else f'fill="{colour}"'
        parts.append(f'<path d="{drawn}" {look}/>')
    for x, y, style, text in _TEXT.findall(svg):
        colour, size = _style(style, "fill"), _style(style, "font-size").removesuffix("px")
        fill = _SHADES.get(colour, colour)
        parts.append(f'<text x="{float(x):.0f}" y="{float(y):.0f}" font-size="{size}" fill="{fill}">{text}</text>')
    return "".join(parts)


def _style(style: str, name: str) -> str:
    found = re.search(rf"(?:^|;){name}:([^;]*)", style)
    return found[1] if found else "currentColor"


def _draw_atoms(items: Items, index: int) -> str:
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    whole = items.structures
    start, stop = whole.offsets[index], whole.offsets[index + 1]
    turn = _turn(-80, 18)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    edges = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(corners[a] - corners[b]).sum() == 1]
    cell = corners @ whole.cell[index] @ turn if whole.pbc[index].any() else np.zeros((0, 3))
    numbers = whole.numbers[start:stop]
    atoms = whole.positions[start:stop] @ turn
    radii = 0.5 * covalent_radii[numbers]
    flat, scale = _fitted(np.vstack([atoms, cell]), float(radii.max()))
    at, box = flat[: len(atoms)], flat[len(atoms) :]
    parts = []
    if len(box):
        lines = "".join(f"M{box[a, 0]:.0f} {box[a, 1]:.0f}L{box[b, 0]:.0f} {box[b, 1]:.0f}" for a, b in edges)
        parts.append(f'<path d="{lines}" fill="none" stroke="currentColor" stroke-width="1.2" opacity=".55"/>')
    parts.append('<g stroke="currentColor" stroke-opacity=".45">')
    for i in np.argsort(atoms[:, 2], kind="stable"):
        red, green, blue = (int(255 * part) for part in jmol_colors[numbers[i]])
        parts.append(
            f'<circle cx="{at[i, 0]:.0f}" cy="{at[i, 1]:.0f}" r="{max(2.5, radii[i] * scale):.0f}" '
            f'fill="#{red:02x}{green:02x}{blue:02x}"/>'
        )
    return "".join(parts) + "</g>"


def _draw_trace(items: Items, index: int) -> str:
    chain = items.chains
    trace = chain.coordinates[chain.offsets[index] : chain.offsets[index + 1], 1].astype(np.float64)
    trace = trace[np.isfinite(trace).all(axis=1)]
    if len(trace) < 3:
        return ""
    centred = trace - trace.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    # The sign of an axis is arbitrary: the first residue lies left and above, on every machine.
    axes *= np.where((axes @ centred[0]) > 0, -1, 1)[:, None]
    flat, _ = _fitted(centred @ axes.T, 0.0)
    parts = []
    cuts = np.linspace(0, len(flat) - 1, 13).astype(int)
    for part, (start, stop) in enumerate(pairwise(cuts)):
        line = "L".join(f"{x:.0f} {y:.0f}" for x, y in flat[start : stop + 1, :2])
        parts.append(f'<path d="M{line}" stroke="hsl({240 - 20 * part} 75% 48%)"/>')
    return f'<g fill="none" stroke-width="4" stroke-linejoin="round" stroke-linecap="round">{"".join(parts)}</g>'


def _turn(around_x: float, around_y: float) -> NDArray[np.float64]:
    a, b = np.radians([around_x, around_y])
    first = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    second = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return np.asarray((second @ first).T)


def _fitted(points: NDArray[np.float64], margin: float) -> tuple[NDArray[np.float64], float]:
    """Points moved and scaled into the drawing, y downwards, and the scale."""
    low, high = points[:, :2].min(axis=0) - margin, points[:, :2].max(axis=0) + margin
    span = np.maximum(high - low, 1e-6)
    scale = float(min((_WIDTH - 16) / span[0], (_HEIGHT - 16) / span[1], 60.0))
    flat = (points[:, :2] - (low + high) / 2) * scale
    return np.column_stack([_WIDTH / 2 + flat[:, 0], _HEIGHT / 2 - flat[:, 1]]), scale


def _symbols(numbers: NDArray[np.uint8]) -> str:
    from ase.data import chemical_symbols

    return " ".join(chemical_symbols[number] for number in numbers)


def _hundredths(lengths: NDArray[Any]) -> list[int]:
    return [int(one) for one in np.rint(100 * np.asarray(lengths, dtype=np.float64)).ravel()]
