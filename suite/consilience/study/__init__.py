"""Analyses of a board: the figures and their numbers.

:class:`Study` holds a board, its records and pairs, and the locally available embeddings; a figure is one file in
``figures/``.
"""

from __future__ import annotations

from .figure import Drawing, FigureCard, figure, list_figures
from .study import Study

__all__ = ["Drawing", "FigureCard", "Study", "figure", "list_figures"]
