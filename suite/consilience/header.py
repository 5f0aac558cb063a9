"""The PEP 723 header of a file: the packages it needs, and where its own modules and inputs lie."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .bounds import parse_toml, read_text

#: What the worker needs beside the model's own packages.
WORKER_REQUIREMENTS = ("numpy", "pydantic>=2.9", "safetensors>=0.4.5")

_HEADER = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
#: Files that mark the top folder of a project.
_ROOT_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg")
#: A package above a target file is looked for so many folders up.
_MAX_FOLDERS_UP = 4


@dataclass(frozen=True)
class Header:
    """The PEP 723 block of a target file.

    Attributes
    ----------
    dependencies
        Requirements, in the file's order.
    requires_python
        Python versions allowed.
    tool_uv
        The ``[tool.uv]`` table (overrides of stale pins and the like).
    inputs, paths
        Of the ``[tool.consilience]`` table: globs of files that the target reads, and folders that its modules are
        imported from, both relative to the file. They are no part of the digest.
    network
        Of the same table: whether the target uses the network while it embeds, as one that calls a service does. What
        it gets there can't be traced, and the record says so.
    """

    dependencies: tuple[str, ...] = ()
    requires_python: str = ">=3.11"
    tool_uv: str = "{}"
    inputs: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    network: bool = False

    @classmethod
    def of(cls, path: Path) -> Header:
        """Read the header of a Python file; a file without one depends on nothing.

        Raises
        ------
        ValueError
            There are two ``script`` blocks, the block is not TOML, or ``[tool.consilience]`` holds something else.
        """
        try:
            text = read_text(path)
        except ValueError as error:
            raise ValueError(f"{path}: not a text of UTF-8: {error}") from error
        blocks = [m for m in _HEADER.finditer(text) if m["type"] == "script"]
        if len(blocks) > 1:
            raise ValueError(f"{path}: more than one PEP 723 script block")
        if not blocks:
            return cls()
        lines = blocks[0]["content"].splitlines()
        try:
            table = parse_toml("\n".join(line[2:] if line[1:2] == " " else line[1:] for line in lines))
        except ValueError as error:
            raise ValueError(f"{path}: the PEP 723 header is not TOML: {error}") from error
        tools = table.get("tool", {})
        tool_uv = json.dumps(tools.get("uv", {}), sort_keys=True)
        own = _own_table(path, tools.get("consilience", {}))
        return cls(tuple(table.get("dependencies", ())), table.get("requires-python", ">=3.11"), tool_uv, **own)

    @property
    def digest(self) -> str:
        """Hash that equal headers share; it is part of an embedding's identity."""
        text = json.dumps([sorted(self.dependencies), self.requires_python, self.tool_uv, WORKER_REQUIREMENTS])
        return hashlib.sha256(text.encode()).hexdigest()

    def satisfied_here(self) -> bool:
        """Whether the running interpreter already has everything the header asks for."""
        from packaging.specifiers import SpecifierSet

        if self.tool_uv != "{}":
            return False
        here = ".".join(map(str, sys.version_info[:3]))
        return SpecifierSet(self.requires_python).contains(here) and all(map(_installed, self.dependencies))


class ForeignHeaderError(ValueError):
    """The header of a stranger's file asks for more than packages of the configured index."""


