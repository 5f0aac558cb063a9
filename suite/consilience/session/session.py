"""One run, from its request to its exit code: check, plan, run, publish, compare, report.

``pytest --benchmark``, ``consilience run`` and :func:`consilience.run` differ in how they fill the request and in how
they show progress; everything else happens here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.callbacks import Tell
from consilience.isolation.job import check_device
from consilience.isolation.variables import OPTION_VARIABLE

from . import output
from .execute import CellProgress, embed_cells, run_cells
from .request import Request, SessionError, fill
from .select import cell_datasets, checkpoint_target, message_of, select_datasets, select_metrics, select_targets

if TYPE_CHECKING:
    from consilience.board.gates import Gate
    from consilience.records.board import Board
    from consilience.records.record import Record
    from consilience.records.run import Comparison, SavedRun
    from consilience.records.spec import Spec
    from consilience.registry import Target
    from consilience.scoring.cell import Cell

    from .forecast import CellForecast
    from .runner import Runner
    from .select import TargetSelection

#: Exit code for "could not run" (0: fine, 1: a cell failed or regressed), the same in all of the suite's commands.
COULD_NOT_RUN = 2


@dataclass(frozen=True)
class RunResult:
    """Result of a run."""

    records: tuple[Record, ...] = ()
    """One record per cell, in the order of the run."""
    board: Board | None = None
    """The board of these records, or the one published to."""
    comparison: Comparison | None = None
    """With the baseline, where one was named."""
    exit_code: int = 0
    """0 fine, 1 a cell failed or regressed, 2 could not be compared."""
    forecast: tuple[CellForecast, ...] = ()
    """Of a dry run: what would be done."""
    text: str = ""
    """The tables and sentences that a terminal shows."""

    def __str__(self) -> str:
        return self.text


class Session:
    """The steps of one run, in the order of its methods.

    Parameters
    ----------
    request
        What to do.
    folder
        Holds ``.consilience`` with the saved runs; the current folder by default.
    tell
        Called with a line for people where a run has to wait.
    """

    def __init__(self, request: Request, *, folder: Path | None = None, tell: Tell = lambda line: None) -> None:
        self.request, self.tell = request, tell
        self.folder = folder or Path.cwd()
        self.records: list[Record] = []
        self.interrupted: set[str] = set()
        """Cells that failed because memory or time ended: they are not published, and the next run tries again."""
        self.board: Board | None = None
        self.comparison: Comparison | None = None
        self.baseline: SavedRun | None = None
        self.gates: list[Gate] = []
        self.save_to: Path | None = None
        self.publish_to = Path(request.publish) if request.publish else None
        self.forecast: list[CellForecast] = []
        self.whole_board = False
        self.without_pairs: dict[str, list[str]] = {}
        """Targets of the board that lack pairs since their embedding was not found, by data set."""

    def check(self) -> None:
        """Refuse, before anything is imported or scored, what can't be run, published or compared.

        Raises
        ------
        SessionError
            Options contradict each other, or a saved run or a board can't be read.
        """
        request, spelled = self.request, self.request.spelled
        if self.publish_to is not None:
            if request.limit:
                raise SessionError(
                    f"{spelled('limit')} is a quick look: its scores are not published (drop {spelled('publish')})"
                )
            if request.metrics:
                raise SessionError(
                    f"{spelled('metrics')}: a board takes its own metrics only (drop {spelled('publish')})"
                )
            if not (self.publish_to / "spec.toml").is_file():
                raise SessionError(f"{spelled('publish')}: {self.publish_to} holds no spec.toml")
            self._check_board(self.publish_to)
        if request.compare_fail and not request.compare:
            raise SessionError(f"{spelled('compare_fail')}: {spelled('compare')} RUN says what to compare with")
        if request.save or request.compare or request.compare_fail:
            self._read_baseline()
        if not request.dry_run:
            self._check_places()
        if request.metrics:
            select_metrics(request.metrics, spelled("metrics"))
        if request.pass_env:
            absent = [name for name in request.pass_env if name not in os.environ]
            if absent:
                raise SessionError(f"{spelled('pass_env')}: there is no environment variable {absent[0]}")
            os.environ[OPTION_VARIABLE] = ",".join(request.pass_env)
        if request.executor == "local":
            try:
                check_device(request.device)
            except ValueError as error:
                raise SessionError(f"{spelled('device')}: {str(error).partition(': ')[2]}") from error
        else:
            from consilience.execution.executor import list_executors

            if request.executor not in list_executors():
                names = ", ".join(list_executors())
                raise SessionError(
                    f"{spelled('executor')}: no back end is named {request.executor!r}; there are: {names}"
                )

    def _check_places(self) -> None:
        """Refuse a run whose results can't be written, before the first cell."""
        from consilience.cache import check_cache
        from consilience.circumstances import in_words
        from consilience.files import check_writable

        request = self.request
        places = [("json", Path(request.json))] if request.json and request.json != "-" else []
        places += [("report", Path(path)) for path in request.report]
        places += [("save", self.save_to)] if self.save_to is not None else []
        for name, path in places:
            try:
                check_writable(path)
            except OSError as error:
                raise SessionError(f"{request.spelled(name)}: can't be written: {in_words(error)}") from error
        try:
            if self.publish_to is not None:
                check_writable(self.publish_to, folder=True)
        except OSError as error:
            raise SessionError(f"{request.spelled('publish')}: can't be written: {in_words(error)}") from error
        with could_not_run():
            check_cache()

    def _check_board(self, folder: Path) -> None:
        """Refuse a board whose spec or remarks can't be read."""
        from consilience.board.remarks import read_remarks
        from consilience.records.spec import read_spec

        try:
            read_remarks(folder, read_spec(folder / "spec.toml"))
        except ValueError as error:
            raise SessionError(f"{self.request.spelled('publish')}: {error}") from error

    def _read_baseline(self) -> None:
        from consilience.board import compare, gates

        request = self.request
        try:
            if request.save:
                path = Path(request.save)
                self.save_to = path if path.suffix == ".json" else compare.saved_path(self.folder, request.save)
            if request.compare:
                self.baseline = compare.load_run(compare.find_run(request.compare, self.folder))
            self.gates = gates.read_gates(request.compare_fail)
        except (LookupError, ValueError, OSError) as error:
            raise SessionError(message_of(error)) from error

    @cached_property
    def runner(self) -> Runner:
        """The runner, made when first needed."""
        from .runner import Runner

        request = self.request
        return Runner(
            self.spec,
            fresh=request.fresh,
            fresh_references=request.fresh_references,
            device=request.device,
            time_limit=request.timeout,
            limit=request.limit,
            metrics=request.metrics,
        )

    @property
    def spec(self) -> Spec:
        """The board's spec: of the folder published to, else the one shipped; with the other data sets selected."""
        return self._spec_and_datasets[0]

    @cached_property
    def _spec_and_datasets(self) -> tuple[Spec, list[str] | None]:
        from consilience.records.spec import DEFAULT_SPEC, read_spec

        from .plan import extend

        option = self.request.spelled("datasets")
        try:
            board = read_spec(self.publish_to / "spec.toml" if self.publish_to else DEFAULT_SPEC)
        except (ValueError, OSError) as error:
            raise SessionError(message_of(error)) from error
        of_cells = cell_datasets(self.request.targets)
        if not self.request.datasets and not of_cells:
            return board, None
        board_names = [entry.name for entry in board.datasets]
        selected = select_datasets(self.request.datasets, board_names, option)
        also = select_datasets(of_cells, board_names, self.request.spelled("targets"))
        others = [name for name in dict.fromkeys([*selected, *also]) if name not in board_names]
        if others and self.publish_to is not None:
            words = f"{', '.join(others)} is not on board {board.board}: it can't be published there"
            raise SessionError(f"{self.request.spelled('publish')}: {words}")
        try:
            return extend(board, others), selected or None
        except (LookupError, ValueError, OSError) as error:
            raise SessionError(f"{option}: {message_of(error)}") from error

    @cached_property
    def _selection(self) -> TargetSelection | None:
        """Targets that the request names; None where it names none."""
        checkpoint = checkpoint_target(self.request)
        own = [checkpoint] if checkpoint is not None else []
        if not (own or self.request.targets):
            return None
        named = select_targets(self.request.targets, self.request.spelled("targets"), own)
        # A cell of the checkpoint that is named by its id runs alone.
        own = [] if any(target is checkpoint for _, target in named.cells) else own
        return replace(named, targets=(*own, *(one for one in named.targets if one is not checkpoint)))

    def plan(self, own: Sequence[Target] | None = None) -> list[Cell]:
        """Cells to run: of the targets handed in (a user's file), else of those named, else the default profile.

        Raises
        ------
        SessionError
            A name selects nothing, or data can't be used.
        """
        from consilience.scoring.cell import Cell

        from .plan import own_twins, plan

        spec, datasets = self._spec_and_datasets
        selection = self._selection if own is None else None
        targets = own if selection is None else selection.targets
        self.whole_board = targets is None
        is_available = self.runner.is_available if targets is None else None
        try:
            cells = plan(spec, targets=targets, datasets=datasets, published=self.publish_to, is_available=is_available)
        except (LookupError, ValueError) as error:
            raise SessionError(message_of(error)) from error
        cells += [Cell(dataset, target) for dataset, target in (selection.cells if selection is not None else ())]
        if targets is not None and spec.measured.states_gain:
            cells += own_twins(cells, self.request.seeds)
        order = [entry.name for entry in spec.datasets]
        unique = {cell.id: cell for cell in cells}
        return sorted(unique.values(), key=lambda cell: order.index(cell.dataset))

    def check_baseline(self, cells: Iterable[Cell]) -> None:
        """Stop, with a report, before anything is scored that could not be compared; raises :class:`SessionError`."""
        if self.baseline is None:
            return
        from consilience.board.compare import MeasuredDifferentlyError, check_spec
        from consilience.records.run import Comparison

        request = self.request
        try:
            check_spec(self.baseline, self.spec, limit=request.limit, datasets={cell.dataset for cell in cells})
        except MeasuredDifferentlyError as error:
            self.comparison = Comparison(
                baseline=request.compare or "",
                verdict="refused",
                gates=[gate.text for gate in self.gates],
                limit=request.limit,
                problems=[str(error)],
            )
            output.write_reports(self)
            raise SessionError(f"{request.spelled('compare')}: {error}") from error

    def run(
        self,
        cells: Sequence[Cell],
        *,
        progress: CellProgress | None = None,
        done: Callable[[Cell, Record], None] | None = None,
    ) -> list[Record]:
        """Run cells and return their records; :meth:`finish` takes what is in :attr:`records`."""
        request = self.request
        with could_not_run():
            records = run_cells(
                cells, self.runner, executor=request.executor, jobs=request.jobs, progress=progress, done=done
            )
        self.interrupted |= self.runner.interrupted_cells
        return records

    def embed(self, cells: Sequence[Cell]) -> None:
        """Embed what cells need, several at a time, where the request says so; :meth:`run` does it by itself."""
        with could_not_run():
            embed_cells(cells, self.runner, executor=self.request.executor, jobs=self.request.jobs)

    def regression(self, cell: Cell, record: Record, names: Iterable[str]) -> str:
        """Describe the regression of a cell in one line; empty if there is none.

        Parameters
        ----------
        cell, record
            The cell and its record.
        names
            Targets that this run scores on the data set.
        """
        if self.baseline is None:
            return ""
        from consilience.board import compare
        from consilience.board.report import cell_words

        before = {old.target: old for old in self.baseline.records if old.dataset == cell.dataset}
        baseline_record = before.get(compare.match(before, names).get(record.target, ""))
        if baseline_record is None or baseline_record.state != "ok":
            return ""
        (rounded,) = compare.make_run(self.spec, [record]).records  # as the baseline's is
        try:
            # A gain waits for the twins: the comparison at the end judges it.
            gates = [gate for gate in self.gates if "gain" not in gate.figures]
            return cell_words(compare.compare_cells(baseline_record, rounded, gates))
        except compare.MeasuredDifferentlyError:  # the whole comparison is refused at the end
            return ""

    def finish(self, exit_code: int = 0) -> int:
        """Publish, save, compare and write the reports; return the exit code, given that of the cells alone.

        Raises
        ------
        SessionError
            Something could not be written.
        """
        with could_not_run():
            return self._finish(exit_code)

    def _finish(self, exit_code: int) -> int:
        from consilience.board import compare
        from consilience.board.board import build_board
        from consilience.board.cells import pairs_of
        from consilience.board.publish import lacking_pairs, publish

        if self.publish_to is not None:
            # A cell that failed for want of memory or time says nothing of its target.
            records = [record for record in self.records if cell_id(record) not in self.interrupted]
            all_pairs = pairs_of(self.publish_to, self.runner)
            self.board = publish(self.publish_to, records, all_pairs=all_pairs, tell=self.tell)
            self.without_pairs = lacking_pairs(self.publish_to, self.runner.unpaired)
            scored = {(record.dataset, record.target) for record in records if record.state == "ok"}
            if any((name, one) in scored for name, targets in self.without_pairs.items() for one in targets):
                exit_code = exit_code or 1  # what this run embedded has to be there
        else:
            self.board = build_board(self.runner.spec, self.records)  # with the metrics asked for beside the board's
        if self.save_to is not None or self.baseline is not None:
            run = compare.make_run(self.spec, self.records, limit=self.request.limit)
            output.save(self, run)
            if self.baseline is not None:
                label = self.request.compare or ""
                self.comparison = compare.compare(self.baseline, run, self.gates, label=label)
        output.write_scores(self)
        output.write_reports(self)
        # A cell that regressed has failed by itself; what could not be judged is no cell's.
        verdict = self.comparison.verdict if self.comparison is not None else "ok"
        if verdict == "refused":
            return COULD_NOT_RUN
        return exit_code or {"undecided": COULD_NOT_RUN, "regressed": 1}.get(verdict, 0)

    def lines(self) -> Iterator[str]:
        """Lines that a terminal shows at the end."""
        return output.lines(self)

    def execute(
        self,
        *,
        progress: CellProgress | None = None,
        done: Callable[[Cell, Record], None] | None = None,
    ) -> RunResult:
        """Take all steps; raises :class:`SessionError` where the run could not be made."""
        self.check()
        cells = self.plan()
        if self.request.dry_run:
            from .forecast import forecast

            self.forecast = forecast(self, cells)
            return RunResult(forecast=tuple(self.forecast), text="\n".join(self.lines()))
        self.check_baseline(cells)
        self.records += self.run(cells, progress=progress, done=done)
        code = self.finish(1 if any(record.state == "failed" for record in self.records) else 0)
        text = "\n".join(self.lines())
        return RunResult(tuple(self.records), self.board, self.comparison, code, text=text)


