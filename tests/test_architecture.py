"""The floors of the package: imports run downwards only."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def test_imports_keep_to_the_floors() -> None:
    """The contracts stand in pyproject.toml; lazy imports count."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_lists_the_layers_of_the_contract() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = [layer for layer in settings["contracts"][0]["layers"] if layer != "__main__"]
    page = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    table = page.split("<!-- layers -->")[1].split("<!-- /layers -->")[0]
    rows = [row.replace("\\|", "|") for row in re.findall(r"^\| `(.+?)` \|", table, flags=re.MULTILINE)]
    assert rows == layers


def test_a_kind_of_callback_has_one_definition_and_one_name() -> None:
    """`metrics` imports nothing of the package, and so has its own."""
    package = REPOSITORY / "suite" / "consilience"
    definitions = [
        (match[1], match[2])
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in ("metrics", "targets")
        for match in re.finditer(r"^(\w+) = (Callable\[.+\])$", path.read_text("utf-8"), flags=re.MULTILINE)
    ]
    assert len(definitions) > 5
    names, kinds = zip(*definitions, strict=True)
    assert sorted(names) == sorted(set(names))
    assert sorted(kinds) == sorted(set(kinds))
