"""A published board: what is built from records and pairs, and from nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from consilience.cards import DatasetCard, Name, Sha256

from .pairs import GroupPair
from .record import Interval, State
from .schema import SchemaModel, Value, is_empty
from .spec import Spec

BOARD_VERSION: Literal[2] = 2


class Gain(SchemaModel):
    """What training adds to a target's alignment, against its own untrained twins."""

    value: Value
    """Alignment minus the mean of the twins."""
    low: Value = None
    """Lower end of the 95 % interval: other items, seeds of the twins, lineages of references."""
    high: Value = None
    """Its upper end."""
    untrained: Value
    """Mean alignment of the twins."""
    seeds: int
    """Number of twins."""
    clear: bool = False
    """Whether the interval lies above 0."""
    stays: bool = False
    """Whether it is clear at a false discovery rate of 5 % among the targets of the data set."""


class Free(SchemaModel):
    """Alignment of a target above what nobody has to train."""

    value: Value
    """Alignment minus the largest of own twins, descriptors and random features of composition."""
    low: Value = None
    """Lower end of the 95 % interval."""
    high: Value = None
    """Its upper end."""
    best: str
    """What that largest is."""


class Row(SchemaModel):
    """One line of a board's table: the figures of a record that people compare."""

    target: str
    """Target."""
    title: str
    """Name as people write it."""
    family: str
    """Family."""
    modality: str
    """Modality."""
    control: bool
    """Whether it is a control (never ranked)."""
    reference: bool
    """Whether others are compared with it."""
    state: State
    """State of the cell."""
    reason: str | None
    """Why it is not ok."""
    rank: int | None = None
    """Rank by alignment beyond composition, among ranked targets."""
    rank_interval: tuple[int, int] | None = None
    """95 % interval of the rank over draws of the items."""
    parameters: int | None = None
    """Number of parameters."""
    trained_on: tuple[str, ...] | None = None
    """Training data sets."""
    distribution: str | None = None
    """In or out of distribution for this target."""
    domain: str | None = Field(default=None, exclude_if=is_empty)
    """Kind of items that the target was made for, where that is a part of what it reads."""
    overlap: float | None = None
    """Share of the items that the target was trained on, where its training items are known."""
    coverage: float
    """Share of the items embedded."""
    alignment: dict[str, Interval] = {}
    """Mean calibrated CKNNA by preset."""
    cknna: dict[str, Value] = {}
    """Mean CKNNA as measured, by preset."""
    metrics: dict[str, Value] = {}
    """Mean of the other pair metrics, beyond composition."""
    intrinsic_dimension: Value = None
    """TwoNN, beyond composition."""
    twin_distance: Value = None
    """Distance to the untrained twin, beyond composition."""
    energy_mae: Value = None
    """Composition-corrected MAE, eV (the paper's)."""
    energy_mae_out_of_sample: Value = None
    """The same, fits made on other items, eV."""
    probe_mae: Value = None
    """Probe, eV per atom."""
    probe_baseline: Value = None
    """The same without any embedding; one figure per data set."""
    items_per_second: Value = None
    """Throughput."""
    gain: Gain | None = Field(default=None, exclude_if=is_empty)
    """Training gain, of a trained target with own twins."""
    above_free: Free | None = Field(default=None, exclude_if=is_empty)
    """Alignment above free."""
    all_lineages: Value = Field(default=None, exclude_if=is_empty)
    """Mean alignment with the trained targets of all other lineages, each lineage counted once: no part of the rank."""
    left: Value = Field(default=None, exclude_if=is_empty)
    """Share of the embedding's variance that is not linear in composition."""


class Discrimination(SchemaModel):
    """Probability that a trained-trained pair of different families outscores a trained-untrained one."""

    value: Value
    """Probability among pairs of one modality, that of the untrained twins (ties count one half)."""
    trained_pairs: int
    """Trained-trained pairs compared."""
    untrained_pairs: int
    """Trained-untrained pairs compared."""
    across_modalities: Value
    """The same with trained-trained pairs of any two modalities."""
    pairs_across: int
    """Trained-trained pairs of any two modalities."""


