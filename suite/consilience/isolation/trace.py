"""What a worker's code reads: files, folders, modules, packages.

Runs inside the worker, from its first line on, and needs the standard library alone. Python's audit events name the
files and folders that Python code opens; :mod:`.opens` names those of all other readers where the system allows it; the
mapped files and the imported modules are listed at the end.
"""

from __future__ import annotations

import errno
import os
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

from .opens import plain_path

_PACKAGE = str(Path(__file__).resolve().parents[1])
_FOLDER_EVENTS = ("os.listdir", "os.scandir")
#: Code of these lists the folders of ``sys.path`` to find modules; what it found is counted as modules.
_IMPORTERS = ("importlib", "pkgutil", "zipimport", "pkg_resources", "setuptools", "runpy")


class Trace:
    """Notes what this process reads; made once, before anything else is imported."""

    active: Trace | None = None
    """The one of this process; None where nothing is traced."""

    def __init__(self, *, complete: bool) -> None:
        self.complete = complete
        self.network = False
        """Whether the job may use the network; where the system observes its calls, it denies them itself."""
        self._versions: dict[str, str] = {}
        self._named: set[str] = set()
        self._files: dict[str, None] = {}
        self._written: dict[str, None] = {}
        self._folders: dict[str, None] = {}
        self._searched: dict[str, None] = {}
        self._relative: dict[str, None] = {}
        Trace.active = self
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            self._open(*arguments)
        elif event in _FOLDER_EVENTS:
            name = arguments[0]
            if isinstance(name, int):
                return
            path = _absolute("." if name is None else name)
            code = sys._getframe(1).f_code.co_filename
            importing = any(part in code for part in _IMPORTERS) and (path in sys.path or "frozen" in code)
            (self._searched if importing else self._folders)[path] = None
        elif event == "socket.connect" and not (self.complete or self.network):
            address = arguments[1]
            if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
                raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        elif event == "sqlite3.connect" and isinstance(arguments[0], str | bytes | os.PathLike):
            name = os.fsdecode(arguments[0])
            if name != ":memory:" and not name.startswith("file:"):
                self._files[_absolute(name)] = None

    def _open(self, name: Any, mode: Any, flags: Any) -> None:
        if not isinstance(name, str | bytes | os.PathLike):
            return
        path = _absolute(name)
        if not os.path.isabs(os.fsdecode(name)):
            self._relative[path] = None
        writes = isinstance(flags, int) and (flags & os.O_ACCMODE == os.O_WRONLY or flags & os.O_TRUNC)
        if writes or (isinstance(flags, int) and flags & os.O_CREAT and not os.path.lexists(path)):
            self._written[path] = None
        elif path not in self._written:
            self._files[path] = None

    def report(self) -> dict[str, Any]:
        """Return what was read so far, as JSON holds it.

        Returns
        -------
        dict
            ``complete``: whether the other end observes every call; ``files`` and ``written``: paths of files that
            Python opened or that are mapped; ``folders``: paths of folders whose names were listed; ``searched``:
            folders listed by imports alone; ``relative``: paths named relative to the working folder; ``modules``:
            files of imported modules outside the installed packages; ``packages``: versions of the distributions
            imported from; ``installed``: folders of those.
        """
        installed = _installed_folders()
        modules, names = _modules(installed)
        return {
            "complete": self.complete,
            "files": sorted({*self._files, *_mapped_files()}),
            "written": sorted(self._written),
            "folders": sorted(self._folders),
            "searched": sorted({*self._searched, *filter(os.path.isabs, sys.path)}),
            "relative": sorted(self._relative),
            "modules": sorted(modules),
            "packages": self._packages(names),
            "installed": installed,
        }

    def _packages(self, names: set[str]) -> dict[str, str]:
        if names - self._named:
            self._named, self._versions = names, _packages(names)
        return self._versions


def _absolute(name: Any) -> str:
    text = os.fsdecode(name)
    return plain_path(text if os.path.isabs(text) else os.path.join(os.getcwd(), text))


def _mapped_files() -> set[str]:
    """Files that are mapped into memory: libraries, and weights read without a copy."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            names = {line.split(maxsplit=5)[5].rstrip("\n") for line in file if line.count(" ") >= 5 and "/" in line}
    except OSError:
        return set()
    return {name for name in names if name.startswith("/") and os.path.isfile(name)}


def _installed_folders() -> list[str]:
    """Folders of the standard library and of installed packages: their versions count, not their files."""
    names = {
        path for key, path in sysconfig.get_paths().items() if key in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    names |= {*site.getsitepackages(), site.getusersitepackages()}
    names |= {sys.executable, os.environ.get("TMPDIR", "")}  # and what the job makes for itself
    names |= {os.path.join(prefix, "pyvenv.cfg") for prefix in (sys.prefix, sys.base_prefix)}
    # Of a virtual environment `get_paths` names its own folders alone, and the library of the base is elsewhere.
    names |= {os.path.dirname(os.__file__), os.path.join(sys.base_prefix, "lib")}
    return sorted({one for name in names if name for one in (os.path.abspath(name), os.path.realpath(name))})


def _modules(installed: list[str]) -> tuple[set[str], set[str]]:
    """Files of modules from elsewhere, and top-level names of modules from installed packages."""
    within = tuple(f"{folder}{os.sep}" for folder in installed)
    libraries = tuple(one for one in within if one.rstrip(os.sep).endswith(("site-packages", "dist-packages")))
    files, names = set(), set()
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or not os.path.isabs(path):
            continue
        if path.startswith(f"{_PACKAGE}{os.sep}") or name == "__main__":
            continue
        if path.startswith(libraries):
            names.add(name.partition(".")[0])
        elif not path.startswith(within):
            files.add(os.path.normpath(path))
    return files, names


def _packages(names: set[str]) -> dict[str, str]:
    """Versions of the distributions that hold these top-level modules."""
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    # Not along all of sys.path: setuptools puts its own copies of packages there, and its version says which they are.
    folders = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    found = {owner: find_version(owner, folders) for name in names for owner in owners.get(name, ())}
    return {owner: version for owner, version in sorted(found.items()) if version is not None}


def find_version(name: str, folders: list[str]) -> str | None:
    """Version of a distribution in these folders; None where there is none."""
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    for one in MetadataPathFinder.find_distributions(DistributionFinder.Context(name=name, path=folders)):
        return version_of(one)
    return None


def version_of(distribution: Any) -> str:
    """Version of a distribution; one that was installed from a local folder or file counts by content, too."""
    import hashlib

    source = distribution.read_text("direct_url.json")
    if source is None or '"file:' not in source:
        return str(distribution.version)
    record = distribution.read_text("RECORD") or ""
    lines = sorted(line for line in record.splitlines() if ".dist-info/" not in line and "__pycache__" not in line)
    return f"{distribution.version} {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"
