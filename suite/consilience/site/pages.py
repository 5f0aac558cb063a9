"""What each page holds, from a study: the templates only lay it out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from consilience.board.columns import Line
from consilience.board.headline import TELLS
from consilience.board.numbers import SITE
from consilience.escaping import clean
from consilience.scoring.presets import PRESET_TITLES, PRESETS, RANKED
from consilience.study.study import kind_of

from .cells import address
from .chart import interval_svg
from .closest import Closest, Neighbour, closest

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from consilience.records.board import DatasetBoard, Discrimination, Row
    from consilience.records.record import Record
    from consilience.study import Study

TEMPLATES = Path(__file__).parent / "templates"
#: A target's name as it may stand in a file name: a card's, a twin's, or a checkpoint's of a user.
_TARGET = re.compile(r"[a-z0-9][a-z0-9.+_-]*(@[A-Za-z0-9][A-Za-z0-9.+_-]*)?")
DISTRIBUTION = {"in": "in", "out": "out", "unknown": "unknown"}
MATTERS = {"molecule": "molecules", "crystal": "crystals", "protein": "proteins"}


def environment() -> Environment:
    """Templates with what they need to write numbers and addresses."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_cleaned,
    )
    found.filters |= {
        "number": SITE.number,
        "count": SITE.count,
        "percent": SITE.percent,
        "spaced": lambda text: str(text).replace("_", " "),
        "address": address,
        "interval": SITE.ends,
        "p": SITE.chance,
        "cell": cell,
        "measured": measured,
        "markdown": _html,
        "listed": lambda names: names if isinstance(names, str | int) else ", ".join(map(str, names or ())),
    }
    found.globals |= {
        "PRESETS": PRESETS,
        "PRESET_TITLES": PRESET_TITLES,
        "RANKED": RANKED,
        "MATTERS": MATTERS,
        "dot": _dot,
        "svg": Markup,  # for drawings of our own, whose texts are escaped
    }
    return found


def _cleaned(value: Any) -> Any:
    """Write out control characters of what a template shows; it escapes the rest."""
    return clean(value) if type(value) is str else value


def _html(text: str) -> Markup:
    """Markdown of the board's publisher as HTML: no raw HTML, nothing that is loaded, links to other sites alone."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = reader.parse(clean(text))
    for block in tokens:
        leaves, kept = [False], []
        for one in block.children or ():
            if one.type == "link_open":  # what is beside the board's page is not beside the site's
                leaves.append(str(one.attrGet("href")).startswith("https://"))
            if leaves[-1] or not one.type.startswith("link_"):
                kept.append(one)
            if one.type == "link_close":
                leaves.pop()
        block.children = None if block.children is None else kept
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704 (its texts are escaped)


def _dot(value: float | None, low: float | None = None, high: float | None = None, top: float = 1.0) -> Markup:
    from markupsafe import Markup

    return Markup(interval_svg(value, low, high, top))  # noqa: S704 (nothing in it but numbers)


# -- numbers and addresses -----------------------------------------------------------------------------------------


def measured(value: Any) -> str:
    """A figure that may carry an interval."""
    if hasattr(value, "value"):
        return SITE.interval(value.value, value.low, value.high)
    return SITE.number(value)


def cell(value: Any) -> str:
    """A value of a figure's table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value)


def safe_name(target: str) -> str:
    """Return a target's name, which becomes a file name; raises `ValueError` where it can't be one."""
    if not _TARGET.fullmatch(target) or len(target) > 150:
        raise ValueError(f"target: expected a name of letters, digits and .+_-@ for a file name, found {target!r}")
    return target


# -- the board's page of a data set ----------------------------------------------------------------------------------


def lines(study: Study, dataset: str) -> list[Line]:
    """Every cell of a data set, in the order of its table."""
    records, table = study.records(dataset, scored=False), study.dataset(dataset)
    return [Line(row, records[row.target], table) for row in table.rows if row.target in records]


def top_of(table: Sequence[Line]) -> float:
    """End of the scale of a table's small pictures: the next tenth above all that it holds."""
    intervals = [line.row.alignment.get(preset) for line in table for preset in PRESETS]
    highs = [one.high or one.value or 0.0 for one in intervals if one is not None]
    return min(1.0, 0.1 * (int(10 * max(highs, default=0.9)) + 1))


