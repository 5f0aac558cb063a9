"""Cards: what a target and a data set declare about themselves (a metric's: :mod:`consilience.metrics`).

A card is data. It is validated when its file is imported, unknown fields are refused, and an error names the
field. Three fields are enough for a private target (`name`, `family`, `modality`); publishing asks for the rest.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import warnings
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .checkpoints import Kind

Modality = Literal["string", "graph", "atoms", "protein_sequence", "protein_structure", "text", "baseline"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
View = Literal["id", "smiles", "selfies", "atoms", "sequence", "backbone"]

Access = Literal["package", "download", "gated", "file"]

#: Suffix of the name of an untrained twin; a colon and a number behind it name further ones.
UNTRAINED = "@untrained"
_TWIN = re.compile(r"(?P<card>.+)@untrained(?::(?P<number>[1-9][0-9]{0,5}))?")


class Twin(NamedTuple):
    """The name of an untrained twin, taken apart."""

    card: str
    """Name of the trained target."""
    number: int
    """0 for ``NAME@untrained``, S for ``NAME@untrained:S``."""

    @classmethod
    def of(cls, name: str) -> Twin | None:
        """Take a name apart; None where it is no twin's."""
        match = _TWIN.fullmatch(name)
        return None if match is None else cls(match["card"], int(match["number"] or 0))

    @property
    def name(self) -> str:
        """Name on the board.

        Examples
        --------
        >>> Twin("chgnet-0.3.0", 2).name
        'chgnet-0.3.0@untrained:2'
        >>> Twin.of("chgnet-0.3.0@untrained")
        Twin(card='chgnet-0.3.0', number=0)
        """
        return self.card + UNTRAINED + (f":{self.number}" if self.number else "")

    @property
    def seed(self) -> int:
        """Seed of its weights: 0 for the first twin, else drawn from the card's name and the number.

        Targets of one architecture share the first twin, but none of the others.
        """
        if not self.number:
            return 0
        return int.from_bytes(hashlib.sha256(f"{self.card}:{self.number}".encode()).digest()[:4], "big") >> 1


def file_stem(target: str) -> str:
    """Name of a target's files, without their ending: not every system takes a colon.

    Examples
    --------
    >>> file_stem("chgnet-0.3.0@untrained:2"), file_stem("chgnet-0.3.0@untrained")
    ('chgnet-0.3.0@untrained-2', 'chgnet-0.3.0@untrained')
    """
    return target.replace(":", "-")


def target_of(stem: str) -> str:
    """Target whose files have a name.

    Examples
    --------
    >>> target_of("chgnet-0.3.0@untrained-2")
    'chgnet-0.3.0@untrained:2'
    """
    card, marked, number = stem.partition(UNTRAINED + "-")
    return f"{card}{UNTRAINED}:{number}" if marked else stem


def is_twin(name: str) -> bool:
    """Whether a name is that of an untrained twin, whatever its number."""
    return Twin.of(name) is not None


#: A name is part of file names and of pytest ids, hence no path separators, brackets or spaces.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+_-]*$", max_length=80)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

#: The view of an item that a modality embeds unless the card says otherwise.
DEFAULT_VIEW: dict[str, View] = {
    "string": "smiles",
    "graph": "smiles",
    "atoms": "atoms",
    "protein_sequence": "sequence",
    "protein_structure": "backbone",
    "text": "smiles",
}


