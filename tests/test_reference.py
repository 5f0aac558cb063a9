"""docs/reference.md lists what is public, and nothing else."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
MODULES = ("consilience", "consilience.metrics", "consilience.testing")


def sections() -> dict[str, list[str]]:
    """Return the names that each section of the page describes."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {
        heading: re.findall(r"^- `(\w+)`: \S", body, flags=re.MULTILINE)
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_each_public_module_has_a_section() -> None:
    assert tuple(sections()) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_the_page_lists_what_is_public(name: str) -> None:
    module, described = importlib.import_module(name), sections()[name]
    assert sorted(described) == sorted(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)
