"""Data with the traps in it, and the oracle."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("metric_oracles", Path(__file__).with_name("oracles.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def views(n=60, seed=0, widths=(12, 9)):
    """Two noisy nonlinear views of four hidden numbers."""
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(n, 4))
    return [np.tanh(hidden @ random.normal(size=(4, w))) + 0.2 * random.normal(size=(n, w)) for w in widths]


def _case(name):
    x, y = views()
    if name == "float16":
        x, y = x.astype(np.float16), y.astype(np.float16)
    elif name == "float32":
        x, y = x.astype(np.float32), y.astype(np.float32)
    elif name == "strided":
        x, y = np.repeat(x, 2, axis=0)[::2], np.repeat(y, 3, axis=1)[:, ::3]
    elif name == "fortran":
        x, y = np.asfortranarray(x), np.asfortranarray(y)
    elif name == "offset":
        x = x + 1e6
    elif name == "norm":
        x, y = 1e6 * x, 1e-6 * y
    elif name == "constant columns":
        x = np.hstack([x, np.full((60, 2), 3.5)])
    elif name == "one feature":
        x = x[:, :1]
    elif name == "zero rows":
        x[3] = 0
        y[[5, 9]] = 0
    elif name == "just above k":
        x, y = x[:12], y[:12]
    elif name == "duplicates":
        x[10], x[20], y[11] = x[4], x[4], y[4]
    return x, y


CASES = [
    "plain",
    "float16",
    "float32",
    "strided",
    "fortran",
    "offset",
    "norm",
    "constant columns",
    "one feature",
    "zero rows",
    "just above k",
    "duplicates",
]


@pytest.fixture(params=CASES)
def trap(request):
    """One pair of embeddings per trap; the float64 values that the suite is to see come from `exact`."""
    return _case(request.param)


@pytest.fixture
def pair():
    """Two views of 60 items."""
    return views()


@pytest.fixture
def larger_pair():
    """Two views of 200 items."""
    return views(200, seed=1)


@pytest.fixture
def independent():
    """Two independent Gaussians of 400 items."""
    random = np.random.default_rng(5)
    return random.normal(size=(400, 64)), random.normal(size=(400, 32))
