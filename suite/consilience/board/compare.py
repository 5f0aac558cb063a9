"""Comparison of a run with a baseline: differences, their intervals and the judgement of gates.

Both runs score the same items, compare them with the same references and split them into the same halves. So an
unchanged embedding gives equal values, and the interval is that of the paired difference: variation between samples of
items that affects both runs cancels. Intervals do not include run-to-run training variance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import isclose
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from consilience import __version__
from consilience.cards import is_twin
from consilience.records.record import Interval, PresetScore, Record
from consilience.records.run import ComparedCell, ComparedFigure, Comparison, SavedRun, Verdict, read_run
from consilience.records.schema import to_json
from consilience.records.spec import Spec, read_spec
from consilience.scoring.gain import gain_and_draws

from .board import read_records
from .gates import FigureKind, Gate, figure_kinds, gates_by_figure

#: Figures shown of every cell, with intervals; others are shown where a gate asks for them.
ALWAYS = ("alignment", "cknna")
#: Scores for which chance is about 0: below this value, percentages are dominated by noise.
MIN_FOR_PERCENT = 0.01
#: Normal quantile of the 95 % intervals.
_Z = NormalDist().inv_cdf(0.975)


class MeasuredDifferentlyError(ValueError):
    """Two runs can't be compared; the message lists all differences."""


def find_run(wanted: str, folder: Path) -> Path:
    """Where a saved run lies: the name of one saved in `folder`, or a path.

    Raises
    ------
    FileNotFoundError
        It is neither; the message names those saved.
    """
    for path in ([saved_path(folder, wanted)] if _is_name(wanted) else []) + [Path(wanted)]:
        if path.exists():
            return path
    names = sorted(path.stem for path in (folder / ".consilience").glob("*.json"))
    raise FileNotFoundError(
        f"no saved run at {wanted}; saved in {folder / '.consilience'}: {', '.join(names) or 'none'}"
    )


def saved_path(folder: Path, name: str) -> Path:
    """Return the file of a saved run; raises `ValueError` where the name is no plain file name."""
    if not _is_name(name):
        raise ValueError(f"{name!r} is no name for a file: letters, digits, '.', '_' and '-', not beginning with '.'")
    return folder / ".consilience" / f"{name}.json"


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name) is not None


def load_run(path: Path) -> SavedRun:
    """Read a saved run, or a published board's folder as one; raises `ValueError` naming what is neither."""
    if not path.is_dir():
        return read_run(path)
    if not (path / "spec.toml").is_file():
        raise ValueError(f"{path} is neither a saved run nor the folder of a board (which holds spec.toml)")
    return make_run(read_spec(path / "spec.toml"), read_records(path / "results"))


def make_run(spec: Spec, records: Sequence[Record], *, limit: int | None = None) -> SavedRun:
    """Put a run together to be saved or compared, its figures rounded as a saved one's are."""
    run = SavedRun(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        suite_version=__version__,
        spec=spec,
        limit=limit,
        records=list(records),
    )
    return SavedRun.model_validate_json(to_json(run))


def check_spec(baseline: SavedRun, spec: Spec, *, limit: int | None, datasets: Iterable[str] | None = None) -> None:
    """Refuse specs with different measurements; needs no scores.

    Parameters
    ----------
    baseline
        The saved run.
    spec, limit
        Of the run to compare with it.
    datasets
        Data sets that are about to be compared; all of both by default.

    Raises
    ------
    MeasuredDifferentlyError
        Board, settings, sample, or the revision, references or strata of a data set differ; all are named.
    """
    old = baseline.spec
    found = [] if old.board == spec.board else [f"board {old.board} against {spec.board}"]
    before, after = old.settings.model_dump(), spec.settings.model_dump()
    found += [f"setting {name}: {before[name]} against {after[name]}" for name in before if before[name] != after[name]]
    if baseline.limit != limit:
        found.append(f"sample: {_sample(baseline.limit)} against {_sample(limit)}")
    shared = {entry.name: entry for entry in old.datasets}
    for entry in spec.datasets:
        if entry.name in shared and (datasets is None or entry.name in set(datasets)):
            other = shared[entry.name]
            if other.revision != entry.revision:
                found.append(f"{entry.name}: revision {other.revision[:12]} against {entry.revision[:12]}")
            if set(other.references) != set(entry.references):
                named = f"{', '.join(other.references)} against {', '.join(entry.references)}"
                found.append(f"{entry.name}: references {named}")
            if other.k != entry.k:
                named = f"{old.settings_of(entry.name).k} against {spec.settings_of(entry.name).k}"
                found.append(f"{entry.name}: neighbours {named}")
            if other.strata != entry.strata:
                found.append(f"{entry.name}: strata {other.strata} against {entry.strata}")
    _refuse(found)