def refuse_foreign(header: Header, name: str) -> None:
    """Refuse a stranger's header that names anything but packages of the configured index.

    Parameters
    ----------
    header
        Header of a file that somebody else wrote.
    name
        What messages call the file.

    Raises
    ------
    ForeignHeaderError
        A requirement is an address, a path or an option; ``[tool.uv]`` sets sources, an index or how packages are
        built; ``requires-python`` is no version; it asks for the network; or a path leads out of the file's folder.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    settings = json.loads(header.tool_uv)
    if not isinstance(settings, dict) or set(settings) - {"override-dependencies"}:
        names = ", ".join(sorted(settings)) if isinstance(settings, dict) else settings
        raise ForeignHeaderError(
            f"{name}: [tool.uv] of a stranger's header sets {names}; it may override versions only"
        )
    overrides = settings.get("override-dependencies", [])
    requirements = [*header.dependencies, *(overrides if isinstance(overrides, list) else [overrides])]
    for one in requirements:
        try:
            parsed = Requirement(one) if isinstance(one, str) else None
        except InvalidRequirement:
            parsed = None
        if parsed is None or parsed.url is not None:
            raise ForeignHeaderError(
                f"{name}: {one!r} in a stranger's header is no name and version of a package in the index"
            )
    try:
        SpecifierSet(header.requires_python)
    except (InvalidSpecifier, TypeError, AttributeError):
        raise ForeignHeaderError(f"{name}: requires-python is {header.requires_python!r}, not a version") from None
    if header.network:
        raise ForeignHeaderError(f"{name}: a stranger's header asks for the network: such rows can't be computed again")
    for path in (*header.inputs, *header.paths):
        if Path(path).is_absolute() or path.startswith("~") or ".." in Path(path).parts:
            raise ForeignHeaderError(f"{name}: {path!r} in a stranger's header leads out of the file's folder")


def _own_table(path: Path, table: Any) -> dict[str, Any]:
    """``inputs``, ``paths`` and ``network`` of a header's ``[tool.consilience]``."""
    if not isinstance(table, dict) or set(table) - {"inputs", "paths", "network"}:
        raise ValueError(f"{path}: the PEP 723 header's [tool.consilience] takes the keys inputs, paths and network")
    own: dict[str, Any] = {}
    for key, value in table.items():
        if key == "network":
            if not isinstance(value, bool):
                raise ValueError(f"{path}: network of the PEP 723 header has to be true or false")
            own[key] = value
        elif not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise ValueError(f'{path}: {key} of the PEP 723 header has to be a list of texts, as in {key} = ["..."]')
        else:
            own[key] = tuple(value)
    return own


def _installed(requirement: str) -> bool:
    from packaging.requirements import Requirement

    parsed = Requirement(requirement)
    if parsed.marker is not None and not parsed.marker.evaluate():
        return True
    if parsed.url is not None or parsed.extras:
        return False
    try:
        return parsed.specifier.contains(version(parsed.name), prereleases=True)
    except PackageNotFoundError:
        return False


def module_folders(path: Path) -> list[str]:
    """Folders that a file's own modules are imported from, after the installed packages.

    These are the file's folder and those above it up to the top of the project (at most four; where nothing marks the
    top, up to the folder that holds the package of the file, and one more), their ``src`` folders, the folders that
    ``[tool.consilience] paths`` of its header or of the project's ``pyproject.toml`` names, and those of
    ``PYTHONPATH``.

    Parameters
    ----------
    path
        A target file.

    Raises
    ------
    ValueError
        The header or the project's file can't be read.
    """
    folder = path.resolve().parent
    folders = [folder / one for one in Header.of(path).paths]
    above = [folder, *folder.parents][: _MAX_FOLDERS_UP + 1]
    top = next((i for i, one in enumerate(above) if any((one / mark).exists() for mark in _ROOT_MARKS)), None)
    if top is None:
        plain = next((i for i, one in enumerate(above) if not (one / "__init__.py").exists()), 0)
        top = min(plain + 1, len(above) - 1)
    above = [one for one in above[: top + 1] if one not in (Path.home(), Path(one.anchor))] or [folder]
    for one in above:
        folders += [one, one / "src"]
    folders += [above[-1] / one for one in _project_paths(above[-1])]
    folders += [Path(one) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    return list(dict.fromkeys(str(one.resolve()) for one in folders if one.is_dir()))


def _project_paths(folder: Path) -> list[str]:
    """``[tool.consilience] paths`` of a project's ``pyproject.toml``."""
    file = folder / "pyproject.toml"
    if not file.is_file() or b"consilience" not in (content := file.read_bytes()):
        return []
    try:
        table = parse_toml(content.decode()).get("tool", {}).get("consilience", {})
        paths = table.get("paths", [])
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file}: {error}") from None
    if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
        raise ValueError(f'{file}: paths of [tool.consilience] has to be a list of texts, as in paths = ["lib"]')
    return paths
