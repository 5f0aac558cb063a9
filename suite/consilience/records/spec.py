"""Specs: what a board measures. One frozen ``spec.toml`` per board version."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field

from consilience.cards import FrozenModel, Name, Sha256

#: The spec that the package ships: what targets are scored against when no board is named.
DEFAULT_SPEC = Path(__file__).resolve().parents[1] / "data" / "spec.toml"
#: What items are compared with whose data set is on no board, by their matter and the view they have: the first line
#: that fits. These belong to the package and not to a board's frozen spec: no published figure rests on them.
DEFAULT_REFERENCES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("molecule", "atoms", ("aimnet2-wb97m-d3", "so3lr", "diep-fold1", "chgnet-0.3.0", "sevennet-0")),
    ("molecule", "smiles", ("minimol", "rxnfp-pretrained", "chemnet")),
    ("crystal", "atoms", ("diep-fold1", "chgnet-0.3.0", "sevennet-0")),
    ("protein", "backbone", ("proteinmpnn-v-48-020", "unirep-1900", "foldseek-3di")),
    ("protein", "sequence", ("unirep-1900", "antiberty")),
)


class SpecDataset(FrozenModel):
    """A data set of a board, frozen."""

    name: Name
    """Registered name."""
    revision: Sha256
    """Revision; another one is another board."""
    references: tuple[str, ...]
    """Targets that every other is compared with."""
    strata: str | None = None
    """Column within whose groups alone the null's relabellings shuffle: what the groups share is then no merit."""


class SpecSettings(FrozenModel):
    """Parameters of the metrics, frozen."""

    k: int = Field(default=25, ge=1)
    """Neighbours."""
    permutations: int = Field(default=200, ge=1)
    """Relabellings behind each null."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """1 - the quantile that calibrates."""
    subsamples: int = Field(default=100, ge=2, multiple_of=2)
    """Halves of the items behind each interval, two of each split."""
    fraction: float = Field(default=0.5, ge=0.5, le=0.5)
    """Share of the items in a subsample: a half."""
    seed: int = 0
    """Seed of all of the above."""
    least_coverage: float = 0.95
    """A target covering less of the items gets no rank."""


class Spec(FrozenModel):
    """What a board measures: frozen, one file per board version."""

    board: Name
    """Version, such as ``v1``."""
    title: str
    """One line for people."""
    datasets: tuple[SpecDataset, ...]
    """In the order of the board."""
    controls: tuple[str, ...]
    """Targets that are always shown and never ranked: baselines and untrained twins."""
    settings: SpecSettings = SpecSettings()
    """Parameters of the metrics."""

    def dataset(self, name: str) -> SpecDataset:
        """Entry of one data set; raises `LookupError` naming those there are."""
        for entry in self.datasets:
            if entry.name == name:
                return entry
        raise LookupError(f"board {self.board} has no data set {name!r}; it has {[d.name for d in self.datasets]}")

    def with_dataset(self, entry: SpecDataset) -> Spec:
        """Return this spec with one data set more, for a run that is not published."""
        return self.model_copy(update={"datasets": (*self.datasets, entry)})


def read_spec(path: Path) -> Spec:
    """Read a board's ``spec.toml``; raises `ValueError` naming the file and the field."""
    try:
        return Spec.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
