"""Building a board from its spec and its records; every figure on it comes from a record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from consilience.cards import file_stem
from consilience.records.board import Board, DatasetBoard, Free, Gain, Row, Sanity
from consilience.records.migrations import read_record
from consilience.records.pairs import Pair
from consilience.records.record import Interval, Record
from consilience.records.spec import Spec, SpecDataset
from consilience.registry import PACKAGE, get_dataset, get_target
from consilience.scoring.gain import is_own_twin

from . import ranking
from .groups import agreement, with_all_lineages
from .training import free_of, gains_of, training_of


def read_records(folder: Path) -> list[Record]:
    """All records below a board's ``results`` folder.

    Raises
    ------
    ValueError
        A file is not a record, or lies where its data set and target do not put it.
    """
    records = []
    for path in sorted(folder.glob("*/*.json")):
        record = read_record(path)
        if record_path(folder, record) != path:
            raise ValueError(f"{path} holds the record of {record.target} on {record.dataset}")
        records.append(record)
    return records


def record_path(folder: Path, record: Record) -> Path:
    """Where a record lies below a board's ``results`` folder."""
    return result_path(folder, record.dataset, record.target)


def result_path(folder: Path, dataset: str, target: str) -> Path:
    """Where the record of a cell lies below a board's ``results`` folder."""
    return folder / dataset / f"{file_stem(target)}.json"


def build_board(
    spec: Spec,
    records: Iterable[Record],
    *,
    expected: Iterable[str] = (),
    pairs: Mapping[str, Sequence[Pair]] | None = None,
) -> Board:
    """Make the board of a spec from records.

    Parameters
    ----------
    spec
        What the board measures.
    records
        Scored cells; those of data sets that the spec does not have are left out.
    expected
        Targets that have to show on every data set; one without a record shows as ``missing``.
    pairs
        All pairs of targets, by data set.

    Raises
    ------
    ValueError
        A record belongs to another board, to another revision of a data set, or was scored with other settings:
        such values never share a column.
    """
    by_dataset: dict[str, dict[str, Record]] = {entry.name: {} for entry in spec.datasets}
    for record in records:
        if record.dataset in by_dataset:
            check_belongs(spec, record)
            by_dataset[record.dataset][record.target] = record
    known = pairs or {}
    tables = [
        _table(spec, entry, by_dataset[entry.name], expected, known.get(entry.name, ())) for entry in spec.datasets
    ]
    ranked = {table.name: {row.target: row.rank for row in table.rows if row.rank is not None} for table in tables}
    overall = []
    for matter in dict.fromkeys(table.card.matter for table in tables):
        alike = {t.name: ranked[t.name] for t in tables if t.card.matter == matter and ranked[t.name]}
        # Across data sets only complete cases are ranked. One that a reference covers in part (metals, for a model of
        # organic molecules) would take the best-known models out of the table; it has its own.
        references = {name for t in tables if t.name in alike for name in t.references}
        alike = {name: order for name, order in alike.items() if references <= set(order)}
        overall += [row.model_copy(update={"matter": matter}) for row in ranking.borda(alike)]
    # A ratio of shares near chance says little: boards that state gains leave it out.
    of_tables = {} if spec.measured.states_gain else {table.name: table.rows for table in tables}
    generality = ranking.generality(of_tables, spec.ranked)
    return Board(
        schema_version=spec.schema_version,
        board=spec.board,
        title=spec.title,
        spec=spec,
        datasets=tables,
        overall=overall,
        generality=generality,
    )


def check_belongs(spec: Spec, record: Record) -> None:
    """Raise `ValueError` where a record was not measured as a spec says: such values never share a column."""
    where = f"the record of {record.target} on {record.dataset}"
    if record.board != spec.board:
        raise ValueError(f"{where} belongs to board {record.board}, not {spec.board}")
    if record.revision != spec.dataset(record.dataset).revision:
        raise ValueError(f"{where} is of data revision {record.revision[:12]}, the spec has another")
    if record.provenance is None:
        return
    if record.provenance.settings != spec.settings_of(record.dataset).model_dump():
        raise ValueError(f"{where} was scored with other settings than the spec's")
    if record.provenance.metric_versions != {metric.label: metric.version for metric in spec.measured.metrics}:
        raise ValueError(f"{where} was scored with other metrics, or versions of them, than the spec's")


