"""The inputs of an embedding: all that a target's code read while it embedded, and whether that is still the same.

A target of a user reads files that its identity does not name: weights beside the file, a configuration, a module of
the same project. They are observed while it runs (:mod:`consilience.isolation.trace`) and noted with the rows. Stored
rows are valid while every input is unchanged: by device, inode, size and times of each file, otherwise by its content.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.cache import cache_dir
from consilience.header import Header
from consilience.isolation.environments import site_folders
from consilience.isolation.trace import find_version
from consilience.isolation.variables import passed_digests

from .code import source_files

if TYPE_CHECKING:
    from consilience.isolation.opens import Opens
    from consilience.registry import Target

PACKAGE = Path(__file__).resolve().parents[1]
#: Names that hold no input: caches, version control, what this suite writes.
IGNORED_NAMES = (
    "__pycache__",
    "*.pyc",
    "*.pyo",
    ".git",
    ".hg",
    ".svn",
    ".jj",
    ".consilience",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".hypothesis",
    ".asv",
    ".ipynb_checkpoints",
    ".venv",
    ".tox",
    ".nox",
    ".DS_Store",
    "*.part",
    "*.lock",
)
#: Locks of LMDB, and the index that SQLite rebuilds: each reader writes them. Folders of these names count.
_LOCKS = ("lock.mdb", "*-lock", "*-shm")
#: Files of the system: they describe the machine, not the model.
_SYSTEM = (
    "/proc/",
    "/sys/",
    "/dev/",
    "/run/",
    "/lib/",
    "/lib32/",
    "/lib64/",
    "/bin/",
    "/sbin/",
    "/usr/lib/",
    "/usr/lib32/",
    "/usr/lib64/",
    "/usr/libexec/",
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/include/",
    "/usr/share/locale",
    "/usr/share/zoneinfo/",
    "/var/",
    "/etc/ld.so",
    "/etc/ssl/",
    "/etc/pki/",
    "/etc/fonts/",
)
_SYSTEM_FILES = frozenset(
    f"/etc/{name}"
    for name in (
        "hosts",
        "hostname",
        "resolv.conf",
        "nsswitch.conf",
        "passwd",
        "group",
        "localtime",
        "timezone",
        "machine-id",
        "os-release",
        "mime.types",
        "host.conf",
        "gai.conf",
        "services",
        "protocols",
        "magic",
        "mtab",
        "environment",
    )
)
#: Where opens can't be observed, all files of the target's folder count, up to so many files and bytes.
MAX_FILES, MAX_BYTES = 2_000, 20 * 2**30
#: A file that changed less than this many seconds before it was hashed can change again within one tick of the clock.
_TICK = 2.0
ABSENT = "absent"


class InputsError(RuntimeError):
    """What a target read can't be known; the message says what to do."""


@dataclass(frozen=True)
class Origin:
    """Where an embedding's code and weights come from: what its inputs are relative to."""

    target_file: Path
    checkpoint: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the variables handed on to the worker on the user's word, by name."""

    @classmethod
    def of(cls, target: Target) -> Origin:
        """Origin of what a target embeds."""
        weights = target.weights
        return cls(target.path, weights.path if weights.kind == "file" else None, passed_digests())

    @property
    def of_suite(self) -> bool:
        """Whether the target is one of the suite's own that reads its published weights."""
        return self.checkpoint is None and PACKAGE in self.target_file.parents

    def spell(self, path: str) -> str:
        """Name of a path that stays the same where the folder is moved with the files in it."""
        for name, folder in self._folders():
            if path == folder or path.startswith(f"{folder}{os.sep}"):
                return f"<{name}>{path[len(folder) :].replace(os.sep, '/')}"
        return path

    def resolve(self, name: str) -> str:
        """Path of a name that `spell` made."""
        for one, folder in self._folders():
            if name.startswith(f"<{one}>"):
                return folder + name[len(one) + 2 :].replace("/", os.sep)
        return name

    def _folders(self) -> Iterator[tuple[str, str]]:
        if PACKAGE not in self.target_file.parents:
            yield "target", str(self.target_file.parent)
        if self.checkpoint is not None:
            yield "checkpoint", str(self.checkpoint.parent)


