"""The digest of a target's code: what its file and the helpers beside it do.

Needs the standard library alone and gives the same digest under every version of Python that the suite supports, so
that an embedding made with one is valid with another.
"""

from __future__ import annotations

import ast
import hashlib
import json
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

TARGETS = Path(__file__).resolve().parents[1] / "targets"
#: Digests of the first kind (the text of `ast.unparse`, which depends on Python's version), by those of today. Board
#: v1's files and the embeddings shipped with it name the former. Digests of new code have no entry, but for files that
#: learned to build a twin and do the same as before with the published weights (foldseek.py; a test compares the rows).
FORMER_DIGESTS = Path(__file__).resolve().parents[1] / "data" / "former_code_digests.json"
#: Decorators that hold cards: a corrected licence does not make stored embeddings stale.
_REGISTERING = ("target", "dataset", "recipe")
#: CPython's conversion of a syntax tree is not safe in threads: 3.11 fails at random ("recursion depth mismatch").
_parsing = threading.Lock()


def code_digest(path: Path) -> str:
    """Hash of what a target file does: its code without comments, docstrings and cards.

    Cards are left out because the fields that matter stand in the identity themselves: a new card in a family's
    file, or a corrected licence, does not make stored embeddings stale. Helper modules beside the file
    (``_*.py``) that it imports count as part of it.
    """
    digest = hashlib.sha256()
    for module in source_files(path):
        digest.update(_module_digest(module.read_bytes()))
    return former_digests().get(digest.hexdigest(), digest.hexdigest())


@lru_cache(maxsize=1)
def former_digests() -> dict[str, str]:
    """Digests that published files name, by the digest of the same code today."""
    return dict(json.loads(FORMER_DIGESTS.read_text("utf-8")))


@lru_cache(maxsize=512)
def _module_digest(source: bytes) -> bytes:
    digest = hashlib.sha256()
    for text in _tokens(_stripped(_parse(source))):
        digest.update(text.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.digest()


def _parse(source: bytes) -> ast.Module:
    with _parsing:
        return ast.parse(source)


def _stripped(tree: ast.Module) -> ast.Module:
    """Remove docstrings and the decorators that hold cards."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.decorator_list = [one for one in node.decorator_list if _name_of(one) not in _REGISTERING]
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def _name_of(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def _tokens(node: object) -> Iterator[str]:
    """Node names, fields by name and values, depth first; without empty fields: versions of Python differ there."""
    if isinstance(node, ast.Constant):
        yield f"Constant {type(node.value).__name__} {node.value!r}"
    elif isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name in sorted(node._fields):
            value = getattr(node, name, None)
            if value is not None and value != []:
                yield name
                yield from _tokens(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for one in node:
            yield from _tokens(one)
        yield "]"
    else:
        yield f"{type(node).__name__} {node!r}"


def source_files(path: Path) -> list[Path]:
    """List a target file and the ``_*.py`` beside it, or a folder up, that it imports, directly or through others."""
    paths = [path]
    for module in paths:
        for name in _imported(module.read_bytes()):
            own = f"{name.rpartition('.')[2]}.py"
            if not own.startswith("_"):
                continue
            folders = [TARGETS.joinpath(*name.split(".")[2:-1])] if name.startswith("consilience.targets") else []
            helper = next((f / own for f in (*folders, path.parent) if (f / own).is_file()), None)
            if helper is not None and helper not in paths:
                paths.append(helper)
    return paths


@lru_cache(maxsize=512)
def _imported(source: bytes) -> tuple[str, ...]:
    """Names that a module imports, and those of the modules that it imports from."""
    found: list[str] = []
    for node in ast.walk(_parse(source)):
        found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
    return tuple(found)