def _table(
    spec: Spec, entry: SpecDataset, records: Mapping[str, Record], expected: Iterable[str], pairs: Sequence[Pair]
) -> DatasetBoard:
    # Own twins with a number stand in their target's row.
    shown = {name: record for name, record in records.items() if name in spec.controls or not is_own_twin(name)}
    for name in (*entry.references, *spec.controls, *expected):
        if name not in shown:
            shown[name] = _missing(spec, entry, name)
    rankable = {
        name: record
        for name, record in shown.items()
        if record.state == "ok"
        and record.trained
        and record.coverage >= spec.settings.least_coverage
        # Rows that nobody but their submitter has computed have no rank, nor do another target's under a new name.
        and (record.submission is None or record.submission.ranked)
    }
    alignments = {name: record.scores[spec.ranked].alignment.value for name, record in rankable.items()}
    values = {name: value for name, value in alignments.items() if value is not None}
    order = ranking.ranks(values)
    if spec.measured.interval.name == "lineages":
        intervals = ranking.rank_sets([rankable[name] for name in values])
    else:
        intervals = ranking.rank_intervals({name: rankable[name].scores[spec.ranked].draws for name in values})
    scored = list(records.values())
    gains, free = gains_of(scored), free_of(scored, spec.measured)
    # Boards without gains were published without it.
    everyone = with_all_lineages(pairs, records, spec.ranked) if spec.measured.states_gain else {}
    rows = [
        row_of(
            record,
            spec.ranked,
            controls=spec.controls,
            references=entry.references,
            rank=order.get(name),
            rank_interval=intervals.get(name) if name in order else None,
            gain=gains.get(name),
            above_free=free.get(name),
        ).model_copy(update={"all_lineages": everyone.get(name)})
        for name, record in shown.items()
    ]
    rows.sort(key=partial(_position, spec.ranked))
    return DatasetBoard(
        name=entry.name,
        card=get_dataset(entry.name).card,
        revision=entry.revision,
        references=entry.references,
        rows=rows,
        discrimination={preset: ranking.discrimination(list(records.values()), preset) for preset in spec.presets},
        sanity=_sanity(records, spec.ranked),
        groups=agreement(pairs, records, spec.presets),
        training=training_of(scored, gains),
    )


def row_of(
    record: Record,
    ranked: str,
    *,
    controls: Collection[str] = (),
    references: Collection[str] = (),
    rank: int | None = None,
    rank_interval: tuple[int, int] | None = None,
    gain: Gain | None = None,
    above_free: Free | None = None,
) -> Row:
    """Row of a record.

    Parameters
    ----------
    record
        The record.
    ranked
        Preset that the board ranks by.
    controls, references
        Targets that are controls of the board and references of the data set.
    rank, rank_interval
        Its place, where it has one.
    gain, above_free
        What its training adds, where that is known.
    """
    card = record.card
    best = record.scores.get(ranked)
    return Row(
        target=record.target,
        title=(card.title or card.name) + (" (untrained)" if record.untrained else ""),
        family=card.family,
        modality=card.modality,
        control=record.target in controls or not record.trained,
        reference=record.target in references,
        state=record.state,
        reason=record.reason or (None if record.submission is None else record.submission.label),
        rank=rank,
        rank_interval=rank_interval,
        parameters=card.parameters,
        trained_on=card.trained_on if record.trained else None,
        distribution=record.distribution,
        domain=card.domain,
        overlap=record.overlap,
        coverage=record.coverage,
        alignment={preset: score.alignment for preset, score in record.scores.items()},
        cknna={preset: score.cknna for preset, score in record.scores.items()},
        metrics=best.metrics if best else {},
        intrinsic_dimension=record.singles.get(ranked, {}).get("intrinsic_dimension"),
        twin_distance=record.twin[ranked].distance if ranked in record.twin else None,
        energy_mae=record.energy.mae if record.energy else None,
        energy_mae_out_of_sample=record.energy.mae_out_of_sample if record.energy else None,
        probe_mae=record.probe.mae if record.probe else None,
        probe_baseline=record.probe.baseline if record.probe else None,
        items_per_second=record.items_per_second,
        gain=gain,
        above_free=above_free,
        left=record.examined[ranked].left if ranked in record.examined else None,
    )


def _position(ranked: str, row: Row) -> tuple[int, float, str]:
    if row.rank is not None:
        return 0, row.rank, row.target
    value = row.alignment[ranked].value if ranked in row.alignment else None
    group = 1 if not row.control else 2
    return group + (0 if row.state == "ok" else 2), -(value or 0.0), row.target


def _missing(spec: Spec, entry: SpecDataset, name: str) -> Record:
    target = get_target(name)
    return Record(
        board=spec.board,
        dataset=entry.name,
        revision=entry.revision,
        target=name,
        card=target.card,
        trained=target.trained,
        state="missing",
        reason="not run yet",
    )


def _sanity(records: Mapping[str, Record], ranked: str) -> Sanity:
    selves = [
        score.self_alignment
        for record in records.values()
        for score in record.scores.values()
        if score.self_alignment is not None
    ]
    gaussian = records.get("random-gaussian")
    interval = None
    if gaussian is not None and ranked in gaussian.scores:
        interval = gaussian.scores[ranked].alignment
    return Sanity(
        self_alignment=min(selves) if selves else None,
        random_gaussian=Interval.model_validate(interval.model_dump()) if interval else None,
    )


def find_board(name: str | Path, *, own: bool = True) -> Path:
    """Folder of a published board, by its path or by its version.

    A version is looked for in ``leaderboard/`` here, in what the package brings, and in the suite's own repository.

    Parameters
    ----------
    name
        Path or version.
    own
        False to take only what came with the suite, whatever lies in the current folder.

    Raises
    ------
    FileNotFoundError
        There is no such board.
    """
    tried = [Path(name), Path("leaderboard") / name] if own else []
    tried += [PACKAGE / "data" / "boards" / name, PACKAGE.parents[1] / "leaderboard" / name]
    for path in tried:
        if (path / "spec.toml").is_file():
            return path
    raise FileNotFoundError(f"board: expected a folder with spec.toml or a version such as v1, found {str(name)!r}")
