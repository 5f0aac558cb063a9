"""The cells of a run: which targets on which data sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from consilience.cards import target_of
from consilience.records.spec import DEFAULT_REFERENCES, Spec, SpecDataset
from consilience.registry import PACKAGE, Target, get_target, list_targets
from consilience.scoring.cell import Cell

if TYPE_CHECKING:
    from consilience.datasets.items import Items


def plan(
    spec: Spec,
    *,
    targets: Sequence[Target | str] | None = None,
    datasets: Sequence[str] | None = None,
    published: Path | None = None,
    is_available: Callable[[str, Target], bool] | None = None,
) -> list[Cell]:
    """Cells of a run, data set by data set, references first.

    Parameters
    ----------
    spec
        The board.
    targets
        Targets or names; by default the references, the controls and every target of the suite whose weights
        come with its packages. What has to be downloaded is scored where it is asked for.
    datasets
        Names of data sets of the board; all by default.
    published
        Folder of a published board: by default its own targets are run again, and no others; those mended since keep
        the record of the revision that the board measured. A target that is named for the first time is added to the
        board.
    is_available
        Whether the embedding of a target on a data set is available locally. If given, targets of a published board
        that are neither references nor controls nor available keep their records.

    Raises
    ------
    LookupError
        A name is unknown.
    """
    names = [entry.name for entry in spec.datasets] if datasets is None else [spec.dataset(d).name for d in datasets]
    chosen = None if targets is None else [get_target(t) if isinstance(t, str) else t for t in targets]
    cells = []
    for name in names:
        dataset_targets = chosen if chosen is not None else _default_targets(spec, name, published, is_available)
        cells += [Cell(name, target) for target in dataset_targets]
    return cells


def _default_targets(
    spec: Spec, dataset: str, published: Path | None, is_available: Callable[[str, Target], bool] | None
) -> list[Target]:
    own = [
        target.name
        for target in list_targets().values()
        if target.path.is_relative_to(PACKAGE) and target.card.access == "package"
    ]
    records = (
        {target_of(path.stem): path for path in (published / "results" / dataset).glob("*.json")} if published else {}
    )
    if records:
        own = [
            name
            for name in own
            if name in records and (is_available is None or is_available(dataset, get_target(name)))
        ]
    names = dict.fromkeys([*spec.dataset(dataset).references, *own, *spec.controls])
    ordered = [name for name in names if name not in spec.controls] + list(spec.controls)
    targets = [get_target(name) for name in ordered]
    return [one for one in targets if one.name not in records or not _mended_since(one, records[one.name])]


def _mended_since(target: Target, record: Path) -> bool:
    """Whether a published record measured a former revision of a target."""
    if not target.card.former_revisions:
        return False
    try:
        revision = json.loads(record.read_bytes())["card"]["revision"]
    except (OSError, ValueError, KeyError, TypeError):  # no record: it is measured now
        return False
    return revision in target.card.former_revisions


def own_twins(cells: Iterable[Cell], number: int) -> list[Cell]:
    """Cells of so many own untrained twins of each trained target that has one."""
    return [
        Cell(cell.dataset, cell.target.untrained(seed))
        for cell in cells
        if cell.target.trained and cell.target.card.untrained
        for seed in range(1, number + 1)
    ]


def extend(spec: Spec, datasets: Iterable[str]) -> Spec:
    """Return the spec with those of the registered data sets that it lacks, each with the default references.

    Raises
    ------
    UnknownNameError
        A name is not registered.
    ValueError
        No default reference reads a data set.
    """
    from consilience.datasets.items import open_dataset

    board_names = {entry.name for entry in spec.datasets}
    for name in dict.fromkeys(datasets):
        if name not in board_names:
            items = open_dataset(name)
            references = default_references(items, spec.settings.least_coverage)
            entry = SpecDataset(name=name, revision=items.revision, references=references, strata=items.card.matched)
            spec = spec.with_dataset(entry)
    return spec


def default_references(items: Items, least_coverage: float) -> tuple[str, ...]:
    """Default references of a data set that is on no board: candidates that read nearly all of its items."""
    least_items = least_coverage * len(items)
    for matter, view, names in DEFAULT_REFERENCES:
        if matter == items.card.matter and items.has_view(view):
            references = tuple(name for name in names if len(items.covered_by(get_target(name).card)) >= least_items)
            if references:
                return references
    views = ", ".join(items.card.views)
    raise ValueError(f"data set {items.name!r} ({items.card.matter}; views {views}): no default reference reads it")