@dataclass(frozen=True)
class Inputs:
    """What an embedding was made from, beside its identity.

    Attributes
    ----------
    files
        SHA-256 by path; ``"absent"`` for a file that was looked for and not there.
    folders
        SHA-256 of the names in each folder that was listed.
    packages
        Version of each distribution that was imported.
    variables
        SHA-256 of each environment variable handed on to the worker.
    settings
        ``"folder"``: the working folder, where a file was named relative to it.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return it as JSON, the same text for the same inputs."""
        content = {name: dict(sorted(value.items())) for name, value in self.__dict__.items()}
        return json.dumps(content, sort_keys=True)

    def merged(self, later: Inputs) -> Inputs:
        """Return these inputs and those of a later part of the same embedding."""
        return Inputs(**{name: {**table, **getattr(later, name)} for name, table in self.__dict__.items()})

    @classmethod
    def from_json(cls, text: str) -> Inputs:
        """Read what `to_json` wrote; raises `ValueError` where it is something else."""
        content = json.loads(text)
        names = set(cls.__dataclass_fields__)
        if not isinstance(content, dict) or set(content) != names:
            raise ValueError(f"inputs: expected the keys {sorted(names)}")
        for name, table in content.items():
            if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
                raise ValueError(f"inputs: {name} has to map names to texts")
        return cls(**content)


def collect(
    report: Mapping[str, Any],
    opens: Opens | None,
    target: Target,
    *,
    outputs: Iterable[Path] = (),
    verified: Iterable[str] = (),
) -> Inputs:
    """Inputs that a finished worker read.

    Parameters
    ----------
    report
        What its :class:`~consilience.isolation.trace.Trace` reported.
    opens
        What was observed from outside; None where the system does not allow it.
    target
        Whose code ran.
    outputs
        Folders that the suite itself writes for the worker.
    verified
        Weight files whose SHA-256 the card states: the identity counts them, and they can be fetched again.

    Raises
    ------
    InputsError
        A file changed while it was read, or the inputs can't be observed and the folder is too large.
    """
    origin, header = Origin.of(target), Header.of(target.path)
    observed = opens is not None and opens.complete and report["complete"]
    statuses = dict(opens.files) if opens is not None else {}
    written = {*report["written"], *(opens.written if opens is not None else ())}
    # The target's own code is counted by its digest, without docstrings and cards.
    own = {*verified, *(str(path) for path in source_files(target.path))}
    ignored = (*_SYSTEM, *(f"{folder}{os.sep}" for folder in (*report["installed"], PACKAGE, *_own_folders(outputs))))
    names = {*statuses, *report["files"], *report["modules"]}
    if not observed and not origin.of_suite:
        names |= set(_folder_files(origin, header))
    names |= set(_declared(origin, header))
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    listed, searched = set(report["folders"]), set(report["searched"])
    for name in sorted(names):
        if name in own or not _counts(name, ignored, report["installed"]):
            continue
        status = statuses.get(name) if name in statuses else _status(name)
        if status is None and not os.path.lexists(name):
            if name not in written:
                files[origin.spell(name)] = ABSENT
        elif os.path.isdir(name):
            if name not in searched:
                listed.add(name)
        elif os.path.isfile(name):
            now = _status(name)
            if status is not None and now is not None and _stamp(status) != _stamp(now):
                if name in written or name in report["written"]:
                    continue  # the target's own output
                # A database that its reader tidies up, say: what it has become counts.
                if opens is None or name not in opens.shared:
                    raise InputsError(f"{name} changed while {target.name} read it; run it again")
            if name in written:
                continue
            files[origin.spell(name)] = content_of(name)
    for name in sorted(listed):
        if _counts(f"{name}{os.sep}", ignored, report["installed"]) and os.path.isdir(name):
            folders[origin.spell(name)] = names_in(name)
    relative = {*report["relative"], *(opens.relative if opens is not None else ())}
    by_folder = any(origin.spell(name) in files or origin.spell(name) in folders for name in relative)
    settings = {"folder": origin.spell(os.getcwd())} if by_folder else {}
    return Inputs(files, folders, dict(report["packages"]), dict(origin.variables), settings)


