"""The identity of an embedding: everything that determines it."""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from consilience.isolation.environments import Header
from consilience.weights import sha256_of

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.registry import Target


TARGETS = Path(__file__).resolve().parents[1] / "targets"


@dataclass(frozen=True)
class Identity:
    """All that an embedding depends on; its digest is the key of the store."""

    target: str
    weights: str
    code: str
    environment: str
    dataset: str
    revision: str
    items: str
    layer: str
    pooling: str
    dtype: str = "float32"

    @property
    def key(self) -> str:
        """SHA-256 over all fields."""
        return hashlib.sha256(json.dumps(self.__dict__, sort_keys=True).encode()).hexdigest()


def identify(target: Target, items: Items) -> Identity:
    """Identity of the embedding of `items` by `target`."""
    weights = target.weights
    if weights.kind == "random":
        which = f"random:{weights.seed}"
    elif weights.kind == "file" and weights.path is not None:
        which = f"sha256:{sha256_of(weights.path)}"
    elif target.card.access != "package":  # no checksum is known beforehand
        which = f"published:{target.card.source}:{target.card.revision}"
    else:
        which = f"sha256:{weights.expected_sha256}"
    return Identity(
        target=target.name,
        weights=which,
        code=code_digest(target.path),
        environment=Header.of(target.path).digest,
        dataset=items.name,
        revision=items.revision,
        items=_items_given(target, items),
        layer=target.card.layer or "",
        pooling=target.card.pooling or "",
    )


def _items_given(target: Target, items: Items) -> str:
    """Hash of the items, and of which of them the card covers: the others are never embedded."""
    covered = items.covered_by(target.card)
    if len(covered) == len(items):
        return items.items_sha256
    return hashlib.sha256(json.dumps([items.items_sha256, covered]).encode()).hexdigest()


def code_digest(path: Path) -> str:
    """Hash of what a target file does: its code without comments, docstrings and cards.

    Cards are left out because the fields that matter stand in the identity themselves: a new card in a family's
    file, or a corrected licence, does not make stored embeddings stale. Helper modules beside the file
    (``_*.py``) that it imports count as part of it.
    """
    digest = hashlib.sha256()
    for module in source_files(path):
        tree = ast.parse(module.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                node.decorator_list = []
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        digest.update(ast.unparse(tree).encode())
    return digest.hexdigest()


def source_files(path: Path) -> list[Path]:
    """List a target file and the ``_*.py`` beside it, or a folder up, that it imports, directly or through others."""
    paths = [path]
    for module in paths:
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            for name in names:
                own = f"{name.rpartition('.')[2]}.py"
                folders = [TARGETS.joinpath(*name.split(".")[2:-1])] if name.startswith("consilience.targets") else []
                helper = next((f / own for f in (*folders, path.parent) if (f / own).is_file()), None)
                if own.startswith("_") and helper is not None and helper not in paths:
                    paths.append(helper)
    return paths
