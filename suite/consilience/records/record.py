"""Records: one scored cell (target x data set) each, and the source of truth of a board.

A record carries an integer schema version; a reader migrates older versions on the way in (:mod:`.migrations`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from consilience.cards import Card, Name, Sha256, is_twin

from .schema import SchemaModel, Value, is_empty

#: Schema of what new boards write; a board whose spec is of schema 1 keeps records of schema 1.
RECORD_VERSION: Literal[2] = 2
State = Literal["ok", "failed", "skipped", "missing"]


class Interval(SchemaModel):
    """A value with its interval."""

    value: Value
    """Estimate."""
    low: Value = None
    """Lower end, 95 %."""
    high: Value = None
    """Upper end, 95 %."""


class PairScore(SchemaModel):
    """A target against one reference, in one preset."""

    cknna: Value
    """CKNNA as measured."""
    null_mean: Value
    """Mean of CKNNA when items are paired at random."""
    null_quantile: Value
    """The calibration's threshold: 95 % quantile of that null."""
    p_value: Value
    """Permutation p."""
    calibrated: Value
    """max(0, (cknna - threshold) / (1 - threshold))."""
    metrics: dict[str, Value] = {}
    """Every other pair metric by name, as measured."""
    aligned: Value = Field(default=None, exclude_if=is_empty)
    """Alignment on the board's scale, where that is not `calibrated`."""
    draws: list[Value] = Field(default=[], exclude_if=is_empty)
    """`aligned` in other draws of the items, the same for all targets; in the preset that the board ranks by."""

    @property
    def alignment(self) -> float | None:
        """Alignment on the board's scale."""
        return self.calibrated if self.aligned is None else self.aligned


class PresetScore(SchemaModel):
    """A target against all references outside its family, in one preset."""

    alignment: Interval
    """Mean calibrated CKNNA over the references."""
    cknna: Value
    """Mean CKNNA as measured."""
    metrics: dict[str, Value] = {}
    """Mean over the references of every other pair metric."""
    pairs: dict[str, PairScore]
    """By reference."""
    draws: list[Value] = []
    """Alignment in other draws of the items, from their halves; joint for all targets that embed the same items."""
    centre: Value = Field(default=None, exclude_if=is_empty)
    """The alignment before anything is cut off at 0."""
    deviation: Value = Field(default=None, exclude_if=is_empty)
    """Standard deviation of `centre` over draws of the items."""
    uncut_draws: list[Value] = Field(default=[], exclude_if=is_empty)
    """`centre` in the same draws as `draws`; in the preset that the board ranks by."""
    self_alignment: Value
    """CKNNA of the target with itself: 1 unless something is broken."""


class EnergyError(SchemaModel):
    """Error of the model's own energies once composition is fitted away from both sides."""

    mae: Value
    """Mean absolute error, eV per item, fit on the same items (the paper's figure, eqs 1-4)."""
    mae_out_of_sample: Value
    """The same with the composition fits made on other items."""
    mae_per_atom: Value
    """Out-of-sample error, eV per atom."""
    items: int
    """Items with an energy."""


class Probe(SchemaModel):
    """Ridge regression from the embedding to the energy per atom beyond composition, out of fold."""

    mae: Value
    """eV per atom."""
    baseline: Value
    """The same without any embedding (composition and size only)."""


class Twin(SchemaModel):
    """A target against its own architecture with random weights, in one preset."""

    cknna: Value
    """CKNNA as measured."""
    calibrated: Value
    """Calibrated CKNNA."""
    distance: Value
    """1 - calibrated: what training changed."""


class Examined(SchemaModel):
    """What the preparation of an embedding found in one preset."""

    dominant: int
    """Rows that would decide the scale of the columns, and were left out of its estimate."""
    largest_share: Value
    """Largest share of one row in the squared length of all."""
    left: Value
    """Share of variance that the controls leave by least squares."""


class Truncation(SchemaModel):
    """Items that are longer than what a model reads."""

    items: int
    """How many were cut."""
    share: float
    """Mean share of them that was cut off."""