def changes(inputs: Inputs, origin: Origin, stamps: dict[str, list[int]]) -> Iterator[str]:
    """Say what is no longer as it was when the rows were made, one line each; nothing where they are valid.

    Parameters
    ----------
    inputs
        What the rows were made from.
    origin
        Of the target as it is now.
    stamps
        Device, inode, size and times of files whose content is known to be that of `inputs`, by path. It is updated.
    """
    for name, digest in inputs.files.items():
        path = origin.resolve(name)
        status = _status(path)
        if status is None:
            if digest != ABSENT:
                yield f"{path} is gone"
        elif digest == ABSENT:
            yield f"{path} is new"
        elif stamps.get(name) != _stamp(status):
            try:
                same = content_of(path) == digest
            except OSError as error:
                yield f"{path} can't be read ({error.strerror})"
                continue
            if not same:
                yield f"{path} has changed"
            else:
                stamps.pop(name, None)
                if time.time() - max(status.st_mtime, status.st_ctime) > _TICK:
                    stamps[name] = _stamp(status)
    for name, digest in inputs.folders.items():
        path = origin.resolve(name)
        if not os.path.isdir(path):
            yield f"{path} is gone"
        elif names_in(path) != digest:
            yield f"files were added to {path}, or removed"
    for name, value in inputs.variables.items():
        if origin.variables.get(name) != value:
            yield f"the environment variable {name} has changed"
    for name in set(origin.variables) - set(inputs.variables):
        yield f"the environment variable {name} was not handed on"
    folder = inputs.settings.get("folder")
    if folder is not None and os.path.realpath(origin.resolve(folder)) != os.path.realpath(os.getcwd()):
        yield f"files were named relative to the working folder, which was {origin.resolve(folder)}"
    libraries = site_folders(Header.of(origin.target_file))
    if libraries is not None:  # an environment that is not built has not changed
        for name, version in inputs.packages.items():
            now = installed_version(name, tuple(libraries))
            if now != version:
                yield f"package {name} was {version.partition(' ')[0]}, is {(now or 'missing').partition(' ')[0]}"


def stamps_of(inputs: Inputs, origin: Origin) -> dict[str, list[int]]:
    """Stamps of files that were hashed a moment ago; those that changed just before are left out."""
    stamps = {}
    for name, digest in inputs.files.items():
        status = _status(origin.resolve(name))
        if status is not None and digest != ABSENT and time.time() - max(status.st_mtime, status.st_ctime) > _TICK:
            stamps[name] = _stamp(status)
    return stamps


def content_of(path: str) -> str:
    """SHA-256 of a file; of one that was hashed before in this process and is unchanged, from memory."""
    status = os.stat(path)
    if time.time() - max(status.st_mtime, status.st_ctime) <= _TICK:
        return _hash(path)
    return _hash_once(path, tuple(_stamp(status)))


@lru_cache(maxsize=4096)
def _hash_once(path: str, stamp: tuple[int, ...]) -> str:
    return _hash(path)


def _hash(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_in(folder: str) -> str:
    """SHA-256 of the names in a folder, without those of caches."""
    names = sorted(name for name in os.listdir(folder) if not is_ignored(name))
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def is_ignored(name: str) -> bool:
    """Whether a name is that of a cache, of version control or of an output of the suite."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in IGNORED_NAMES)


@lru_cache(maxsize=2048)
def installed_version(name: str, folders: tuple[str, ...]) -> str | None:
    """Version of a distribution in these folders; None where there is none."""
    return find_version(name, list(folders))


def _own_folders(outputs: Iterable[Path]) -> list[str]:
    cache = cache_dir()
    own = [cache / name for name in ("embeddings", "environments", "records", "built", "datasets", "sources")]
    return [str(path) for path in (*own, *outputs)]


def _counts(name: str, ignored: tuple[str, ...], installed: Iterable[str]) -> bool:
    if name.startswith(ignored) or name in _SYSTEM_FILES or name in installed:
        return False
    if any(fnmatch.fnmatchcase(os.path.basename(name), pattern) for pattern in _LOCKS):
        return False
    return not any(is_ignored(part) for part in Path(name).parts[1:])


def _declared(origin: Origin, header: Header) -> Iterator[str]:
    """Files that the header's ``[tool.consilience] inputs`` names, relative to the target file."""
    folder = origin.target_file.parent
    for pattern in header.inputs:
        absolute = Path(pattern).expanduser()
        matches = sorted(absolute.parent.glob(absolute.name) if absolute.is_absolute() else folder.glob(pattern))
        if not matches:
            raise InputsError(f"{origin.target_file}: inputs: nothing matches {pattern!r}")
        for path in matches:
            yield from map(str, _files_below(path) if path.is_dir() else [path])


def _folder_files(origin: Origin, header: Header) -> Iterator[str]:
    """Files of the target's folder, where opens can't be observed and the header names no inputs."""
    if header.inputs:
        return
    folder, count, size = origin.target_file.parent, 0, 0
    for path in _files_below(folder):
        count, size = count + 1, size + path.stat().st_size
        if count > MAX_FILES or size > MAX_BYTES:
            raise InputsError(
                f"{folder} holds more than {MAX_FILES:,} files or {MAX_BYTES >> 30} GB, and this system does not show "
                f"which of them {origin.target_file.name} reads; name them in its header: "
                '[tool.consilience] inputs = ["*.pt"]'
            )
        yield str(path)


def _files_below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        for name in sorted(names):
            path = Path(root, name)
            if not is_ignored(name) and path.is_file():
                yield path


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
