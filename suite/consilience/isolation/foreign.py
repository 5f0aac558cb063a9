"""How uv runs for a stranger's header: in the sandbox, with the index's settings and a cache of its own.

It sees the network, the interpreters and the wheels of the configured index, and writes to the new environment and its
cache only. Addresses of an index may hold a password: these settings are handed to uv alone, never to a target.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from consilience.cache import cache_dir

from .sandbox import Places, Sandbox, uv_pythons, wrap

#: Folder of the suite's cache for what is downloaded for strangers' headers.
FOLDER = "strangers"
_NAMES = frozenset(
    (
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "LANG",
        "LD_LIBRARY_PATH",
        "NO_PROXY",
        "PATH",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "SYSTEMROOT",
        "UV_DEFAULT_INDEX",
        "UV_EXCLUDE_NEWER",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_INSECURE_HOST",
        "UV_NATIVE_TLS",
        "UV_NO_INDEX",
        "UV_OFFLINE",
        "UV_PYTHON_PREFERENCE",
        "UV_REQUEST_TIMEOUT",
        "UV_SYSTEM_CERTS",
        "UV_TORCH_BACKEND",
    )
)
#: UV_INDEX_URL, UV_INDEX_STRATEGY, UV_INDEX_NAME_USERNAME, ...
_PREFIXES = ("LC_", "UV_CONCURRENT_", "UV_HTTP_", "UV_INDEX")
#: Settings that may name files or folders of this machine, of indexes and of certificates.
_INDEXES = frozenset(("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_URL"))
_CERTIFICATES = frozenset(("SSL_CERT_DIR", "SSL_CERT_FILE"))


def uv_in_sandbox(
    command: Sequence[str], variables: Mapping[str, str], kind: Sandbox, folder: Path
) -> tuple[list[str], dict[str, str]]:
    """Command and variables with which uv runs for a stranger.

    Parameters
    ----------
    command
        uv and its arguments.
    variables
        What uv would see for a file of the user's own; an allow-list leaves the index's settings.
    kind
        Which sandbox.
    folder
        Holds the new environment: what uv may write to, beside its cache.
    """
    own = cache_dir() / FOLDER
    (own / "tmp").mkdir(parents=True, exist_ok=True)
    allowed = {
        name: value for name, value in variables.items() if name.upper() in _NAMES or name.upper().startswith(_PREFIXES)
    }
    readable = [Path(command[0])]
    for name in sorted(allowed):
        if name in _INDEXES:
            parts = [_absolute(part) for part in re.split(r"[,\s]+", allowed[name]) if part]
            allowed[name] = ("," if name == "UV_FIND_LINKS" else " ").join(part for part, _ in parts)
            readable += [path for _, path in parts if path is not None]
        elif name in _CERTIFICATES:
            readable += _resolved(allowed[name])
    # Hard links don't lead from one mounted folder to another. No interpreter is downloaded for a stranger.
    allowed |= {
        "HOME": str(own),
        "TMPDIR": str(own / "tmp"),
        "UV_CACHE_DIR": str(own / "uv"),
        "UV_LINK_MODE": "copy",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON_INSTALL_DIR": str(uv_pythons()),
    }
    return wrap(command, kind, Places(tuple(readable), (folder, own)), network=True), allowed


def _absolute(part: str) -> tuple[str, Path | None]:
    """Part of an index's setting, and what it names on this machine, if anything: a folder, or that of a page."""
    name, mark, value = part.partition("=") if re.match(r"\w+=", part) else ("", "", part)
    address = urlsplit(value)
    if address.scheme == "file":
        path = Path(unquote(address.path))
    elif "://" in value:
        return part, None
    else:
        path = Path(value).expanduser().absolute()
        value = str(path)
    folder = path if path.is_dir() else path.parent
    return f"{name}{mark}{value}", folder if folder.is_dir() else None


def _resolved(name: str) -> Iterator[Path]:
    """A certificate's path, and where its link leads."""
    path = Path(name).absolute()
    yield path
    if path.resolve() != path:
        yield path.resolve()
