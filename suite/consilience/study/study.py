"""A board opened for study: its tables, records and pairs, and the locally available embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from consilience.board.board import read_records
from consilience.board.groups import read_pairs
from consilience.board.publish import read_board
from consilience.datasets.items import open_for_board
from consilience.embedding.identity import identify
from consilience.embedding.store import Store, shipped_with
from consilience.records.board import Board
from consilience.records.pairs import Pair
from consilience.records.record import Record
from consilience.records.run import SavedRun
from consilience.registry import get_target
from consilience.scoring.gain import is_own_twin
from consilience.scoring.presets import PRESETS, RANKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding
    from consilience.records.board import DatasetBoard

#: A figure of a pair: of CKNNA, its calibration, or any other pair metric by its name in a record.
PairFigure = Literal["calibrated", "cknna", "p_value", "low", "high"] | str


class Study:
    """A published board, and a user's own run beside it.

    Nothing here runs a model: an embedding that is neither shipped nor stored is not there.

    Parameters
    ----------
    folder
        Folder of the board (``spec.toml``, ``results/``, ``pairs/``).
    run
        A saved run (``--align-save``) whose records are studied with the board's; those of data sets that the board
        lacks are left out.
    store
        Where embeddings are looked up; by default the suite's cache and those that come with the board.

    Raises
    ------
    ValueError
        A file of the board can't be read; the message names it.
    """

    def __init__(self, folder: Path, *, run: SavedRun | None = None, store: Store | None = None) -> None:
        self.folder = folder
        self.run = run
        self._store = store
        self._items: dict[str, Items] = {}
        self._embeddings: dict[tuple[str, str], Embedding | None] = {}

    @cached_property
    def store(self) -> Store:
        """Where embeddings are looked up."""
        return self._store or Store(shipped=shipped_with(self.board.spec.board))

    @cached_property
    def board(self) -> Board:
        """The board, built from its records."""
        return read_board(self.folder)

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Names of the board's data sets."""
        return tuple(dataset.name for dataset in self.board.datasets)

    def dataset(self, name: str) -> DatasetBoard:
        """Table of a data set."""
        return next(dataset for dataset in self.board.datasets if dataset.name == name)

    @cached_property
    def _records(self) -> dict[str, dict[str, Record]]:
        found: dict[str, dict[str, Record]] = {name: {} for name in self.datasets}
        for record in [*read_records(self.folder / "results"), *(self.run.records if self.run else ())]:
            if record.dataset in found:
                found[record.dataset][record.target] = record
        return found

    def records(self, dataset: str, *, scored: bool = True, own_twins: bool = False) -> dict[str, Record]:
        """Records of a data set by target, in the order of the board's table; scored ones only by default.

        Own untrained twins, which stand in their target's row, are among them only where they are asked for: they are
        scored in brief, and have no page.
        """
        found = self._records[dataset]
        order = {row.target: place for place, row in enumerate(self.dataset(dataset).rows)}
        names = sorted(found, key=lambda name: order.get(name, len(order)))
        return {
            name: found[name]
            for name in names
            if (found[name].state == "ok" or not scored) and (own_twins or not is_own_twin(name))
        }

    @cached_property
    def _pairs(self) -> dict[str, list[Pair]]:
        found = {name: read_pairs(self.folder, name) for name in self.datasets}
        return {name: pairs.pairs if pairs is not None else [] for name, pairs in found.items()}

    def pairs(self, dataset: str) -> list[Pair]:
        """Pairs of targets of a data set."""
        return self._pairs[dataset]

    def matrix(
        self,
        dataset: str,
        figure: PairFigure = "calibrated",
        *,
        preset: str = RANKED,
        targets: Sequence[str] | None = None,
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Return one figure of all pairs.

        Parameters
        ----------
        dataset
            Data set.
        figure
            A field of :class:`~consilience.records.pairs.PairFigures`, or the name of another pair metric; of a
            directed one without its ending (``information_imbalance``): row i, column j is then from i to j.
        preset
            Preparation.
        targets
            Which, and in which order; by default all that occur in pairs, in the order of the board's table.

        Returns
        -------
        names : list of str
            Targets.
        matrix : ndarray of shape (M, M)
            NaN on the diagonal and where a pair was not scored.
        """
        if targets is None:
            paired = {name for pair in self.pairs(dataset) for name in (pair.first, pair.second)}
            targets = [name for name in self.records(dataset) if name in paired]
        place = {name: i for i, name in enumerate(targets)}
        found = np.full((len(place), len(place)), np.nan)
        for pair in self.pairs(dataset):
            scores = pair.scores.get(preset)
            if scores is None or pair.first not in place or pair.second not in place:
                continue
            if figure in type(scores).model_fields:
                there = back = getattr(scores, figure)
            else:
                there = scores.metrics.get(f"{figure}_to", scores.metrics.get(figure))
                back = scores.metrics.get(f"{figure}_from", scores.metrics.get(figure))
            i, j = place[pair.first], place[pair.second]
            found[i, j], found[j, i] = (np.nan if value is None else value for value in (there, back))
        return list(targets), found

    def items(self, dataset: str) -> Items:
        """Items of a data set; `ValueError` if the local data have another revision than the board's."""
        if dataset not in self._items:
            self._items[dataset] = open_for_board(dataset, self.board.spec)
        return self._items[dataset]

    def embedding(self, dataset: str, target: str) -> Embedding | None:
        """Embedding of a data set by a target, where it is shipped or stored; None elsewhere."""
        key = (dataset, target)
        if key not in self._embeddings:
            try:
                self._embeddings[key] = self.store.get(identify(get_target(target), self.items(dataset)))
            except LookupError:  # a user's checkpoint, or a target of another version: not of this registry
                self._embeddings[key] = None
        return self._embeddings[key]


def is_untrained(record: Record) -> bool:
    """Whether a record is of a network with random weights (a baseline is not)."""
    return record.untrained


def kind_of(record: Record) -> str:
    """``trained``, ``untrained`` (a network with random weights) or ``baseline``."""
    return record.kind


__all__ = ["PRESETS", "PairFigure", "Study", "is_untrained", "kind_of"]
