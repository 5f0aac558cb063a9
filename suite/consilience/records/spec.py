"""Specs: what a board measures. One frozen ``spec.toml`` per board version."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from consilience.bounds import parse_toml, read_text
from consilience.cards import FrozenModel, Name, Sha256

from .schema import refuse_newer, validated

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
    """Column of the items; relabellings of the null shuffle items within its groups only, so that agreement
    explained by the groups is not credited."""
    k: int | None = Field(default=None, ge=1, exclude_if=lambda number: number is None)
    """Neighbours; the settings' number by default."""


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


class Choice(FrozenModel):
    """Something that the suite offers under a name, in one version of its definition."""

    name: Name
    """Name."""
    version: int = Field(default=1, ge=1)
    """Version; values of two versions never share a column."""


class MetricChoice(Choice):
    """A metric with its parameters."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    """Name."""
    variant: str | None = None
    """A variant of the metric, such as ``platonic-rep`` of CKNNA."""
    k: int | None = Field(default=None, ge=1)
    """Neighbours; the metric's own number by default (of CKNNA: that of the settings)."""

    @property
    def label(self) -> str:
        """Name with its variant, as :mod:`consilience.metrics` takes it."""
        return self.name if self.variant is None else f"{self.name}:{self.variant}"


class Descriptors(FrozenModel):
    """What is free for models that read the same: targets that nobody trained."""

    modality: str
    """Modality of these models."""
    groups: tuple[tuple[str, ...], ...]
    """Targets; of several in a group, draws of one random map, the mean counts."""


class Measurement(FrozenModel):
    """What a board measures, by name and version. The registry offers; a board's measurement decides."""

    presets: tuple[Choice, ...]
    """Preparations of the embeddings, in the order of the board."""
    ranked: str
    """The preset that the board ranks by."""
    metrics: tuple[MetricChoice, ...]
    """Metrics, CKNNA among them, in the order of the record."""
    metrics_of_pairs: tuple[str, ...]
    """Presets in which the pairs of all targets carry every metric; in the others they carry CKNNA alone."""
    calibration: Choice
    """How a score is set against its null."""
    interval: Choice
    """How the interval of an alignment is made."""
    left_out: Literal["family", "lineage"] = Field(default="family", exclude_if=lambda which: which == "family")
    """References that a target is not compared with: those of its family, or those that descend from the same model."""

    free: tuple[Descriptors, ...] = Field(default=(), exclude_if=lambda given: not given)
    """What the alignment above free is measured against, beside own untrained twins."""

    @property
    def states_gain(self) -> bool:
        """Whether alignments subtract, so that a board can say what training adds."""
        return self.calibration.name == "excess"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        names = [preset.name for preset in self.presets]
        labels = [metric.label for metric in self.metrics]
        for what, given in (("presets", names), ("metrics", labels)):
            if len(set(given)) != len(given):
                raise ValueError(f"{what}: each is named once, found {', '.join(given)}")
        for what, one in (("ranked", self.ranked), *(("metrics_of_pairs", name) for name in self.metrics_of_pairs)):
            if one not in names:
                raise ValueError(f"{what}: {one!r} is none of the presets {', '.join(names)}")
        if "cknna" not in labels:
            raise ValueError("metrics: cknna is what an alignment is made of, it has to be among them")
        return self


#: What specs of schema 1 measure: they name none of it.
MEASUREMENT_1 = Measurement(
    presets=(Choice(name="paper"), Choice(name="standardized"), Choice(name="beyond_composition")),
    ranked="beyond_composition",
    metrics=tuple(
        MetricChoice(name=name)
        for name in (
            "cka",
            "cknna",
            "distance_correlation",
            "information_imbalance",
            "intrinsic_dimension",
            "intrinsic_dimension_correlation",
            "mutual_knn",
        )
    ),
    metrics_of_pairs=("paper", "beyond_composition"),
    calibration=Choice(name="threshold"),
    interval=Choice(name="halves"),
)
SPEC_VERSION = 2


class Spec(FrozenModel):
    """What a board measures: frozen, one file per board version."""

    schema_version: Literal[1, 2] = Field(default=1, exclude_if=lambda version: version == 1)
    """Version of this schema. The files of a board of schema 1 keep schema 1."""
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
    measurement: Measurement | None = Field(default=None, exclude_if=lambda given: given is None)
    """What is measured; schema 1 states none, and measures what board v1 measured."""

    @model_validator(mode="after")
    def _measurement_by_schema(self) -> Self:
        if self.schema_version == 1 and self.measurement is not None:
            raise ValueError("measurement: only from schema_version = 2 on")
        if self.schema_version > 1 and self.measurement is None:
            raise ValueError("measurement: a spec of schema 2 names its presets, metrics, calibration and interval")
        return self

    @property
    def measured(self) -> Measurement:
        """What the board measures, whichever schema its spec is of."""
        return MEASUREMENT_1 if self.measurement is None else self.measurement

    @property
    def presets(self) -> tuple[str, ...]:
        """Names of the presets."""
        return tuple(preset.name for preset in self.measured.presets)

    @property
    def ranked(self) -> str:
        """Name of the preset that the board ranks by."""
        return self.measured.ranked

    def with_metrics(self, metrics: Iterable[MetricChoice]) -> Spec:
        """Return this spec with some metrics more, for a run that is not published."""
        more = [one for one in metrics if one.label not in {own.label for own in self.measured.metrics}]
        if not more:
            return self
        measured = self.measured.model_copy(update={"metrics": (*self.measured.metrics, *more)})
        return self.model_copy(update={"schema_version": 2, "measurement": measured})

    def dataset(self, name: str) -> SpecDataset:
        """Entry of one data set; raises `LookupError` naming those there are."""
        for entry in self.datasets:
            if entry.name == name:
                return entry
        raise LookupError(f"board {self.board} has no data set {name!r}; it has {[d.name for d in self.datasets]}")

    def settings_of(self, dataset: str) -> SpecSettings:
        """Settings of one data set, with its own number of neighbours."""
        k = self.dataset(dataset).k
        return self.settings if k is None else self.settings.model_copy(update={"k": k})

    def of_dataset(self, dataset: str) -> Spec:
        """Return this spec with the settings of one data set."""
        return self.model_copy(update={"settings": self.settings_of(dataset)})

    def with_dataset(self, entry: SpecDataset) -> Spec:
        """Return this spec with one data set more, for a run that is not published."""
        return self.model_copy(update={"datasets": (*self.datasets, entry)})


def read_spec(path: Path) -> Spec:
    """Read a board's ``spec.toml``; raises `ValueError` naming the file and the field."""
    try:
        content = parse_toml(read_text(path))
        refuse_newer(content.get("schema_version"), SPEC_VERSION)
        return validated(Spec, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
