"""What a metric declares about itself, and the metrics by name.

A metric is one file: a function under the decorator :func:`metric` with its :class:`MetricCard`. Files of this
folder are found without registration; another package names its modules in the entry-point group ``consilience``.
"""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

#: Installed packages name their modules here; importing one registers its targets, data sets and metrics.
ENTRY_POINT_GROUP = "consilience"
#: Largest number of names in an error about an unknown one.
MAX_CANDIDATES = 10

F = TypeVar("F", bound=Callable[..., Any])


class UnknownMetricError(LookupError):
    """No metric has this name; the message suggests similar ones."""


class PluginWarning(UserWarning):
    """A plug-in could not be imported; the suite goes on without it."""


class MetricCard(BaseModel):
    """What a metric declares about itself; every declaration has a property test."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+_-]*$", max_length=80)]
    """Unique name, such as ``cknna``."""
    title: str
    """Name as people write it."""
    inputs: Literal["pair", "single"]
    """Two embeddings or one."""
    higher_is_more_alike: bool | None
    """Direction; ``None`` for a metric of a single embedding."""
    symmetric: bool = True
    """Whether exchanging the two embeddings leaves the value unchanged."""
    invariances: tuple[Literal["orthogonal", "isotropic_scaling", "translation", "permutation"], ...]
    """Transformations of an embedding (`permutation`: of the items of both) that leave the value unchanged."""
    version: int = Field(default=1, ge=1)
    """Raised when the definition changes; values of two versions never share a column."""
    reference: str
    """Source of the definition."""


@dataclass(frozen=True)
class MetricEntry:
    """A registered metric: its card and its function."""

    card: MetricCard
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """Name of the metric."""
        return self.card.name


_metrics: dict[str, MetricEntry] = {}
_imported: set[str] = set()


def metric(card: MetricCard) -> Callable[[F], F]:
    """Register a metric function under the card's name.

    The function takes one or two arrays, each ``(n, d)``, and returns a number; a directed metric returns two, there
    and back. Where it takes a number of neighbours, its keyword is ``k``.

    Raises
    ------
    ValueError
        Another module has registered a metric of this name.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.metrics import MetricCard, alignment_matrices, metric
    >>> card = MetricCard(
    ...     name="row-means",
    ...     title="row means",
    ...     inputs="pair",
    ...     higher_is_more_alike=True,
    ...     invariances=(),
    ...     reference="-",
    ... )
    >>> @metric(card)
    ... def row_means(x, y):
    ...     return float(np.corrcoef(x.mean(axis=1), y.mean(axis=1))[0, 1])
    >>> x = np.arange(12.0).reshape(6, 2)
    >>> alignment_matrices({"x": x, "y": x**2}, metrics=["row-means"])["row-means"].round(2)
    array([[1.  , 0.97],
           [0.97, 1.  ]])
    """

    def register(function: F) -> F:
        earlier = _metrics.get(card.name)
        if earlier is not None and earlier.function.__module__ != function.__module__:
            raise ValueError(
                f"metric {card.name!r} is registered by {earlier.function.__module__} and again by "
                f"{function.__module__}"
            )
        _metrics[card.name] = MetricEntry(card, function)
        return function

    return register


def list_metrics() -> dict[str, MetricEntry]:
    """All registered metrics by name, those of plug-ins included.

    Examples
    --------
    >>> from consilience.metrics import list_metrics
    >>> [name for name, entry in list_metrics().items() if not entry.card.symmetric]
    ['information_imbalance']
    """
    import_own()
    import_plugins()
    return dict(sorted(_metrics.items()))


def get_metric(name: str) -> MetricEntry:
    """Look a metric up.

    Raises
    ------
    UnknownMetricError
        No metric has this name; the message suggests similar ones.

    Examples
    --------
    >>> from consilience.metrics import get_metric
    >>> get_metric("cknna").card.title
    'CKNNA'
    """
    entries = list_metrics()
    if name in entries:
        return entries[name]
    similar = difflib.get_close_matches(name, entries, n=2, cutoff=0.6)
    if similar:
        hint = f"did you mean {' or '.join(map(repr, similar))}?"
    else:
        more = ", ..." if len(entries) > MAX_CANDIDATES else ""
        hint = f"known: {', '.join(list(entries)[:MAX_CANDIDATES])}{more}"
    raise UnknownMetricError(f"no metric is named {name!r}; {hint}")


def import_own() -> None:
    """Import every file of this folder, and make each metric an attribute of the package, once."""
    if "own" in _imported:
        return
    _imported.add("own")
    package = __name__.rpartition(".")[0]
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("_"):
            importlib.import_module(f"{package}.{path.stem}")
    for name, entry in _metrics.items():
        # a file often bears the name of its metric, and importing it has made the module the attribute
        if entry.function.__module__.startswith(f"{package}."):
            setattr(sys.modules[package], name, entry.function)


def import_plugins() -> None:
    """Import the modules that installed packages announce, once; one that fails is a warning."""
    if "plugins" in _imported:
        return
    _imported.add("plugins")
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except Exception as error:  # a plug-in may fail in any way; the suite goes on without it
            warnings.warn(
                f"plug-in {entry.name!r} ({entry.value}) could not be imported: {error!r}", PluginWarning, stacklevel=4
            )
