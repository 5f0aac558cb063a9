"""Every public function of the metrics has an example that runs."""

import doctest
import inspect
import pkgutil
import sys

import pytest

from consilience import metrics

MODULES = sorted(
    one.name
    for one in pkgutil.walk_packages(metrics.__path__, "consilience.metrics.")
    if not one.name.endswith(("device", "compiled"))
)
FUNCTIONS = [name for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch):
    __import__(name)
    for table in ("card._metrics", "pairs._parts"):  # examples register metrics of their own
        module, _, attribute = table.partition(".")
        held = getattr(sys.modules[f"consilience.metrics.{module}"], attribute)
        monkeypatch.setattr(f"consilience.metrics.{table}", dict(held))
    result = doctest.testmod(sys.modules[name], optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_an_example(name):
    assert "\nExamples\n--------\n>>> " in inspect.getdoc(getattr(metrics, name))
