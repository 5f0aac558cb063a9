"""Records and boards: the schema of everything the suite publishes, versioned and validated.

A record is one scored cell (target x data set) and the source of truth; a board is built from records and from
nothing else. Both carry an integer schema version; a reader migrates older versions on the way in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .cards import Card, DatasetCard, Name, Sha256
from .spec import Spec

RECORD_VERSION: Literal[1] = 1
BOARD_VERSION: Literal[1] = 1

State = Literal["ok", "failed", "skipped", "missing"]
PresetName = Literal["paper", "standardized", "beyond_composition"]
PRESETS: tuple[PresetName, ...] = ("paper", "standardized", "beyond_composition")
#: The preset that a board ranks by.
RANKED: PresetName = "beyond_composition"
PRESET_TITLES: dict[PresetName, str] = {
    "paper": "paper (rows L2)",
    "standardized": "standardized",
    "beyond_composition": "beyond composition",
}


def _no_nan(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


#: A figure that may be undefined; NaN is written as null, since JSON has no NaN.
Figure = Annotated[float | None, BeforeValidator(_no_nan)]


class SchemaModel(BaseModel):
    """What is published or handed on as JSON: unknown fields are refused, docstrings of fields are descriptions."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Interval(SchemaModel):
    """A value with its interval."""

    value: Figure
    """Estimate."""
    low: Figure = None
    """Lower end, 95 %."""
    high: Figure = None
    """Upper end, 95 %."""


class PairScore(SchemaModel):
    """A target against one reference, in one preset."""

    cknna: Figure
    """CKNNA as measured."""
    null_mean: Figure
    """Mean of CKNNA when items are paired at random."""
    null_quantile: Figure
    """The calibration's threshold: 95 % quantile of that null."""
    p_value: Figure
    """Permutation p."""
    calibrated: Figure
    """max(0, (cknna - threshold) / (1 - threshold))."""
    metrics: dict[str, Figure] = {}
    """Every other pair metric by name, as measured."""


class PresetScore(SchemaModel):
    """A target against all references outside its family, in one preset."""

    alignment: Interval
    """Mean calibrated CKNNA over the references."""
    cknna: Figure
    """Mean CKNNA as measured."""
    metrics: dict[str, Figure] = {}
    """Mean over the references of every other pair metric."""
    pairs: dict[str, PairScore]
    """By reference."""
    draws: list[Figure] = []
    """Alignment in other draws of the items, from their halves; joint for all targets that embed the same items."""
    self_alignment: Figure
    """CKNNA of the target with itself: 1 unless something is broken."""


class EnergyError(SchemaModel):
    """Error of the model's own energies once composition is fitted away from both sides."""

    mae: Figure
    """Mean absolute error, eV per item, fit on the same items (the paper's figure, eqs 1-4)."""
    mae_out_of_sample: Figure
    """The same with the composition fits made on other items."""
    mae_per_atom: Figure
    """Out-of-sample error, eV per atom."""
    items: int
    """Items with an energy."""


class Probe(SchemaModel):
    """Ridge regression from the embedding to the energy per atom beyond composition, out of fold."""

    mae: Figure
    """eV per atom."""
    baseline: Figure
    """The same without any embedding (composition and size only)."""


class Twin(SchemaModel):
    """A target against its own architecture with random weights, in one preset."""

    cknna: Figure
    """CKNNA as measured."""
    calibrated: Figure
    """Calibrated CKNNA."""
    distance: Figure
    """1 - calibrated: what training changed."""


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
    packages: dict[str, str]
    """Package versions of the scoring environment."""
    embedding: dict[str, Any]
    """Provenance of the embedding: identity (weights, code, environment, items), seconds, hardware, packages."""
    references: dict[str, str]
    """Key of each reference embedding."""
    sources: list[dict[str, str]] = []
    """What a data set built on the machine was made of: archives with SHA-256, repositories of a hub with commit."""


class Record(SchemaModel):
    """One cell of a board: a target scored on a data set, or the reason why it is not."""

    schema_version: Literal[1] = RECORD_VERSION
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
    scores: dict[PresetName, PresetScore] = {}
    """By preset."""
    singles: dict[str, dict[str, Figure]] = {}
    """Metrics of the embedding alone (intrinsic dimension...), by preset."""
    twin: dict[PresetName, Twin] = {}
    """Against the untrained twin, by preset; empty where there is none."""
    energy: EnergyError | None = None
    """Error of the model's energies."""
    probe: Probe | None = None
    """What a linear probe reads from the embedding."""
    items_per_second: Figure = None
    """Embedding throughput, loading excluded."""
    provenance: Provenance | None = None
    """Where the numbers come from."""


