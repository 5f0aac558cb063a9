"""Shared by the tests of isolation."""

from __future__ import annotations

import os

import pytest

from consilience.isolation import sandbox
from consilience.isolation.sandbox import probe


@pytest.fixture
def kind() -> sandbox.Sandbox:
    """Bubblewrap. In CI a missing one is a failure; elsewhere the test is skipped, and says why."""
    kind = probe()
    if kind != "bubblewrap":
        message = "bubblewrap does not work here: apt-get install bubblewrap (as root, after apt-get update)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return kind
