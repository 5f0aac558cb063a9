"""Environments: each target file's PEP 723 header becomes a virtual environment, built once by uv.

Equal headers share an environment; a header that the running interpreter already satisfies needs none. The
environments lie in the suite's cache folder and hard-link their packages from uv's own cache, so that ten
environments with one torch hold one torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from consilience.cache import cache_dir
from consilience.circumstances import cut, tells_of_circumstance
from consilience.escaping import one_line
from consilience.files import write_atomically
from consilience.header import WORKER_REQUIREMENTS, Header

from . import guarded
from .foreign import uv_in_sandbox
from .sandbox import Sandbox


class EnvironmentBuildError(RuntimeError):
    """A target's environment could not be built; the message carries uv's own words.

    Parameters
    ----------
    message
        What uv said.
    circumstance
        Whether network, disk or memory is to blame, and not the header.
    """

    def __init__(self, message: str, *, circumstance: bool = False) -> None:
        super().__init__(message)
        self.circumstance = circumstance


def environments_dir() -> Path:
    """Folder that holds the built environments."""
    return cache_dir() / "environments"


def python_of(header: Header) -> Path | None:
    """Interpreter that satisfies a header, or None while its environment is not built."""
    if header.satisfied_here():
        return Path(sys.executable)
    root = environments_dir() / header.digest[:16]
    return _interpreter(root) if (root / "ready.json").is_file() else None


def site_folders(header: Header) -> list[str] | None:
    """Folders of the packages that a header's code imports; None while its environment is not built."""
    if header.satisfied_here():
        return [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    root = environments_dir() / header.digest[:16]
    if not (root / "ready.json").is_file():
        return None
    return [str(path) for path in (*root.glob("lib/python*/site-packages"), *root.glob("Lib/site-packages"))]


def ensure(header: Header, *, wheels_only: bool = False, sandbox: Sandbox = "none") -> Path:
    """Build a header's environment unless it stands, and return its interpreter.

    Safe to call from several processes at once: one builds, the others wait. A build that was killed leaves no
    ``ready.json`` and is begun anew.

    Parameters
    ----------
    header
        The header.
    wheels_only
        Whether to install wheels of the configured index only, so that no code of a package runs here: for the header
        of a stranger, which :func:`consilience.header.refuse_foreign` has to have let through.
    sandbox
        Which sandbox uv runs in, for the header of a stranger.

    Raises
    ------
    EnvironmentBuildError
        uv could not resolve or install the header.
    """
    ready = python_of(header)
    if ready is not None:
        return ready
    root = environments_dir() / header.digest[:16]
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        ready = python_of(header)
        if ready is not None:
            return ready
        # Beside, and renamed when it is complete: what is under this name is whole. uv ends with this process, so
        # nobody writes to the leftovers of a build that was killed.
        for leftover in root.parent.glob(f".{root.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
        try:
            _build(header, beside / root.name, _Stranger(sandbox, beside) if wheels_only else None)
            shutil.rmtree(root, ignore_errors=True)
            (beside / root.name).rename(root)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return _interpreter(root)


class _Stranger(NamedTuple):
    """How uv runs for the header of a stranger."""

    sandbox: Sandbox
    folder: Path
    """Holds the new environment."""


def _build(header: Header, root: Path, stranger: _Stranger | None) -> None:
    here = ".".join(map(str, sys.version_info[:2]))
    python = sys.executable if SpecifierSet(header.requires_python).contains(f"{here}.0") else header.requires_python
    _uv("venv", "--relocatable", "--python", str(python), str(root), header=header, stranger=stranger)
    settings: dict[str, Any] = json.loads(header.tool_uv)
    requirements = root / "requirements.txt"
    requirements.write_text("\n".join([*header.dependencies, *WORKER_REQUIREMENTS]) + "\n", "utf-8")
    command = ["pip", "install", "--python", str(_interpreter(root)), "--requirement", str(requirements)]
    overrides = settings.pop("override-dependencies", [])
    if overrides:
        (root / "overrides.txt").write_text("\n".join(overrides) + "\n", "utf-8")
        command += ["--override", str(root / "overrides.txt")]
    for package in settings.pop("no-build-isolation-package", []):
        command += ["--no-build-isolation-package", package]
    if stranger is not None:
        command += ["--only-binary", ":all:", "--no-sources"]
    if settings:
        raise EnvironmentBuildError(f"the header's [tool.uv] has settings that are not understood: {sorted(settings)}")
    _uv(*command, header=header, stranger=stranger)
    if stranger is not None:  # uv asks the interpreter, which would run what packages put into its start
        packages = _installed(root)
    else:
        packages = _uv("pip", "freeze", "--python", str(_interpreter(root)), header=header).splitlines()
    content = {"dependencies": header.dependencies, "packages": packages}
    write_atomically(root / "ready.json", json.dumps(content, indent=1))  # whatever a wheel put there


def _installed(root: Path) -> list[str]:
    """Packages in an environment by the files that they left, without running anything of it."""
    folders = [str(path) for path in (*root.glob("lib/python*/site-packages"), *root.glob("Lib/site-packages"))]
    return sorted(f"{canonicalize_name(one.name)}=={one.version}" for one in distributions(path=folders))


def packages_of(header: Header) -> list[str]:
    """Exact packages (``name==version``) of a built environment; empty for one that runs in place."""
    file = environments_dir() / header.digest[:16] / "ready.json"
    return list(json.loads(file.read_text("utf-8"))["packages"]) if file.is_file() else []


def _interpreter(root: Path) -> Path:
    return root / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _uv(*arguments: str, header: Header, stranger: _Stranger | None = None) -> str:
    command = (
        [_uv_binary(), *arguments, "--quiet", "--no-config"]
        if arguments[0] == "venv"
        else [_uv_binary(), *arguments, "--no-config"]
    )
    variables = uv_variables()
    if stranger is not None:
        command, variables = uv_in_sandbox(command, variables, *stranger)
    done = guarded.run(command, variables)
    if done.returncode != 0:
        tail = "\n".join(cut(line, 1000) for line in done.stderr.strip().splitlines()[-15:])
        text = tail or f"uv was ended by signal {-done.returncode}"
        circumstance = done.returncode < 0 or tells_of_circumstance(tail)
        what = f"uv could not provide {list(header.dependencies)}"
        if stranger is not None:
            what, text = f"{what} as wheels of the configured index", one_line(" ".join(text.split()))
        raise EnvironmentBuildError(f"{what}:{' ' if stranger else chr(10)}{text}", circumstance=circumstance)
    return done.stdout


@lru_cache(maxsize=1)
def _uv_binary() -> str:
    from uv import find_uv_bin

    return str(find_uv_bin())


def uv_variables() -> dict[str, str]:
    """Environment variables for uv, with pip's package sources handed on.

    uv does not read pip's settings. On clusters and behind mirrors pip is often the only tool that was set up;
    a find-links folder, an index or a certificate given to pip by variable also serves uv, unless uv has its own.
    """
    variables = dict(os.environ)
    for pip_name, uv_name in (
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_CERT", "SSL_CERT_FILE"),
    ):
        if variables.get(pip_name) and not variables.get(uv_name):
            value = variables[pip_name]
            variables[uv_name] = ",".join(value.split()) if uv_name == "UV_FIND_LINKS" else value
    variables.pop("VIRTUAL_ENV", None)
    return variables


def inventory(target_files: Mapping[Path, list[str]]) -> list[dict[str, Any]]:
    """Environments on disk, with the targets that use each and its size.

    Parameters
    ----------
    target_files
        Names of targets by the file they stand in.

    Returns
    -------
    list of dict
        ``digest``, ``mib`` (hard-linked files counted once, in the first environment that holds them),
        ``packages`` (their number), ``targets``.
    """
    users: dict[str, list[str]] = {}
    for path, names in target_files.items():
        if not path.is_file():  # registered in this process, and removed since
            continue
        users.setdefault(Header.of(path).digest[:16], []).extend(names)
    seen: set[tuple[int, int]] = set()
    entries = []
    for ready in sorted(environments_dir().glob("*/ready.json")):
        size = 0
        for file in ready.parent.rglob("*"):
            status = file.lstat()
            if file.is_file() and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                size += status.st_size
        name = ready.parent.name
        packages = json.loads(ready.read_text("utf-8"))["packages"]
        entries.append(
            {
                "digest": name,
                "mib": size / 2**20,
                "packages": len(packages),
                "targets": sorted(users.get(name, [])),
            }
        )
    return entries


def remove(digest: str) -> None:
    """Delete one environment by the name that :func:`inventory` gives it."""
    if not re.fullmatch(r"[0-9a-f]{16}", digest):
        raise ValueError(f"digest: expected 16 hexadecimal digits, found {digest!r}")
    shutil.rmtree(environments_dir() / digest, ignore_errors=True)