# -- the front page ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """The board's question on one data set, in numbers."""

    dataset: str
    matter: str
    trained: float | None
    trained_pairs: int
    untrained: float | None
    untrained_pairs: int
    discrimination: Mapping[str, Discrimination]


def answers(study: Study) -> list[Answer]:
    """Agreement of trained models with each other and with untrained networks, on each data set."""
    found = []
    for name in study.datasets:
        records, groups = study.records(name), defaultdict(list)
        for pair in study.pairs(name):
            first, second = records.get(pair.first), records.get(pair.second)
            figures = pair.scores.get(RANKED)
            if first is None or second is None or figures is None or figures.alignment is None:
                continue
            if first.card.family == second.card.family:
                continue
            groups[frozenset((kind_of(first), kind_of(second)))].append(figures.alignment)
        table = study.dataset(name)
        both, mixed = groups[frozenset(("trained",))], groups[frozenset(("trained", "untrained"))]
        found.append(
            Answer(
                name,
                table.card.matter,
                fmean(both) if both else None,
                len(both),
                fmean(mixed) if mixed else None,
                len(mixed),
                table.discrimination,
            )
        )
    return found


def answer_words(found: Sequence[Answer]) -> list[str]:
    """The answer in sentences, each with its numbers."""
    told = []
    known = [one for one in found if one.trained is not None and one.untrained is not None]
    if known:
        more = [one for one in known if (one.trained or 0) > (one.untrained or 0)]
        told.append(
            f"Beyond composition, trained models of different families agree with each other more than with untrained "
            f"networks on {len(more)} of {len(known)} data sets."
        )
    counted = {}
    for preset in PRESETS:
        values = [one.discrimination[preset].value for one in found]
        judged = [value for value in values if value is not None]
        counted[preset] = f"{sum(value >= TELLS for value in judged)} of {len(judged)}" if judged else "none"
    told.append(
        f"Prepared beyond composition, the board tells trained from untrained networks (at least {TELLS:.0%} of "
        f"comparisons right) on {counted['beyond_composition']} data sets; standardized, on {counted['standardized']}; "
        f"prepared as in the paper, on {counted['paper']}."
    )
    return told


@dataclass(frozen=True)
class Across:
    """A target over the data sets of one kind of matter."""

    target: str
    title: str
    modality: str
    rank: int | None
    borda: float | None
    ranks: Mapping[str, int | None]
    nearest: str | None
    agreement: float | None
    shared: int


@dataclass
class Matter:
    """A kind of matter on the front page."""

    name: str
    datasets: list[DatasetBoard] = field(default_factory=list)
    ranked: list[Across] = field(default_factory=list)
    partly: list[Across] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)

    @property
    def plural(self) -> str:
        """Its name for headings."""
        return MATTERS.get(self.name, f"{self.name}s")


def matters(study: Study) -> list[Matter]:
    """Targets by kind of matter: ranked on every data set of it, on some, and controls."""
    found: dict[str, Matter] = {}
    for table in study.board.datasets:
        found.setdefault(table.card.matter, Matter(table.card.matter)).datasets.append(table)
    overall = {(row.matter, row.target): row for row in study.board.overall}
    for matter in found.values():
        names = [table.name for table in matter.datasets]
        rows = {name: {row.target: row for row in study.dataset(name).rows if row.state == "ok"} for name in names}
        models: dict[str, Row] = {}
        for name in names:
            for target, row in rows[name].items():
                if row.control:
                    matter.controls += [target] if target not in matter.controls else []
                else:
                    models.setdefault(target, row)
        for target, row in models.items():
            whole = overall.get((matter.name, target))
            near = _nearest_across(study, [name for name in names if target in rows[name]], target)
            line = Across(
                target,
                row.title,
                row.modality,
                whole.rank if whole else None,
                whole.borda if whole else None,
                {name: rows[name][target].rank if target in rows[name] else None for name in names},
                *near,
            )
            (matter.ranked if whole else matter.partly).append(line)
        matter.ranked.sort(key=lambda line: (line.rank or 0, line.target))
        matter.partly.sort(key=lambda line: (min((r for r in line.ranks.values() if r), default=999), line.target))
        matter.controls.sort()
    return list(found.values())


