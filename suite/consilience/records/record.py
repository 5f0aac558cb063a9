"""Records and boards: the schema of everything the suite publishes, versioned and validated.

A record is one scored cell (target x data set) and the source of truth; a board is built from records and from
nothing else. Both carry an integer schema version; a reader migrates older versions on the way in.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from consilience.cards import Card, Name, Sha256

RECORD_VERSION: Literal[1] = 1
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
