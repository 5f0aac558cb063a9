"""A value that moves has a new version: values of every metric and preparation on fixed arrays.

``python tests/metrics/test_pinned_values.py`` adds the values of versions that the file does not hold yet; it
changes none that it holds.
"""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from consilience import metrics
from consilience.metrics import list_metrics, preparation

FILE = Path(__file__).with_name("pinned_values.json")
N = 60
#: Options of a metric beside its defaults, by a label of their own.
OPTIONS = {
    "cknna": {"platonic-rep": {"variant": "platonic-rep"}, "k=5": {"k": 5}},
    "mutual_knn": {"k=5": {"k": 5}},
    "cka": {"biased": {"unbiased": False}},
    "distance_correlation": {"paper": {"variant": "paper"}, "biased": {"variant": "biased"}},
    "information_imbalance": {"k=5": {"k": 5}},
    "intrinsic_dimension": {"mle": {"estimator": "mle", "k": 20}},
}
PREPARATIONS = {
    "raw": {"scheme": "raw"},
    "unit": {"scheme": "unit"},
    "standardized": {"scheme": "standardized"},
    "standardized, controls": {"scheme": "standardized", "controls": True},
}


def embeddings():
    """Two embeddings with common structure: no function of a library whose last digit differs between processors."""
    random = np.random.default_rng(7)
    hidden = random.integers(-64, 64, size=(N, 4)) / 64.0
    result = []
    for width in (12, 9):
        x = hidden @ (random.integers(-64, 64, size=(4, width)) / 64.0)
        result.append(x - x**3 / 8 + random.integers(-64, 64, size=(N, width)) / 256.0)
    return result, random.integers(0, 6, size=(N, 5)).astype(np.float64)


def with_ties():
    """The same with coarse values and duplicates: most neighbours are equally near."""
    x, y = (np.round(2 * z) for z in embeddings()[0])
    x[1], y[1] = x[0], y[0]
    x[5] = x[4]
    return [x, y]


def own_metrics():
    """Return the metrics of the suite; those of plug-ins are pinned by their authors."""
    entries = list_metrics()
    return {name: one for name, one in entries.items() if one.function.__module__.startswith("consilience.")}


def values_of(name):
    """Return the values of a metric by label, lists of numbers."""
    entry = list_metrics()[name]
    result = {}
    for label, options in {"defaults": {}, **OPTIONS.get(name, {})}.items():
        for data, pair in (("", embeddings()[0]), (", ties", with_ties())):
            arguments = pair if entry.card.inputs == "pair" else pair[:1]
            result[label + data] = np.atleast_1d(entry.function(*arguments, **options)).tolist()
    return result


def prepared():
    """Return a few rows of each preparation, and sums over all of them."""
    (x, _), controls = embeddings()
    x = 3 * x + np.arange(12)
    x[:, 4] = 2.5  # a constant column
    result = {}
    for label, options in PREPARATIONS.items():
        given = {**options, "controls": controls} if "controls" in options else options
        rows = metrics.prepare(x, **given)
        result[label] = [*rows[[0, 7, N - 1]].ravel().tolist(), float(np.abs(rows).sum()), float((rows**4).sum())]
    return result


@functools.cache
def current():
    """Return the values that the code gives now, by name and version."""
    result = {name: {str(one.card.version): values_of(name)} for name, one in own_metrics().items()}
    return {**result, "prepare": {str(preparation.VERSION): prepared()}}


@pytest.mark.parametrize("name", [*own_metrics(), "prepare"])
def test_no_value_moves_without_its_version(name):
    pinned = json.loads(FILE.read_text("utf-8")).get(name, {})
    ((version, values),) = current()[name].items()
    assert version in pinned, f"{name}: no values of version {version} in {FILE.name}; python {Path(__file__).name}"
    assert values.keys() == pinned[version].keys()
    for label, found in values.items():
        np.testing.assert_allclose(
            found,
            pinned[version][label],
            rtol=1e-9,
            atol=1e-13,
            err_msg=f"{name} ({label}) is no longer what version {version} gives. Raise `version` in its card "
            f"(of prepare: preparation.VERSION) and run {Path(__file__).name}, or restore the value",
        )


def test_every_version_that_is_pinned_is_one_of_a_metric():
    assert set(json.loads(FILE.read_text("utf-8"))) == set(current())


def write():
    """Add what the file does not hold yet."""
    held = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    for name, versions in current().items():
        for version, values in versions.items():
            held.setdefault(name, {}).setdefault(version, values)
    FILE.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    write()
