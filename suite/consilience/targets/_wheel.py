"""Weight files inside a wheel whose own code is not imported: it is old, or asks for packages that nothing needs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def in_wheel(package: str, file: str) -> Path:
    """Path of a file of an installed package.

    Raises
    ------
    ModuleNotFoundError
        The package is not installed.
    """
    spec = find_spec(package)  # found, not imported
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the package {package} is not installed")
    return Path(spec.origin).parent / file