class FrozenModel(BaseModel):
    """Validated data that refuses unknown fields and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Resources(FrozenModel):
    """Resources that embedding with a target needs."""

    gpu: bool = False
    """Whether a GPU is needed (not merely useful)."""
    memory_gib: float = Field(default=4, gt=0)
    """Main memory, GiB."""
    batch_size: int = Field(default=32, ge=1)
    """Items per call of `embed`; halved when memory runs out."""


class BenchmarkFigure(FrozenModel):
    """A figure of a model on a published benchmark."""

    benchmark: str
    """Name of the benchmark."""
    figure: str
    """What was measured."""
    value: float
    """The value."""
    higher_is_better: bool
    """Direction."""
    source: str
    """Address of the page or file that states it, at a fixed version."""


class Card(FrozenModel):
    """What a target declares about itself.

    Only `name`, `family` and `modality` are required of a private target; :meth:`missing_for_publication`
    lists what a published board asks for beyond them.
    """

    name: Name
    """Unique name, such as ``chgnet-0.3.0``."""
    family: Name
    """Models of one family share an architecture; scores leave the target's own family out."""
    modality: Modality
    """What the model reads."""
    view: View | None = None
    """The view of an item handed to `embed`; follows from the modality unless given."""
    title: str | None = None
    """Name as people write it."""
    revision: str | None = None
    """Version of the published weights: package version, tag or commit."""
    former_revisions: tuple[str, ...] = Field(default=(), exclude=True)
    """Revisions with which boards measured the target before it was mended. Not part of records."""
    corrections: tuple[tuple[str, Any], ...] = Field(default=(), exclude=True)
    """What the card said wrongly, where rows did not change by the correction: names of fields, each with the value
    that published records hold. Not part of records."""
    parameters: int | None = Field(default=None, ge=0)
    """Number of parameters that act on the rows."""
    total_parameters: int | None = Field(default=None, ge=0, exclude_if=lambda number: number is None)
    """Number of parameters of the whole model, where heads or other parts of it do not act on the rows."""
    dimension: int | None = Field(default=None, ge=1)
    """Columns of the embedding."""
    layer: str | None = None
    """Where the embedding is taken."""
    pooling: str | None = None
    """How atoms, tokens or residues become one row."""
    trained_on: tuple[str, ...] | None = None
    """Training data sets; an empty tuple means that nothing was trained."""
    training_ids: str | None = None
    """File beside the target's, one id of a training item per line (``.gz`` is understood): where it is given, the
    share of a data set that the target has seen is counted."""
    level_of_theory: str | None = None
    """Electronic-structure method behind the labels the model was trained on."""
    elements: tuple[str, ...] | None = None
    """Chemical symbols covered; ``None`` means no limit."""
    periodic: bool | None = None
    """True for a model of crystals only, False for one of molecules only, ``None`` where it takes both."""
    licence_code: str | None = None
    """SPDX identifier of the code's licence."""
    licence_weights: str | None = None
    """SPDX identifier of the weights' licence."""
    reference: str | None = None
    """DOI or arXiv identifier of the paper."""
    source: str | None = None
    """Where the weights come from."""
    benchmarks: tuple[BenchmarkFigure, ...] = Field(default=(), exclude_if=lambda figures: not figures)
    """Figures of this very model on published benchmarks, to compare alignments with."""
    access: Access = "package"
    """How to obtain the published weights: from a package of the header, by download on first use, or by download
    after their owner granted access; ``file``: there are none, the target reads a user's file. Only targets of the
    first kind are scored by default."""
    weights_sha256: Sha256 | None = None
    """SHA-256 of the published weight file; a load that finds another file fails."""
    accepts: str | None = None
    """Which file of a user this target reads (``--align-checkpoint``); ``None`` where it reads none."""
    reads: tuple[Kind, ...] = Field(default=(), exclude=True)
    """Kinds of these files (:mod:`consilience.checkpoints`): another is refused before anything is built or loaded. Not
    part of records."""
    untrained: bool = False
    """Whether `load` can build the architecture with random weights (the untrained twin)."""
    twin: str | None = None
    """How the untrained twin's configuration differs from the published one, or how it is drawn where its package does
    not say; ``None`` where it does not. Of a network without a twin, why there is none."""
    domain: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """Kind of items it was made for, where that is a part of what it reads: antibodies among proteins, say. Elsewhere
    it stands outside its domain, which a board shows like out of distribution."""
    charge: Literal["used", "ignored", "unknown"] = Field(default="ignored", exclude_if=lambda how: how == "ignored")
    """Whether the total charge of a structure changes the rows; unknown where a published file decides that was not at
    hand."""
    energy: bool = False
    """Whether `embed` also returns energies (eV, total, the model's own reference)."""
    distinct: bool = True
    """False where distinct items may share a row by design (composition, 2D fingerprints of stereoisomers)."""
    invariant: bool = True
    """False where a rotation changes the embedding by design; `rotation_deviation` then says by how much."""
    rotation_deviation: float | None = Field(default=None, ge=0)
    """Measured relative change under rotation of a model that is not invariant."""
    supercell_deviation: float | None = Field(default=None, ge=0)
    """Measured relative change between a crystal and its supercell, where the model tells them apart (a cap on the
    number of neighbours cuts through equal distances); ``None`` where it does not."""
    remark: str | None = None
    """What a reader of the board should know about this row."""
    resources: Resources = Resources()
    """What embedding asks of the machine."""
    superseded_by: str | None = None
    """Name of the target that replaces this one."""
    ancestor: str | None = Field(default=None, max_length=160, exclude_if=lambda name: name is None)
    """Name of the target whose rows this one repeats, entirely or nearly so (its weights under another name, frozen
    layers); a board shows it as that target, without a rank of its own."""
    descends_from: Name | None = Field(default=None, exclude_if=lambda name: name is None)
    """Target or family that this model was developed or fine-tuned from, where its rows are its own. Models of one
    lineage are not independent: they count once among families, and are not compared with each other for a rank."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        for field, _ in self.corrections:
            if field not in type(self).model_fields:
                raise ValueError(f"corrections: a card has no field {field!r}")
        if self.modality == "baseline" and self.view is None:
            raise ValueError("view: a baseline has to say which view it reads (id, smiles, atoms, ...)")
        if not self.invariant and self.rotation_deviation is None:
            raise ValueError("rotation_deviation: a target that is not invariant states its measured figure")
        if self.access == "file" and self.accepts is None:
            raise ValueError("accepts: a target without published weights says which file of a user it reads")
        if self.access in ("download", "gated") and self.source is None:
            raise ValueError("source: a target whose weights are downloaded says where from")
        return self

    def with_corrections(self, **values: Any) -> Card:
        """Return this card with other values of some fields, and the present ones noted as published before.

        Examples
        --------
        >>> card = Card(name="a", family="a", modality="atoms").with_corrections(licence_code="MIT")
        >>> card.licence_code, card.corrections
        ('MIT', (('licence_code', None),))
        """
        former = tuple((field, getattr(self, field)) for field in values)
        fields = {field: getattr(self, field) for field in type(self).model_fields}
        return type(self)(**{**fields, **values, "corrections": (*self.corrections, *former)})

    def as_published(self, published: Card) -> Card:
        """Return this card with the former values of corrected fields that a published card holds."""
        names = {field for field, former in self.corrections if getattr(published, field) == former}
        return self.model_copy(update={name: getattr(published, name) for name in names})

    @property
    def input_view(self) -> View:
        """The view that `embed` receives."""
        return self.view or DEFAULT_VIEW[self.modality]

    def missing_for_publication(self) -> list[str]:
        """Names of the fields that a published board requires and this card lacks."""
        names = ["revision", "dimension", "layer", "pooling", "trained_on", "licence_code", "reference"]
        if self.modality != "baseline" and self.access != "file":
            names += ["parameters", "licence_weights", "source"]
            # Of a download the record states the checksum of what was loaded; the suite has not seen every file.
            names += ["weights_sha256"] if self.access == "package" else []
        return [field for field in names if getattr(self, field) is None]


class Label(FrozenModel):
    """A number known for each item of a data set."""

    name: str
    """Column of the data set."""
    unit: str
    """Unit, such as ``eV``."""
    description: str
    """What the number is."""
    level_of_theory: str | None = None
    """Electronic-structure method behind it."""


class DatasetCard(FrozenModel):
    """What a data set declares about itself."""

    name: Name
    """Unique name, such as ``qm9-1k``."""
    title: str
    """One line for people."""
    matter: Literal["molecule", "crystal", "protein"]
    """What the items are."""
    views: tuple[View, ...]
    """Views that every item has."""
    items: int | None = Field(default=None, ge=1)
    """Number of items; ``None`` where it is known only once the data set was built."""
    revision: str | None = Field(default=None, min_length=1)
    """SHA-256 of an embedded file, commit of a hub repository; without one the items are hashed."""
    energy: Label | None = None
    """Total energy (or formation energy) of each item."""
    strata: tuple[str, ...] = ()
    """Columns within which a restricted permutation may shuffle."""
    matched: str | None = None
    """Column whose groups are alike in what the set was matched for (composition, say): a null that relabels within
    them alone gives that no credit."""
    lineage: tuple[str, ...] = ()
    """Published collections that hold these items, or near relatives of them; where a card's `trained_on` names
    one of them, the data set is in distribution for that target."""
    licence: str
    """SPDX identifier."""
    citation: str
    """What to cite."""
    source: str
    """Pinned origin of the items."""
    recipe: str
    """The script that made the file."""
    selection: str
    """How the items were chosen."""
    dropped: dict[str, int] = {}
    """Items of the source that are left out, by reason."""
    domain: str | None = Field(default=None, exclude=True)
    """Kind of items, where all are of one that models are made for (`Card.domain`)."""
    contacts: Literal["by element", "fixed"] = Field(default="by element", exclude=True)
    """How near two atoms of an item may be: half the sum of their covalent radii and 0.5 Angstrom, or, in sets made
    before that rule, 0.5 Angstrom whatever they are."""

    def lines(self) -> dict[str, str]:
        """Return what the card states, for people, by the name of each line."""
        energy = self.energy and f"{self.energy.description} ({self.energy.unit}; {self.energy.level_of_theory or '?'})"
        lines = {
            "items": None if self.items is None else f"{self.items:,}",
            "views": ", ".join(self.views),
            "energy": energy,
            "strata": ", ".join(self.strata),
            "matched for": self.matched,
            "drawn from": ", ".join(self.lineage),
            "selection": self.selection,
            "left out": "; ".join(f"{reason}: {count:,}" for reason, count in self.dropped.items()),
            "source": self.source,
            "licence": self.licence,
            "citation": self.citation,
            "made by": self.recipe,
            "revision": self.revision,
        }
        return {name: text for name, text in lines.items() if text}

    def markdown(self) -> str:
        """Return the card as a section of Markdown."""
        lines = self.lines()
        lines.pop("matched for", None)  # the selection says it in words
        lines |= {name: f"`{lines[name]}`" for name in ("made by", "revision") if name in lines}
        points = [f"- **{name}**: {text}" for name, text in lines.items()]
        return "\n".join([f"## {self.name}", "", f"{self.title}.", "", *points]) + "\n"


def __getattr__(name: str) -> Any:
    """Return `MetricCard`, which has moved to :mod:`consilience.metrics`; for one release."""
    if name == "MetricCard":
        warnings.warn(
            "consilience.cards.MetricCard has moved to consilience.metrics; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return importlib.import_module("consilience.metrics").MetricCard
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
