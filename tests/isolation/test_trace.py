"""What a job read: versions of the packages that it imported, as they are found again later."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from consilience.isolation import trace


def installed(folder: Path, name: str, version: str) -> None:
    """Install a package of one module."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "top_level.txt").write_text(f"{name}\n")
    (about / "RECORD").write_text("")


def test_copies_that_a_package_holds_of_others_count_by_its_own_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setuptools puts its copies on the path as it is imported. Looked for later, they were missing: always stale."""
    site = tmp_path / "site-packages"
    installed(site, "holder", "2.0")
    installed(site / "holder" / "_vendor", "inner", "1.2")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site), str(site / "holder" / "_vendor")])
    assert trace._packages({"holder", "inner"}) == {"holder": "2.0"}
    assert trace.find_version("inner", [str(site)]) is None