def _sample(limit: int | None) -> str:
    return "all items" if limit is None else f"{limit} items"


def _refuse(found: Sequence[str]) -> None:
    if found:
        differences = "; ".join(dict.fromkeys(found))
        raise MeasuredDifferentlyError(
            f"the baseline was measured differently: {differences}. A new baseline: the baseline's model, run with "
            "--align-save NAME (consilience run --save NAME)"
        )


def check_records(old: Record, new: Record) -> None:
    """Refuse to compare two cells of other metric versions or other embeddings of the references.

    Raises
    ------
    MeasuredDifferentlyError
        They differ; all differences are named.
    """
    if old.provenance is None or new.provenance is None:
        return
    before, after = old.provenance.metric_versions, new.provenance.metric_versions
    found = [
        f"version of {name}: {version} against {after[name]}"
        for name, version in before.items()
        if name in after and after[name] != version
    ]
    first, second = old.provenance.references, new.provenance.references
    others = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    if others:
        found.append(f"{new.dataset}: other embeddings of the references {', '.join(others)}")
    _refuse(found)


def match(old: Iterable[str], new: Iterable[str]) -> dict[str, str]:
    """Which target of the baseline each target of a run is compared with, on one data set.

    That of the same name; and where both sides hold one checkpoint of an adapter, these two: a new checkpoint has
    another file name.
    """
    old, new = list(dict.fromkeys(old)), list(dict.fromkeys(new))
    found = {name: name for name in new if name in old}
    before, after = _checkpoints(old), _checkpoints(new)
    for adapter, names in after.items():
        if len(names) == len(before.get(adapter, ())) == 1:
            found[names[0]] = before[adapter][0]
    return found