class PairedDiscrimination(SchemaModel):
    """How often a trained target aligns with a reference more than an own untrained twin does."""

    value: Value
    """Share of the comparisons (ties count one half)."""
    comparisons: int
    """Target, reference and twin: how many."""
    targets: int
    """Trained targets."""
    lineages: int
    """Their lineages."""
    positive: int
    """Lineages that gain on average."""
    p_value: Value
    """Sign test over lineages, one-sided."""
    bound: Value
    """Lower 95 % bound of the probability that a lineage gains."""


class NullGain(SchemaModel):
    """Gains of untrained twins, each against the others of its target."""

    comparisons: int
    """Number."""
    clear: int
    """How many intervals leave out 0, on either side."""
    bound: Value
    """Upper 95 % bound of the share of these."""
    above: Value
    """Probability that the gain of a trained target is larger."""


class Training(SchemaModel):
    """What training adds, over the targets of a data set."""

    paired: dict[str, PairedDiscrimination]
    """By modality."""
    other_training_sets: dict[str, PairedDiscrimination] = {}
    """The same with references alone that were trained on other data."""
    targets: int
    """Targets with a gain."""
    clear: int
    """Those whose gain is clear."""
    expected_false: Value
    """Clear gains to expect if no target gained anything: 0.025 of them."""
    stay: int
    """Those that stay at a false discovery rate of 5 %."""
    null: NullGain | None = None
    """Gains where there is nothing to gain."""


class Sanity(SchemaModel):
    """What must hold on any board that can be trusted."""

    self_alignment: Value
    """Smallest CKNNA of a target with itself; has to be 1."""
    random_gaussian: Interval | None
    """Calibrated alignment of random rows before it is cut off at 0; the interval has to hold no positive signal."""


class DatasetBoard(SchemaModel):
    """The table of one data set."""

    name: Name
    """Data set."""
    card: DatasetCard
    """Its card."""
    revision: Sha256
    """Its revision."""
    references: tuple[str, ...]
    """What targets are compared with."""
    rows: list[Row]
    """Ranked targets, then the rest, then controls."""
    discrimination: dict[str, Discrimination]
    """Of each preset, over pairs of ranked kinds."""
    sanity: Sanity
    """Checks on the board itself."""
    groups: list[GroupPair] = []
    """Agreement within and between modalities."""
    training: Training | None = Field(default=None, exclude_if=is_empty)
    """What training adds."""


class OverallRow(SchemaModel):
    """One line across data sets."""

    matter: str = "molecule"
    """Kind of matter of the data sets."""
    target: str
    """Target."""
    borda: float
    """Mean share of competitors outranked, over the data sets (1 is first everywhere)."""
    rank: int
    """Rank by that."""
    ranks: dict[str, int]
    """Rank on each data set."""


class Generality(SchemaModel):
    """How far a target's alignment holds up on data unlike what it was trained on."""

    target: str
    """Target."""
    in_distribution: float
    """Its alignment as a share of the data set's highest, mean over the data sets in distribution for it."""
    out_of_distribution: float
    """The same over those out of distribution."""
    generality: Value
    """Out of distribution relative to in distribution; 1: it keeps its place among the others."""
    datasets_in: tuple[Name, ...]
    """Data sets in distribution for it."""
    datasets_out: tuple[Name, ...]
    """Data sets out of distribution for it."""


class Board(SchemaModel):
    """A published board."""

    schema_version: Literal[1, 2] = BOARD_VERSION
    """Version of this schema."""
    board: Name
    """Version of the board."""
    title: str
    """One line for people."""
    spec: Spec
    """What was measured."""
    datasets: list[DatasetBoard]
    """One table each."""
    overall: list[OverallRow] = []
    """Targets ranked on every data set of a kind of matter, one kind after another."""
    generality: list[Generality] = []
    """Targets ranked both in and out of distribution, by the latter."""
    records_sha256: Sha256 | None = Field(default=None, exclude_if=is_empty)
    """SHA-256 over the records that it was built from, of a published board; from schema 2 on."""