class PairFigures(SchemaModel):
    """Agreement of two targets in one preset."""

    cknna: Figure
    """CKNNA as measured."""
    calibrated: Figure
    """max(0, (cknna - threshold) / (1 - threshold)), the threshold being the 95 % quantile of a permutation null."""
    p_value: Figure
    """Permutation p."""
    low: Figure = None
    """Lower end of the 95 % interval of `calibrated`, from halves of the items; in the preset that is ranked by."""
    high: Figure = None
    """Its upper end."""
    metrics: dict[str, Figure] = {}
    """Every other pair metric, as measured; a directed one as ``_to`` (first to second) and ``_from``. None in the
    preset ``standardized``."""


class Pair(SchemaModel):
    """Two targets of one data set."""

    first: str
    """A target."""
    second: str
    """Another."""
    items: int
    """Items that the figures rest on."""
    scores: dict[PresetName, PairFigures]
    """By preset."""


class AllPairs(SchemaModel):
    """All pairs of targets of one data set, as published beside the records."""

    schema_version: Literal[1] = 1
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
    calibrated: dict[PresetName, Figure]
    """Mean calibrated CKNNA by preset."""
    p_value: dict[PresetName, Figure]
    """Twice the mean p of the pairs: valid however the pairs depend on each other (Vovk and Wang 2020,
    doi:10.1093/biomet/asaa027)."""


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
    overlap: float | None = None
    """Share of the items that the target was trained on, where its training items are known."""
    coverage: float
    """Share of the items embedded."""
    alignment: dict[PresetName, Interval] = {}
    """Mean calibrated CKNNA by preset."""
    cknna: dict[PresetName, Figure] = {}
    """Mean CKNNA as measured, by preset."""
    metrics: dict[str, Figure] = {}
    """Mean of the other pair metrics, beyond composition."""
    intrinsic_dimension: Figure = None
    """TwoNN, beyond composition."""
    twin_distance: Figure = None
    """Distance to the untrained twin, beyond composition."""
    energy_mae: Figure = None
    """Composition-corrected MAE, eV (the paper's)."""
    energy_mae_out_of_sample: Figure = None
    """The same, fits made on other items, eV."""
    probe_mae: Figure = None
    """Probe, eV per atom."""
    probe_baseline: Figure = None
    """The same without any embedding; one figure per data set."""
    items_per_second: Figure = None
    """Throughput."""


class Discrimination(SchemaModel):
    """Probability that a trained-trained pair of different families outscores a trained-untrained one."""

    value: Figure
    """Probability among pairs of one modality, that of the untrained twins (ties count one half)."""
    trained_pairs: int
    """Trained-trained pairs compared."""
    untrained_pairs: int
    """Trained-untrained pairs compared."""
    across_modalities: Figure
    """The same with trained-trained pairs of any two modalities."""
    pairs_across: int
    """Trained-trained pairs of any two modalities."""


class Sanity(SchemaModel):
    """What must hold on any board that can be trusted."""

    self_alignment: Figure
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
    discrimination: dict[PresetName, Discrimination]
    """Of each preset, over pairs of ranked kinds."""
    sanity: Sanity
    """Checks on the board itself."""
    groups: list[GroupPair] = []
    """Agreement within and between modalities."""


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
    generality: Figure
    """Out of distribution relative to in distribution; 1: it keeps its place among the others."""
    datasets_in: tuple[Name, ...]
    """Data sets in distribution for it."""
    datasets_out: tuple[Name, ...]
    """Data sets out of distribution for it."""


class Board(SchemaModel):
    """A published board."""

    schema_version: Literal[1] = BOARD_VERSION
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


class SavedRun(SchemaModel):
    """A run kept to be compared with: its records, and what they were measured by."""

    schema_version: Literal[1] = 1
    """Version of this schema."""
    created: str
    """UTC time of saving."""
    suite_version: str
    """Version of consilience."""
    spec: Spec
    """What was measured: the board's spec, with the data sets asked for beyond it."""
    limit: int | None = None
    """Size of the sample of each data set, in a quick look."""
    records: list[Record]
    """Scored cells, and the reasons of those that were not."""


Verdict = Literal["same", "better", "noise", "worse", "regressed", "undecided"]


