"""A metric is one file: in the suite's folder or in somebody's package, it is available everywhere at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import consilience

PACKAGE = Path(consilience.__file__).parent
#: A whole metric: no parts, no registration elsewhere.
METRIC = '''
"""Correlation of the distances of two embeddings."""

import numpy as np

from consilience.metrics.card import MetricCard, metric


@metric(
    MetricCard(
        name="rsa",
        title="RSA",
        inputs="pair",
        higher_is_more_alike=True,
        invariances=("orthogonal", "isotropic_scaling", "translation", "permutation"),
        reference="Kriegeskorte et al. 2008",
    )
)
def rsa(x, y):
    """Return the correlation of the distances between items."""
    first, second = (
        np.linalg.norm(z[:, None] - z, axis=2)[np.triu_indices(len(z), 1)] for z in (np.asarray(x), np.asarray(y))
    )
    return float(np.corrcoef(first, second)[0, 1])
'''
#: A directed metric that has neighbours, and one of a single embedding.
MORE = '''
import numpy as np

from consilience.metrics import MetricCard, metric, neighbors


@metric(
    MetricCard(
        name="recall", title="recall", inputs="pair", higher_is_more_alike=True, symmetric=False, invariances=(),
        reference="none",
    )
)
def recall(x, y, *, k=3):
    """Return the share of the k nearest of x among the 2 k nearest of y: one way only."""
    near, wide = neighbors(x, k).indices, neighbors(y, 2 * k).indices
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(near, wide)]))


@metric(
    MetricCard(name="spread", title="spread", inputs="single", higher_is_more_alike=None, invariances=(), reference="-")
)
def spread(x):
    """Return the mean deviation of the columns."""
    return float(np.std(x, axis=0).mean())
'''
CHECK = """
import warnings
import numpy as np
from consilience import metrics
from consilience.metrics import alignment_matrices, calibrate, calibration_matrices, interval, k_sweep, n_sweep

def there(value):
    return value[0] if isinstance(value, tuple) else value

random = np.random.default_rng(0)
hidden = random.normal(size=(40, 3))
x, y = (hidden @ random.normal(size=(3, d)) + 0.1 * random.normal(size=(40, d)) for d in (5, 4))
pair = {"x": x, "y": y}
for name in NAMES:
    function = getattr(metrics, name)
    assert callable(function) and metrics.list_metrics()[name].function is function, function
    assert metrics.get_metric(name).card.name == name and name in dir(metrics)
    expected = function(x, y)
    matrices = alignment_matrices(pair, metrics=[name, "cknna"], k=5)
    assert np.isclose(matrices[name][0, 1], expected)
    assert np.isclose(matrices[name][1, 0], function(y, x))
    result = calibrate(x, y, metric=name, permutations=39)
    assert result.score == expected and result.p_value <= 0.05 and 0 < result.calibrated < 1, result
    assert result.null[0] == function(x, y[metrics.draw_permutations(40, 39)[0]])
    together = calibration_matrices(pair, metrics=[name], permutations=39)[name]
    assert np.isclose(together.p_value[0, 1], result.p_value) and np.isclose(together.null_mean[0, 1], result.null_mean)
    ends = interval(x, y, metric=name, subsamples=20)
    assert ends.low < ends.score == expected < ends.high, ends
    sweep = n_sweep(pair, sizes=[20, 30], metric=name, draws=3)
    assert np.isclose(sweep.whole[0, 1], expected) and np.isfinite(sweep.values).all()
if "recall" in NAMES:
    sweep = k_sweep(pair, metric="recall", ks=[2, 3, 5])
    assert np.allclose(sweep.values[:, 0, 1], [metrics.recall(x, y, k=k) for k in (2, 3, 5)])
    assert np.allclose(sweep.values[:, 1, 0], [metrics.recall(y, x, k=k) for k in (2, 3, 5)])
    matrix = alignment_matrices(pair, metrics=["recall"], neighbors={"recall": 5})["recall"]
    assert np.isclose(matrix[0, 1], metrics.recall(x, y, k=5))
    assert calibrate(x, y, metric="recall", k=5, permutations=9).score == metrics.recall(x, y, k=5)
    single = alignment_matrices(pair, metrics=["spread"])
    assert np.allclose(single["spread"], [metrics.spread(x), metrics.spread(y)])