def cell_id(record: Record) -> str:
    """Id of the cell of a record."""
    return f"{record.dataset}::{record.target}"


@contextmanager
def could_not_run() -> Iterator[None]:
    """Turn what ends a run, and is no cell's fault, into one line; raises :class:`SessionError`."""
    from consilience.circumstances import in_words, is_circumstance

    try:
        yield
    except SessionError:
        raise
    except Exception as error:
        if isinstance(error, LookupError | ValueError | OSError) or is_circumstance(error):
            raise SessionError(in_words(error)) from error
        raise


def run_all(
    runner: Runner, cells: Iterable[Cell], *, done: Callable[[Cell, Record], None] | None = None
) -> list[Record]:
    """Run cells one after another; `done` is called with each record as it comes."""
    return run_cells(cells, runner, done=done)


def run(**options: Any) -> RunResult:
    """Score targets; the same call as ``consilience run`` and ``pytest --benchmark``.

    Parameters
    ----------
    **options
        The options of ``consilience run``, with underscores (``compare_fail``); lists, or texts with commas. Options
        that are not given are taken from the environment (``CONSILIENCE_LIMIT``) and from ``[tool.consilience]`` in
        ``pyproject.toml``. ``docs/running.md`` lists all of them.

    Returns
    -------
    RunResult
        Records, board, comparison and the exit code that the command line would have.

    Raises
    ------
    SessionError
        The run could not be made: an unknown name, a wrong value, data that can't be used. It is a `ValueError`.

    Examples
    --------
    >>> import consilience
    >>> result = consilience.run(targets="size", datasets="mp-1k", limit=120)
    >>> [(record.target, record.state) for record in result.records]
    [('size', 'ok')]
    >>> result.exit_code
    0
    """
    return Session(fill(options)).execute()
