"""Limits on how much worse a figure may get, and the figures that can have one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from consilience.metrics import list_metrics
from consilience.records.record import PresetScore, Record
from consilience.registry import UnknownNameError, near_names
from consilience.scoring.gain import gain_and_draws

_GATE = re.compile(r"(?:(?P<dataset>[^/:]+)/)?(?P<figure>[^/:]+):(?P<number>\d+(?:\.\d*)?(?:e-?\d+)?)(?P<percent>%?)")


@dataclass(frozen=True)
class FigureKind:
    """A figure that can be compared: how it is read from a record, and which way is better."""

    title: str
    higher_is_better: bool
    read: Callable[[Record, Sequence[Record]], float | None]
    """Reads it from a record, given the records of its data set."""


@dataclass(frozen=True)
class Gate:
    """A limit on how much worse figures may get."""

    text: str
    figures: tuple[str, ...]
    number: float
    percent: bool
    dataset: str | None = None


def figure_kinds() -> dict[str, FigureKind]:
    """All figures that can be compared, by name."""

    def measured(name: str) -> Callable[[Record, Sequence[Record]], float | None]:
        return lambda record, _: _score(record).metrics.get(name)

    def gain(record: Record, among: Sequence[Record]) -> float | None:
        found = gain_and_draws(record, among)
        return None if found is None else found[0]

    kinds = {
        "alignment": FigureKind("alignment", True, lambda record, _: _score(record).alignment.value),
        "cknna": FigureKind("CKNNA", True, lambda record, _: _score(record).cknna),
        "gain": FigureKind("training gain", True, gain),
    }
    for name, entry in list_metrics().items():
        if entry.card.inputs == "pair" and name != "cknna":
            for suffix in ("",) if entry.card.symmetric else ("_to", "_from"):
                title = f"{entry.card.title} {suffix[1:]}".strip()
                higher = bool(entry.card.higher_is_more_alike)
                kinds[name + suffix] = FigureKind(title, higher, measured(name + suffix))
    kinds["energy_mae"] = FigureKind(
        "energy MAE", False, lambda record, _: record.energy.mae if record.energy else None
    )
    kinds["energy_mae_out_of_sample"] = FigureKind(
        "energy MAE out of sample", False, lambda record, _: record.energy.mae_out_of_sample if record.energy else None
    )
    kinds["probe_mae"] = FigureKind("probe MAE", False, lambda record, _: record.probe.mae if record.probe else None)
    return kinds


def _score(record: Record) -> PresetScore:
    score = record.ranking_score
    assert score is not None, "figures are read from scored records"
    return score


def read_gates(texts: Iterable[str]) -> list[Gate]:
    """Read limits such as ``cknna:5%``, ``dcor:0.02`` and ``mp-1k/cknna:5%``; each text may hold several.

    Raises
    ------
    UnknownNameError
        A figure is unknown; the message suggests near names.
    ValueError
        A text is no limit.
    """
    gates = []
    for text in (part.strip() for whole in texts for part in whole.split(",") if part.strip()):
        found = _GATE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no limit: expected METRIC:5% or METRIC:0.02, or DATASET/METRIC:...")
        figures = _figures_named(found["figure"].strip())
        gates.append(Gate(text, figures, float(found["number"]), bool(found["percent"]), found["dataset"]))
    return gates


def gates_by_figure(gates: Sequence[Gate], dataset: str) -> dict[str, Gate]:
    """Gate of each figure on a data set: its own before the general one, a later before an earlier."""
    found: dict[str, Gate] = {}
    for wanted in (None, dataset):
        for gate in gates:
            if gate.dataset == wanted:
                found.update(dict.fromkeys(gate.figures, gate))
    return found


def _figures_named(name: str) -> tuple[str, ...]:
    """Figures of a name or title, however it is spelled: both of a directed metric."""
    known: dict[str, dict[str, None]] = {}
    for figure, kind in figure_kinds().items():
        for spelling in (figure, kind.title):
            known.setdefault(_plain(spelling), {})[figure] = None
            if figure.endswith(("_to", "_from")):
                known.setdefault(_plain(re.sub(r"[_ ](to|from)$", "", spelling)), {})[figure] = None
    if _plain(name) in known:
        return tuple(known[_plain(name)])
    near = near_names(name.lower(), figure_kinds())
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(figure_kinds())}"
    raise UnknownNameError(f"no figure is named {name!r}; {hint}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())
