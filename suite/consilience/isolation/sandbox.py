"""The sandbox in which the code of strangers runs: no network, no secrets, no files but the job's own.

Bubblewrap is used where it works; else ``unshare``, which takes away the network alone; else there is none. The record
says which one it was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from consilience.cache import cache_dir
from consilience.trial import Confine

Sandbox = Literal["bubblewrap", "unshare", "none"]
#: What each takes away, in words for records and messages.
WORDS: dict[Sandbox, str] = {
    "bubblewrap": "no network, no files but the job's own",
    "unshare": "no network; files of the user can be read",
    "none": "no sandbox on this machine",
}
#: Folders of the system, read-only.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
#: What names of hosts and certificates are looked up in.
_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates")
_PACKAGE = Path(__file__).resolve().parents[1]


class SandboxError(RuntimeError):
    """There is no sandbox on this machine; the message says how to get one."""


@dataclass(frozen=True)
class Places:
    """What a job in the sandbox sees of the file system, beyond the system and the suite."""

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()


@lru_cache(maxsize=1)
def probe() -> Sandbox:
    """Find out, once per process, which sandbox works here."""
    for name, command in (
        ("bubblewrap", ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"]),
        ("unshare", ["unshare", "--user", "--map-root-user", "--net", "true"]),
    ):
        if shutil.which(command[0]) is None:
            continue
        try:
            done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return "bubblewrap" if name == "bubblewrap" else "unshare"
    return "none"


def require(*, allowed_without: bool = False) -> Sandbox:
    """Return the sandbox of this machine.

    Parameters
    ----------
    allowed_without
        Whether the user gave ``--no-sandbox``.

    Raises
    ------
    SandboxError
        There is none, and the user did not say that it is not needed.
    """
    if allowed_without:
        return "none"
    kind = probe()
    if kind == "none":
        raise SandboxError(
            "a stranger's code runs in a sandbox, and there is none here: apt-get install bubblewrap, "
            "or allow it to run as you do with --no-sandbox"
        )
    return kind


def wrap(command: Sequence[str], kind: Sandbox, places: Places, *, network: bool = False) -> list[str]:
    """Command that runs another in a sandbox.

    Parameters
    ----------
    command
        Program and arguments.
    kind
        Which sandbox (:func:`require`).
    places
        Files that it may read or write.
    network
        Whether it may use the network: to fetch weights or packages, before any of them is run.
    """
    if kind == "none":
        return list(command)
    if kind == "unshare":
        if network:
            return list(command)
        # Loopback up: some libraries talk to themselves.
        loopback = 'ip link set lo up 2>/dev/null || true; exec "$@"'
        options = ["--user", "--map-root-user", "--net", "--fork", "--kill-child"]
        return ["unshare", *options, "sh", "-c", loopback, "sh", *command]
    arguments = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if network:
        arguments.append("--share-net")
    arguments += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp"]  # noqa: S108
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink() and not path.readlink().is_absolute():
            arguments += ["--symlink", str(path.readlink()), name]
        elif path.exists():
            arguments += ["--ro-bind", name, name]
    for name in _NETWORK if network else ():  # resolv.conf is a link into a folder that is not there
        arguments += ["--ro-bind-try", str(Path(name).resolve()), name]
    for path in [*_interpreters(), _PACKAGE, *places.readable]:
        arguments += ["--ro-bind-try", str(path), str(path)]
    for path in places.writable:
        arguments += ["--bind", str(path), str(path)]
    return [*arguments, "--", *command]


def confine(kind: Sandbox) -> Confine:
    """Make the function that puts a trial import into a sandbox: without network, the user's files and variables."""

    def into_sandbox(command: Sequence[str], file: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        names = ("CONSILIENCE_CACHE", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH")
        variables = {name: os.environ[name] for name in names if name in os.environ}
        variables |= {"HOME": "/tmp", "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: S108
        return wrap(command, kind, Places((file.parent,))), variables

    return into_sandbox


def _interpreters() -> Iterable[Path]:
    """Folders of this Python and of the environments built for targets."""
    names = {sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"]}
    yield from (Path(name) for name in sorted(names) if not name.startswith("/usr"))
    yield cache_dir() / "environments"
    if (own := uv_pythons()).is_dir():
        yield own


def uv_pythons() -> Path:
    """Folder of the interpreters that uv downloaded."""
    if chosen := os.environ.get("UV_PYTHON_INSTALL_DIR"):
        return Path(chosen).absolute()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "uv" / "python"
