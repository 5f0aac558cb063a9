"""Every metric keeps what its card promises; a new metric is tested without an edit here."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience import metrics
from consilience.metrics import Pairwise, alignment_matrices, calibrate, list_metrics, metric
from consilience.metrics.card import _metrics

N = 64  # more than any default number of neighbours
METRICS = list_metrics()


def data(seed, inputs):
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(N, 3))
    noise = random.uniform(0.05, 1)
    both = [np.tanh(hidden @ random.normal(size=(3, d))) + noise * random.normal(size=(N, d)) for d in (6, 4)]
    return both[: 2 if inputs == "pair" else 1]


def transformed(name, embeddings, seed):
    random = np.random.default_rng(seed)
    if name == "permutation":
        order = random.permutation(N)
        return [x[order] for x in embeddings]
    result = []
    for x in embeddings:
        if name == "orthogonal":
            x = x @ np.linalg.qr(random.normal(size=(x.shape[1], x.shape[1])))[0]
        elif name == "isotropic_scaling":
            x = x * 10 ** random.uniform(-2, 4)
        elif name == "translation":
            x = x + random.normal(scale=5, size=x.shape[1])
        result.append(x)
    return result


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_invariances(name, seed):
    entry = METRICS[name]
    embeddings = data(seed, entry.card.inputs)
    before = np.asarray(entry.function(*embeddings))
    for invariance in entry.card.invariances:
        after = np.asarray(entry.function(*transformed(invariance, embeddings, seed)))
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-7, err_msg=invariance)


@pytest.mark.parametrize("name", [n for n, e in METRICS.items() if e.card.inputs == "pair"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_symmetry_and_direction(name, seed):
    entry = METRICS[name]
    x, y = data(seed, "pair")
    there, back = np.atleast_1d(entry.function(x, y)), np.atleast_1d(entry.function(y, x))
    if entry.card.symmetric:
        np.testing.assert_allclose(there, back, rtol=1e-12)
    else:
        # a directed metric returns both ways
        np.testing.assert_array_equal(there, back[::-1])
    same = np.atleast_1d(entry.function(x, x))
    shuffled = np.atleast_1d(entry.function(x, x[np.random.default_rng(seed).permutation(N)]))
    assert (same > shuffled).all() == entry.card.higher_is_more_alike
    assert (same < shuffled).all() == (not entry.card.higher_is_more_alike)


@pytest.mark.parametrize("name", METRICS)
def test_card_and_docstring(name):
    entry = METRICS[name]
    assert entry.card.reference
    assert (entry.card.higher_is_more_alike is None) == (entry.card.inputs == "single")
    for section in ("Parameters", "Returns", "Raises", "References"):
        assert f"\n    {section}\n    ---" in entry.function.__doc__
    assert getattr(metrics, name) is entry.function


def test_public_names_exist():
    assert all(hasattr(metrics, name) for name in metrics.__all__)
    assert metrics.__all__ == sorted(metrics.__all__)


def test_importing_the_metrics_is_light():
    code = (
        "import sys; from consilience.metrics import list_metrics; list_metrics(); "
        "sys.exit(', '.join({'scipy', 'sklearn', 'torch'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_metric_of_a_plug_in_works_everywhere(pair, monkeypatch):
    card = METRICS["cka"].card.model_copy(update={"name": "first_column"})
    monkeypatch.setattr("consilience.metrics.card._metrics", _metrics | {})

    @metric(card)
    def first_column(x, y):
        return float(np.corrcoef(x[:, 0], y[:, 0])[0, 1])

    monkeypatch.setitem(_metrics, "first_column", METRICS["cka"].__class__(card, first_column))
    found = alignment_matrices(dict(zip("ab", pair, strict=True)), metrics=["first_column"])
    assert found["first_column"][0, 1] == pytest.approx(first_column(*pair))
    assert calibrate(*pair, metric="first_column", permutations=19).score == first_column(*pair)
    assert Pairwise(state=len, score=max, relabelled=max).neighbors is None
