"""All pairs of the targets of one data set, as published beside the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from consilience.cards import Name, Sha256

from .schema import SchemaModel, Value, is_empty

PAIRS_VERSION: Literal[2] = 2


class PairFigures(SchemaModel):
    """Agreement of two targets in one preset."""

    cknna: Value
    """CKNNA as measured."""
    calibrated: Value
    """max(0, (cknna - threshold) / (1 - threshold)), the threshold being the 95 % quantile of a permutation null."""
    p_value: Value
    """Permutation p."""
    aligned: Value = Field(default=None, exclude_if=is_empty)
    """Alignment on the board's scale, where that is not `calibrated`."""
    low: Value = None
    """Lower end of the 95 % interval of the alignment, from halves of the items; in the preset that is ranked by."""
    high: Value = None
    """Its upper end."""
    metrics: dict[str, Value] = {}
    """Every other pair metric, as measured; a directed one as ``_to`` (first to second) and ``_from``. None in the
    preset ``standardized``."""

    @property
    def alignment(self) -> float | None:
        """Alignment on the board's scale."""
        return self.calibrated if self.aligned is None else self.aligned


class Pair(SchemaModel):
    """Two targets of one data set."""

    first: str
    """A target."""
    second: str
    """Another."""
    items: int
    """Items that the figures rest on."""
    scores: dict[str, PairFigures]
    """By preset."""
    keys: tuple[Sha256, Sha256] | None = Field(default=None, exclude_if=is_empty)
    """Keys of both embeddings, as the records of the targets state them; from schema 2 on."""

    def with_keys(self, keys: Mapping[str, str | None]) -> Pair:
        """Return the pair with the keys of its embeddings, given by target; without, where one is not known."""
        first, second = keys.get(self.first), keys.get(self.second)
        known = None if first is None or second is None else (first, second)
        return self.model_copy(update={"keys": known})


class AllPairs(SchemaModel):
    """All pairs of targets of one data set, as published beside the records."""

    schema_version: Literal[1, 2] = PAIRS_VERSION
    """Version of this schema."""
    board: Name
    """Version of the board."""
    dataset: Name
    """Data set."""
    revision: Sha256
    """Its revision."""
    pairs: list[Pair]
    """Pairs, each once."""


class GroupPair(SchemaModel):
    """How far two groups of targets agree: all pairs between them, siblings of one family left out."""

    first: str
    """A modality, or ``untrained`` for the untrained twins."""
    second: str
    """Another, or the same."""
    pairs: int
    """Pairs of targets of different families."""
    calibrated: dict[str, Value]
    """Mean alignment by preset: calibrated CKNNA, on boards whose alignment is that."""
    p_value: dict[str, Value]
    """Twice the mean p of the pairs: valid however the pairs depend on each other (Vovk and Wang 2020,
    doi:10.1093/biomet/asaa027)."""