def _nearest_across(study: Study, names: Sequence[str], target: str) -> tuple[str | None, float | None, int]:
    """The model of another family that is closest on average, over the data sets that most models share with it."""
    values: dict[str, list[float]] = defaultdict(list)
    for name in names:
        for other in closest(study, name, target).others:
            if other.value >= 0:
                values[other.target].append(other.value)
    if not values:
        return None, None, 0
    most = max(map(len, values.values()))
    best = max((other for other in values if len(values[other]) == most), key=lambda other: fmean(values[other]))
    return best, fmean(values[best]), most


# -- the page of a target --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A target on one data set."""

    dataset: str
    matter: str
    line: Line
    record: Record
    closest: Closest | None

    @property
    def everyone(self) -> list[Neighbour]:
        """All that it was paired with, closest first."""
        found = self.closest
        if found is None:
            return []
        return sorted((*found.others, *found.siblings, *found.controls), key=lambda one: -one.value)


def places(study: Study, target: str) -> list[Place]:
    """A target on every data set that has a record of it."""
    found = []
    for name in study.datasets:
        record = study.records(name, scored=False).get(target)
        if record is None:
            continue
        table = study.dataset(name)
        row = next((row for row in table.rows if row.target == target), None)
        if row is not None:
            near = closest(study, name, target) if record.state == "ok" else None
            found.append(Place(name, table.card.matter, Line(row, record, table), record, near))
    return found


def closest_words(found: Sequence[Place]) -> list[str]:
    """Who is closest, for each kind of matter, in one sentence."""
    told = []
    by_matter: dict[str, list[Place]] = defaultdict(list)
    for place in found:
        if place.closest is not None and place.closest.best is not None:
            by_matter[place.matter].append(place)
    for matter, those in by_matter.items():
        names = [place.closest.best.target for place in those if place.closest and place.closest.best]
        most = max(dict.fromkeys(names), key=names.count)
        sure = [place for place in those if place.closest and place.closest.verdict == "yes"]
        on = "the data set" if len(those) == 1 else f"{names.count(most)} of {len(those)} data sets"
        where = "there" if len(those) == len(sure) == 1 else f"on {len(sure)} of {len(those)}"
        told.append(
            f"On {MATTERS.get(matter, matter)}: closest to {most} on {on}; "
            f"more than composition and untrained networks {where}."
        )
    return told


def card_lines(record: Record) -> list[tuple[str, str]]:
    """Card of a target, for people."""
    card = record.card
    told = {
        "family": card.family,
        "reads": card.modality.replace("_", " ") + (f" ({card.view})" if card.view else ""),
        "parameters": None if card.parameters is None else f"{card.parameters:,}",
        "columns of the embedding": record.dimension or card.dimension,
        "layer": card.layer,
        "pooling": card.pooling,
        "trained on": None if card.trained_on is None else ", ".join(card.trained_on) or "nothing",
        "level of theory": card.level_of_theory,
        "elements": None if card.elements is None else f"{len(card.elements)}: {' '.join(card.elements)}",
        "periodic": None if card.periodic is None else "crystals only" if card.periodic else "molecules only",
        "invariant under rotation": None if card.modality == "baseline" else "yes" if card.invariant else "no",
        "rotation deviation": card.rotation_deviation,
        "supercell deviation": card.supercell_deviation,
        "licence of the code": card.licence_code,
        "licence of the weights": card.licence_weights,
        "revision": card.revision,
        "weights": card.source,
        "SHA-256 of the weights": card.weights_sha256,
        "reference": card.reference,
        "untrained twin": card.twin,
        "remark": card.remark,
        "superseded by": card.superseded_by,
    }
    return [(name, str(value)) for name, value in told.items() if value is not None and value != ""]


def reference_address(reference: str | None) -> str | None:
    """Address of a paper: of a DOI or an arXiv identifier; None where it is neither."""
    if reference is None:
        return None
    if re.fullmatch(r"10\.\d{4,9}/\S+", reference):
        return f"https://doi.org/{reference}"
    found = re.fullmatch(r"(?:arXiv:)?(\d{4}\.\d{4,5})(?:v\d+)?", reference, re.IGNORECASE)
    return f"https://arxiv.org/abs/{found[1]}" if found else None


def dataset_lines(table: DatasetBoard) -> list[tuple[str, str]]:
    """Card of a data set, for people."""
    card = table.card
    lines = card.lines() | {"revision": table.revision}
    if card.items is not None:
        lines["items"] += f" {MATTERS.get(card.matter, card.matter)}"
    return list(lines.items())