"""


def run(code, *folders):
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, folders), str(PACKAGE.parent)])}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:consilience", "-c", code],
        env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def plugin(tmp_path):
    """Install a distribution with three modules, one of which can't be imported."""
    (tmp_path / "my_metrics.py").write_text(METRIC)
    (tmp_path / "my_more.py").write_text(MORE)
    (tmp_path / "my_broken.py").write_text("import a_package_that_is_not_there\n")
    info = tmp_path / "my_metrics-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-metrics\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[consilience]\nbroken = my_broken\nmore = my_more\nrsa = my_metrics\n")
    return tmp_path


def test_a_file_in_the_folder(tmp_path):
    package = tmp_path / "consilience"
    (package / "metrics").mkdir(parents=True)
    for path in PACKAGE.iterdir():
        if path.name not in ("metrics", "__pycache__"):
            (package / path.name).symlink_to(path)
    for path in (PACKAGE / "metrics").iterdir():
        if path.name != "__pycache__":
            (package / "metrics" / path.name).symlink_to(path)
    (package / "metrics" / "rsa.py").write_text(METRIC)
    run(
        f"import consilience; assert consilience.__file__.startswith({str(tmp_path)!r})\nNAMES = ['rsa']{CHECK}",
        tmp_path,
    )
    # importing the file itself leaves the attribute the function
    run("import consilience.metrics.rsa\nfrom consilience.metrics import rsa, metric\nassert rsa.__name__ == 'rsa'\n"
        "assert callable(rsa)", tmp_path)  # fmt: skip


def test_a_package_of_somebody_else(plugin):
    run(f"NAMES = ['rsa', 'recall']\nimport warnings\nwarnings.simplefilter('ignore', UserWarning)\n{CHECK}", plugin)


def test_a_plug_in_that_fails_warns_once(plugin):
    done = run(
        "import warnings\n"
        "from consilience import list_targets, metrics\n"
        "from consilience.registry import PluginWarning\n"
        "assert PluginWarning is metrics.PluginWarning\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    FIRST\n"
        "    assert metrics.rsa.__name__ == 'rsa' and 'spread' in metrics.list_metrics() and list_targets()\n"
        "ours = [w for w in caught if issubclass(w.category, PluginWarning)]\n"
        "assert len(ours) == 1 and \"'broken'\" in str(ours[0].message), caught\n".replace("FIRST", "list_targets()"),
        plugin,
    )
    assert not done.stdout


def test_a_name_that_is_taken_is_refused(tmp_path, plugin):
    (plugin / "my_more.py").write_text(METRIC.replace('"rsa"', '"cka"'))
    run(
        "import warnings\nfrom consilience import metrics\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    assert metrics.list_metrics()['cka'].function is metrics.cka\n"
        "assert any('consilience.metrics.cka and again by my_more' in str(w.message) for w in caught), caught\n",
        plugin,
    )


def test_the_registry_imports_no_metrics():
    run(
        "import sys, consilience.registry\n"
        "from consilience import list_targets\n"
        "list_targets()\n"
        "assert 'consilience.metrics' not in sys.modules\n"
    )


def test_names_that_have_moved_warn():
    from consilience import cards, metrics, registry

    for name in ("metric", "list_metrics", "get_metric", "MetricEntry"):
        with pytest.warns(
            DeprecationWarning, match=rf"consilience\.registry\.{name} has moved to consilience\.metrics"
        ):
            assert getattr(registry, name) is getattr(metrics, name)
    with pytest.warns(DeprecationWarning, match=r"cards\.MetricCard has moved"):
        assert cards.MetricCard is metrics.MetricCard
    for module in (cards, registry, metrics):
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            module.nonsense  # noqa: B018


def test_an_unknown_name_suggests_at_most_ten():
    from consilience.metrics import UnknownMetricError, card, get_metric

    with pytest.raises(UnknownMetricError, match="no metric is named 'cknnna'; did you mean 'cknna'"):
        get_metric("cknnna")
    with pytest.raises(UnknownMetricError, match="known: cka, cknna, distance_correlation"):
        get_metric("zzzz")
    many = {f"metric-{i}": None for i in range(30)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(card, "_metrics", many)
        with pytest.raises(UnknownMetricError) as caught:
            get_metric("zzzz")
    assert str(caught.value).count("metric-") == card.MAX_CANDIDATES