class Provenance(SchemaModel):
    """Where a record's numbers come from."""

    created: str
    """UTC time of scoring."""
    suite_version: str
    """Version of consilience."""
    commit: str | None
    """Commit of the suite's repository, where it runs from one."""
    dirty: bool | None
    """Whether that working tree had changes."""
    settings: dict[str, Any]
    """Every resolved setting of the scoring (spec, seeds, k, permutations...)."""
    metric_versions: dict[str, int]
    """Version of every metric used."""
    presets: dict[str, int] = Field(default={}, exclude_if=is_empty)
    """Version of every preset used."""
    controls_sha256: dict[str, Sha256] = Field(default={}, exclude_if=is_empty)
    """SHA-256 of the matrix that each set of controls was for these items."""
    packages: dict[str, str]
    """Package versions of the scoring environment."""
    embedding: dict[str, Any]
    """Provenance of the embedding: identity (weights, code, environment, items), seconds, hardware, packages."""
    references: dict[str, str]
    """Key of each reference embedding."""
    sources: list[dict[str, str]] = []
    """What a data set built on the machine was made of: archives with SHA-256, repositories of a hub with commit."""


class Submission(SchemaModel):
    """What the publisher of a board did to find out whether submitted rows come from the model that they name."""

    recomputed: int = 0
    """Items whose rows the publisher computed again from target file and weights; 0: the rows are the submitter's."""
    deviation: Value = None
    """Largest relative deviation of a submitted row from the one computed again."""
    sandbox: Literal["bubblewrap", "unshare", "none"] | None = None
    """What the submitter's code ran in; None where none of it ran."""
    trusted: bool = False
    """Whether rows under a name of the suite were taken although there was no embedding to compare them with."""
    copy_of: str | None = None
    """Target whose rows these repeat, as the card says (`ancestor`)."""

    @property
    def ranked(self) -> bool:
        """Whether the cell may have a rank of its own."""
        return self.recomputed > 0 and self.copy_of is None

    @property
    def label(self) -> str:
        """What tables say of the rows."""
        if self.copy_of is not None:
            return f"as {self.copy_of}"
        if not self.recomputed:
            return "rows from the submitter"
        return f"{self.recomputed} items recomputed" + (" without a sandbox" if self.sandbox == "none" else "")


class Record(SchemaModel):
    """One cell of a board: a target scored on a data set, or the reason why it is not."""

    schema_version: Literal[1, 2] = RECORD_VERSION
    """Version of this schema."""
    board: Name
    """Board version the cell belongs to."""
    dataset: Name
    """Data set."""
    revision: Sha256
    """Revision of the data set."""
    target: str
    """Target; an untrained twin ends in ``@untrained``."""
    card: Card
    """The target's card."""
    trained: bool
    """False for untrained twins and baselines."""
    state: State
    """What became of the cell."""
    reason: str | None = None
    """Why it is not ok, or what has to be known about it all the same."""
    distribution: Literal["in", "out", "unknown"] | None = None
    """Whether the target was trained on the collection that the data set was drawn from; None if untrained."""
    overlap: float | None = Field(default=None, ge=0, le=1)
    """Share of the items that the target was trained on, by id; None where its training items are not known."""
    coverage: float = Field(default=0.0, ge=0, le=1)
    """Share of the items that were embedded."""
    uncovered: dict[str, int] = {}
    """Reasons why items were not embedded, with their counts."""
    truncated: Truncation | None = None
    """What the model did not read of items that are too long for it; None where it read all of all."""
    dimension: int | None = None
    """Columns of the embedding."""
    ranked: str | None = Field(default=None, exclude_if=is_empty)
    """Preset that the board ranks by."""
    scores: dict[str, PresetScore] = {}
    """By preset."""
    examined: dict[str, Examined] = Field(default={}, exclude_if=is_empty)
    """What the preparation found, by preset, where the preset looks for dominant rows."""
    singles: dict[str, dict[str, Value]] = {}
    """Metrics of the embedding alone (intrinsic dimension...), by preset."""
    twin: dict[str, Twin] = {}
    """Against the untrained twin, by preset; empty where there is none."""
    energy: EnergyError | None = None
    """Error of the model's energies."""
    probe: Probe | None = None
    """What a linear probe reads from the embedding."""
    items_per_second: Value = None
    """Embedding throughput, loading excluded."""
    provenance: Provenance | None = None
    """Where the numbers come from."""
    submission: Submission | None = Field(default=None, exclude_if=is_empty)
    """Of a cell that was submitted: what is known of where its rows come from."""

    @property
    def untrained(self) -> bool:
        """Whether the target is an untrained twin (a baseline is not)."""
        return is_twin(self.target)

    @property
    def kind(self) -> str:
        """``trained``, ``untrained`` (a network with random weights) or ``baseline``."""
        return "trained" if self.trained else "untrained" if self.untrained else "baseline"

    @property
    def ranking_score(self) -> PresetScore | None:
        """Score in the preset that the board ranks by; None where the cell has none."""
        return self.scores.get(self.ranked) if self.ranked is not None else None
