"""Measures of agreement between embeddings of the same items.

Free functions on arrays: no targets, no files. Preparation is a step of its own (:func:`prepare`), and chance
is calibrated away by :func:`calibrate`. An array that is no embedding raises :class:`ValueError`; one whose
rows are all equal makes a pair metric ``nan`` with a :class:`DegenerateInputWarning`.

Where to look
-------------
a metric
    ``cknna``, ``mutual_knn``, ``cka``, ``distance_correlation``, ``information_imbalance``,
    ``intrinsic_dimension``, ``intrinsic_dimension_correlation``: one file each, which holds its function, its
    card and its parts (``pairs``): what is kept of one embedding, the score of a pair, all pairs, all nulls.
one embedding
    ``arrays`` (what is refused), ``preparation``, ``sources`` (rows in blocks), ``neighbors`` (exact lists),
    ``neighbor_kernel`` (lists with the centred kernel), ``centering``.
all pairs
    ``matrices`` and ``calibration_matrices`` (public), ``collection`` (what the models share), ``tiles`` (the pass
    over distances), ``correlations`` (dCor from tiles, nulls), ``loops`` with ``_compiled`` (numba) and
    ``_on_device`` (torch): the inner loops.
what a score is worth
    ``calibration``, ``resampling``, ``subsampling`` (intervals), ``sensitivity`` (sweeps over k and n).
"""

from __future__ import annotations

from ._engine.arrays import DegenerateInputWarning
from ._engine.neighbor_kernel import NeighborKernel
from ._engine.neighbors import Neighbors, neighbors
from .cka import cka
from .cknna import cknna, cknna_from
from .distance_correlation import distance_correlation
from .inference.calibration import Calibration, calibrate, calibrate_from
from .inference.calibration_matrices import CalibrationMatrices, calibration_matrices
from .inference.resampling import draw_halves, draw_permutations
from .inference.sensitivity import KSweep, NSweep, k_sweep, n_sweep
from .inference.subsampling import Interval, interval, interval_from, subsample_scores
from .information_imbalance import information_imbalance
from .intrinsic_dimension import intrinsic_dimension
from .intrinsic_dimension_correlation import intrinsic_dimension_correlation
from .matrices import AlignmentMatrices, alignment_matrices
from .mutual_knn import mutual_knn, mutual_knn_from
from .pairs import Pairwise, pairwise
from .preparation import prepare

__all__ = [
    "AlignmentMatrices",
    "Calibration",
    "CalibrationMatrices",
    "DegenerateInputWarning",
    "Interval",
    "KSweep",
    "NSweep",
    "NeighborKernel",
    "Neighbors",
    "Pairwise",
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
    "information_imbalance",
    "interval",
    "interval_from",
    "intrinsic_dimension",
    "intrinsic_dimension_correlation",
    "k_sweep",
    "mutual_knn",
    "mutual_knn_from",
    "n_sweep",
    "neighbors",
    "pairwise",
    "prepare",
    "subsample_scores",
]
