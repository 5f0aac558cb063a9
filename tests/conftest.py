"""Shared by all tests."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

# Each miss of an unreachable hub costs 24 s; nothing here needs one.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

pytest_plugins = ["pytester"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW_TO_GET_ONE = "apt-get install chromium (as root, after apt-get update)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first: at the end one process would wait for the other's."""
    items.sort(key=lambda item: item.path.name != "test_pytest_plugin.py")


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Debian's Chromium, or Chrome. In CI a missing one is a failure; elsewhere the test is skipped, and says why."""
    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        message = f"none of {', '.join(BROWSERS)} is installed: {HOW_TO_GET_ONE}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture
def write_target(tmp_path: Path) -> Callable[..., Path]:
    """Write a target file whose `embed` has the body given; it runs in the tests' own environment."""

    def write(body: str, *, name: str = "toy", card: str = "", preamble: str = "") -> Path:
        path = tmp_path / f"target_{name.replace('-', '_')}.py"
        path.write_text(
            "import numpy as np\n"
            "from consilience import Card, Embedded, target\n"
            f'@target(Card(name="{name}", family="{name}", modality="atoms"{card}))\n'
            "def load(card, weights, device):\n"
            + textwrap.indent(textwrap.dedent(preamble), "    ")
            + "    def embed(items):\n"
            + textwrap.indent(textwrap.dedent(body), "        ")
            + "    return embed\n",
            "utf-8",
        )
        return path

    return write


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CONSILIENCE_CACHE", str(folder))
    return folder