def _checkpoints(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        if "@" in name and not is_twin(name):
            found.setdefault(name.partition("@")[0], []).append(name)
    return found


def compare_cells(
    old: Record, new: Record, gates: Sequence[Gate], among: tuple[Sequence[Record], Sequence[Record]] = ((), ())
) -> ComparedCell:
    """Compare two cells.

    Parameters
    ----------
    old, new
        Their records.
    gates
        Limits.
    among
        The records of their data set on either side; a training gain needs those of the twins.

    Raises
    ------
    MeasuredDifferentlyError
        They were measured differently.
    """
    check_records(old, new)
    figures = []
    if old.state == new.state == "ok":
        asked = gates_by_figure(gates, new.dataset)
        kinds = figure_kinds()
        for name in dict.fromkeys([*ALWAYS, *asked]):
            figure = _compare_figure(name, kinds[name], (old, new), among, asked.get(name))
            if figure is not None:
                figures.append(figure)
    return ComparedCell(
        dataset=new.dataset,
        target=new.target,
        baseline=old.target,
        states=(old.state, new.state),
        reason=new.reason if new.state != "ok" else None,
        figures=figures,
    )


def _compare_figure(
    name: str,
    kind: FigureKind,
    records: tuple[Record, Record],
    among: tuple[Sequence[Record], Sequence[Record]],
    gate: Gate | None,
) -> ComparedFigure | None:
    before, after = (kind.read(record, others) for record, others in zip(records, among, strict=True))
    if before is None:  # not measured, or undefined, before: nothing to lose
        return None
    difference = None if after is None else after - before
    reach, paired = (None, None) if difference is None else _reach(name, *records, among)
    interval = Interval(value=difference)
    if difference is not None and reach is not None:
        interval = Interval(value=difference, low=difference - reach, high=difference + reach)
    allowed = reason = None
    if gate is not None:
        allowed = before * gate.number / 100 if gate.percent else gate.number
    verdict: Verdict
    if gate is not None and gate.percent and before < (MIN_FOR_PERCENT if kind.higher_is_better else 1e-9):
        verdict, allowed = "undecided", None
        reason = f"{gate.text}: a percentage of {before:.4g} says nothing, give a number ({name}:0.01)"
    elif difference is None:
        verdict, reason = "undecided" if allowed is None else "regressed", "undefined now"
    else:
        worse = -difference if kind.higher_is_better else difference
        if isclose(before, after or 0.0, rel_tol=1e-5, abs_tol=1e-9):  # runs are saved to 6 digits
            verdict = "same"
        elif reach is not None and abs(worse) <= reach:
            verdict = "noise"
        elif worse < 0:
            verdict = "better"
        else:
            verdict = "regressed" if allowed is not None and worse > allowed else "worse"
    return ComparedFigure(
        name=name,
        old=before,
        new=after,
        difference=interval,
        paired=paired,
        allowed=allowed,
        verdict=verdict,
        reason=reason,
    )


def _reach(
    name: str, old: Record, new: Record, among: tuple[Sequence[Record], Sequence[Record]]
) -> tuple[float | None, bool | None]:
    """Half the width of a difference's interval, and whether it is that of a paired difference.

    The halves are the same on both sides where both embedded all items; else, or where a side's draws were cut off
    at 0 and so tell too little spread, the intervals of both sides are put together as if independent (wider).
    """
    if name == "gain":
        return _reach_of_gain(old, new, among)
    first, second = old.ranking_score, new.ranking_score
    if name not in ALWAYS or first is None or second is None:
        return None, None
    if first.deviation is None or second.deviation is None:
        return None, None
    widths = [_Z * score.deviation * _scale(score, name) for score in (first, second) if score.deviation is not None]
    apart = float(np.hypot(widths[0], widths[1]))
    if old.coverage < 1 or new.coverage < 1:
        return apart, False
    draws = [_deviations(score, name) for score in (first, second)]
    if not len(draws[0]) == len(draws[1]) > 0:
        return apart, False
    if any(_half(drawn) < 0.99 * width for drawn, width in zip(draws, widths, strict=True)):
        return apart, False
    return _half(draws[1] - draws[0]), True


def _reach_of_gain(
    old: Record, new: Record, among: tuple[Sequence[Record], Sequence[Record]]
) -> tuple[float | None, bool | None]:
    """Of a difference of gains: twins that stayed the same cancel, others vary with the items as the targets do."""
    before, after = gain_and_draws(old, among[0]), gain_and_draws(new, among[1])
    if before is None or after is None:
        return None, None
    first, second = before[1] - before[0], after[1] - after[0]
    if old.coverage == new.coverage == 1 and len(first) == len(second) > 0:
        return _half(second - first), True
    if not (len(first) and len(second)):
        return None, None
    return float(np.hypot(_half(first), _half(second))), False


def _half(deviations: NDArray[np.float64]) -> float:
    return float(_Z * np.sqrt(np.mean(np.square(deviations))))


def _deviations(score: PresetScore, name: str) -> NDArray[np.float64]:
    """Deviations in other draws of the items; of a record of schema 1 those of what was cut off at 0."""
    uncut = len(score.uncut_draws) > 0
    centre, draws = (score.centre, score.uncut_draws) if uncut else (score.alignment.value, score.draws)
    values = np.array([centre, *draws], dtype=np.float64)
    deviations: NDArray[np.float64] = (values[1:] - values[0]) * _scale(score, name)
    return deviations


def _scale(score: PresetScore, name: str) -> float:
    """Factor from calibrated to measured CKNNA: the references' thresholds are alike to a few hundredths."""
    quantiles = [pair.null_quantile or 0.0 for pair in score.pairs.values()]
    return 1.0 if name == "alignment" else float(1 - np.mean(quantiles))


def compare(baseline: SavedRun, run: SavedRun, gates: Sequence[Gate] = (), *, label: str = "baseline") -> Comparison:
    """Compare a run with a baseline; runs that were measured differently get the verdict ``refused``.

    Parameters
    ----------
    baseline, run
        From :func:`load_run` or :func:`make_run`.
    gates
        Limits of :func:`~consilience.board.gates.read_gates`.
    label
        What to call the baseline.
    """
    found = Comparison(baseline=label, verdict="ok", gates=[gate.text for gate in gates], limit=run.limit)
    old, new = _by_dataset(baseline), _by_dataset(run)
    try:
        check_spec(baseline, run.spec, limit=run.limit, datasets=[name for name in new if name in old])
        for dataset in dict.fromkeys([*old, *new]):
            _compare_dataset(dataset, old.get(dataset, {}), new.get(dataset, {}), gates, found)
    except MeasuredDifferentlyError as error:
        nothing: dict[str, list[str]] = {"cells": [], "gone": [], "added": [], "remarks": []}
        return found.model_copy(update={"verdict": "refused", "problems": [str(error)], **nothing})
    found.remarks = list(dict.fromkeys(found.remarks))
    found.problems = _problems(found.cells, gates)
    if any(cell_lost(cell) or any(f.verdict == "regressed" for f in cell.figures) for cell in found.cells):
        found.verdict = "regressed"
    elif found.problems:
        found.verdict = "undecided"
    return found


def _compare_dataset(
    dataset: str, old: Mapping[str, Record], new: Mapping[str, Record], gates: Sequence[Gate], found: Comparison
) -> None:
    """Add the cells of one data set to a comparison."""
    pairs = match(old, new)
    for name, record in new.items():
        known = old.get(pairs.get(name, ""))
        if known is not None and known.state == "ok":
            among = list(old.values()), list(new.values())
            found.cells.append(compare_cells(known, record, gates, among))
            found.remarks += _remarks(known, record)
        elif record.state == "ok":
            found.added.append(f"{dataset}::{name}")
    matched = set(pairs.values())
    found.gone += [f"{dataset}::{name}" for name, one in old.items() if one.state == "ok" and name not in matched]


def cell_lost(cell: ComparedCell) -> bool:
    """Whether a cell was scored before and is not any more."""
    return cell.states[0] == "ok" and cell.states[1] != "ok"


def _by_dataset(run: SavedRun) -> dict[str, dict[str, Record]]:
    found: dict[str, dict[str, Record]] = {}
    for record in run.records:
        found.setdefault(record.dataset, {})[record.target] = record
    return found


def _problems(cells: Sequence[ComparedCell], gates: Sequence[Gate]) -> list[str]:
    """Gates that apply to no value; such a gate must not pass."""
    found = []
    for gate in gates:
        about = [cell for cell in cells if gate.dataset in (None, cell.dataset)]
        judged = any(figure.name in gate.figures for cell in about for figure in cell.figures)
        if not judged and not any(cell_lost(cell) for cell in about):
            found.append(f"{gate.text}: no figure of the baseline and the run to judge by it")
    for cell in cells:
        where = f"{cell.dataset}::{cell.target}"
        asked = gates_by_figure(gates, cell.dataset)
        found += [
            f"{where}: {figure.reason}"
            for figure in cell.figures
            if figure.verdict == "undecided" and figure.name in asked
        ]
    return found


def _remarks(old: Record, new: Record) -> list[str]:
    """What differs between two cells besides their scores. Scores hardly depend on it, so nothing fails for it."""
    if old.provenance is None or new.provenance is None:
        return []
    name = new.target
    first, second = old.provenance, new.provenance
    found = [] if old.target == name else [f"{name} is compared with {old.target}: the only checkpoint of its adapter"]
    told: list[tuple[str, Mapping[str, object], Mapping[str, object]]] = [
        ("hardware", first.embedding.get("hardware") or {}, second.embedding.get("hardware") or {}),
        ("scoring package", first.packages, second.packages),
        (f"package of {name}", _versions(first.embedding), _versions(second.embedding)),
        ("suite", {"consilience": first.suite_version}, {"consilience": second.suite_version}),
    ]
    for what, before, after in told:
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                found.append(f"{what}: {key} {before.get(key, 'absent')}, now {after.get(key, 'absent')}")
    identities = [one.embedding.get("identity") or {} for one in (first, second)]
    if identities[0].get("code") != identities[1].get("code"):
        found.append(f"{name}: the target's file is another")
    return found


def _versions(embedding: Mapping[str, object]) -> dict[str, str]:
    packages = embedding.get("packages")
    return dict(str(one).partition("==")[::2] for one in packages) if isinstance(packages, list) else {}
