"""Measures of agreement between embeddings of the same items.

Free functions on arrays: no targets, no files. Preparation is a step of its own (:func:`prepare`), and
:func:`calibrate` removes what chance explains. An array that is no embedding raises :class:`ValueError`; one whose
rows are all equal makes a pair metric ``nan`` with a :class:`DegenerateInputWarning`.

A metric is one file with a card (:class:`MetricCard`) and a function under :func:`metric`: a file of this folder, or
of a package that announces it in the entry-point group ``consilience``. It is then an attribute of this package, and
every function here that takes names of metrics takes its name. What it may announce beside its card, to be faster for
many embeddings, is in ``pairs``.

Where to look
-------------
metrics
    ``cknna``, ``mutual_knn``, ``cka``, ``distance_correlation``, ``information_imbalance``,
    ``intrinsic_dimension``, ``intrinsic_dimension_correlation``: one file each, which holds its function, its
    card and its parts (``pairs``): the state of one embedding, the score of a pair, all pairs, all nulls.
``card``
    Cards, and metrics by name.
``preparation``
    Schemes, and the removal of controls.
``matrices``
    All pairs of a collection.
``inference``
    ``calibration`` and ``calibration_matrices`` (permutation nulls), ``subsampling`` (intervals), ``resampling``,
    ``sensitivity`` (sweeps over k and n).
``parallel``
    Independent tasks in threads.
``_engine``
    ``arrays`` (checks), ``row_source`` (rows in blocks), ``neighbors`` (exact lists), ``neighbor_kernel`` (lists with
    the centred kernel), ``collection`` (what all pairs share), ``tiles`` (the pass over distances), ``correlations``
    and ``centering`` (dCor, CKA), ``engine`` with ``compiled`` (numba) and ``device`` (torch): the inner loops.
"""

from __future__ import annotations

from typing import Any

from ._engine.arrays import DegenerateInputWarning
from ._engine.neighbor_kernel import NeighborKernel
from ._engine.neighbors import Neighbors, neighbors
from .card import (
    MetricCard,
    MetricEntry,
    PluginWarning,
    UnknownMetricError,
    get_metric,
    import_own,
    list_metrics,
    metric,
)
from .cka import cka
from .cknna import cknna, cknna_from
from .distance_correlation import distance_correlation
from .inference.calibration import Calibration, calibrate, calibrate_from
from .inference.calibration_matrices import CalibrationMatrices, calibration_matrices
from .inference.resampling import draw_halves, draw_permutations
from .inference.sensitivity import KSweep, NSweep, k_sweep, n_sweep
from .inference.subsampling import Interval, draws_around, interval, interval_from, subsample_scores
from .information_imbalance import information_imbalance
from .intrinsic_dimension import intrinsic_dimension
from .intrinsic_dimension_correlation import intrinsic_dimension_correlation
from .matrices import AlignmentMatrices, alignment_matrices
from .mutual_knn import mutual_knn, mutual_knn_from
from .pairs import Pairwise, pairwise, parts_of
from .preparation import prepare

__all__ = [
    "AlignmentMatrices",
    "Calibration",
    "CalibrationMatrices",
    "DegenerateInputWarning",
    "Interval",
    "KSweep",
    "MetricCard",
    "MetricEntry",
    "NSweep",
    "NeighborKernel",
    "Neighbors",
    "Pairwise",
    "PluginWarning",
    "UnknownMetricError",
    "alignment_matrices",
    "calibrate",
    "calibrate_from",
    "calibration_matrices",
    "cka",
    "cknna",
    "cknna_from",
    "distance_correlation",
    "draw_halves",
    "draw_permutations",
    "draws_around",
    "get_metric",
    "information_imbalance",
    "interval",
    "interval_from",
    "intrinsic_dimension",
    "intrinsic_dimension_correlation",
    "k_sweep",
    "list_metrics",
    "metric",
    "mutual_knn",
    "mutual_knn_from",
    "n_sweep",
    "neighbors",
    "pairwise",
    "parts_of",
    "prepare",
    "subsample_scores",
]

import_own()


def __getattr__(name: str) -> Any:
    """Return the function of a metric that a plug-in registered."""
    if not name.startswith("_") and name in (entries := list_metrics()):
        return entries[name].function
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *list_metrics()})