class ComparedFigure(SchemaModel):
    """One figure of a cell, before and now."""

    name: str
    """``alignment``, ``cknna``, a pair metric (of a directed one ``_to`` or ``_from`` the references), or an error."""
    old: Figure
    """In the baseline."""
    new: Figure
    """In the run compared with it."""
    difference: Interval
    """New - old; the ends are null where the figure has no interval."""
    paired: bool | None = None
    """Whether the interval is that of the difference on the same halves, and not two intervals put together."""
    allowed: Figure = None
    """Largest worsening that passes, in the figure's own unit; null where nothing was asked."""
    verdict: Verdict
    """``noise``: another value, within the interval; ``worse``: beyond it, but allowed or not gated."""
    reason: str | None = None
    """Why it is undecided."""


class ComparedCell(SchemaModel):
    """A target on a data set, before and now."""

    dataset: Name
    """Data set."""
    target: str
    """Target in the run."""
    baseline: str
    """Target in the baseline: the same, or the only other checkpoint read by the same adapter."""
    states: tuple[State, State]
    """State before and now."""
    reason: str | None = None
    """Why it has no score now."""
    figures: list[ComparedFigure] = []
    """Figures, where both are scored."""


class Comparison(SchemaModel):
    """A run against a baseline."""

    schema_version: Literal[1] = 1
    """Version of this schema."""
    baseline: str
    """What it was compared with."""
    verdict: Literal["ok", "regressed", "undecided", "refused"]
    """Undecided: a gate could not be judged. Refused: the two were measured differently."""
    gates: list[str]
    """What was asked for, such as ``cknna:5%``."""
    limit: int | None
    """Size of the sample of each data set, in a quick look."""
    cells: list[ComparedCell] = []
    """What both hold."""
    gone: list[str] = []
    """Cells of the baseline that the run does not hold."""
    added: list[str] = []
    """Cells of the run that the baseline does not hold, or holds without a score."""
    remarks: list[str] = []
    """What differs between the two besides the scores: hardware, packages, code."""
    problems: list[str] = []
    """Gates that could not be judged, and why; what was measured differently."""


Migration = Callable[[dict[str, Any]], dict[str, Any]]
#: By version: turns a record of that version into one of the next.
RECORD_MIGRATIONS: dict[int, Migration] = {}


def read_record(path: Path) -> Record:
    """Read a record, migrating older versions; raises `ValueError` naming the file when it is not one."""
    return parse_record(path.read_bytes(), str(path))


def parse_record(text: bytes, name: str) -> Record:
    """Record of a text, migrated; raises `ValueError` that begins with `name` when it is not one."""
    try:
        content = json.loads(text)
        version = content.get("schema_version")
        while version in RECORD_MIGRATIONS:
            content = RECORD_MIGRATIONS[version](content)
            version = content["schema_version"]
        refuse_newer(version, RECORD_VERSION)
        return Record.model_validate(content)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{name} is not a record of schema version {RECORD_VERSION}: {error}") from error


def refuse_newer(version: Any, known: int) -> None:
    """Raise `ValueError` where a schema version is one that only a later suite can read."""
    if isinstance(version, int) and version > known:
        raise ValueError(
            f"written by a newer consilience: its schema version is {version}, this one reads up to {known}; update it"
        )


def _migrated(content: dict[str, Any]) -> dict[str, Any]:
    version = content.get("schema_version")
    while version in RECORD_MIGRATIONS:
        content = RECORD_MIGRATIONS[version](content)
        version = content["schema_version"]
    return content


def read_run(path: Path) -> SavedRun:
    """Read a saved run; raises `ValueError` naming the file when it is not one of this schema version."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict) and {"board", "datasets"} <= set(content):
            raise ValueError("it is a board; what --align-save (consilience run --save) keeps can be compared")
        return SavedRun.model_validate({**content, "records": [_migrated(record) for record in content["records"]]})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not a saved run of schema version 1: {error}") from error


def to_json(model: BaseModel) -> str:
    """Text of a record or board as it is published: indented, keys in schema order, figures to 6 digits."""
    return json.dumps(_rounded(model.model_dump(mode="json")), indent=1, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of everything that is published or handed in, by file name."""
    from .leaderboard.submission import SUBMISSION_VERSION, Manifest  # which is made of records

    return {
        f"submission.v{SUBMISSION_VERSION}.json": Manifest.model_json_schema(mode="serialization"),
        f"record.v{RECORD_VERSION}.json": Record.model_json_schema(mode="serialization"),
        "pairs.v1.json": AllPairs.model_json_schema(mode="serialization"),
        f"board.v{BOARD_VERSION}.json": Board.model_json_schema(mode="serialization"),
        "run.v1.json": SavedRun.model_json_schema(mode="serialization"),
        "comparison.v1.json": Comparison.model_json_schema(mode="serialization"),
    }
