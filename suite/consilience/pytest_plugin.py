"""The pytest plug-in: ``pytest --benchmark`` scores targets, one item per target and data set.

Without ``--benchmark`` (or its synonym ``--align``) the plug-in does nothing and imports nothing heavy. All other
options begin with ``--align-``: the names ``--benchmark-*`` belong to pytest-benchmark, which works beside us.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from consilience.board.gates import Gate
    from consilience.records.board import Board
    from consilience.records.record import Record
    from consilience.records.run import Comparison, SavedRun
    from consilience.records.spec import Spec
    from consilience.scoring.scorer import Cell, Runner

    from .registry import Target

#: Exit code for "could not run" (0: fine, 1: a cell failed or regressed), the same in all of the suite's commands.
COULD_NOT_RUN = 2
_run_key = pytest.StashKey["Run"]()


_FLAG: dict[str, Any] = {"action": "store_true", "dest": "align", "default": False}
_FLAG_HELP = "score targets: those of target_*.py files given or found, else every target of the suite"


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, Any, Any]:
    """Add ``--benchmark`` once the repository's own conftest files have been read.

    One of them may define an option of this name. Had we taken it before, their tests could not even be collected;
    so it stays theirs, and ``--align`` is ours.
    """
    result = yield
    with contextlib.suppress(ValueError, argparse.ArgumentError):  # of one group of options, of two
        parser.getgroup("consilience").addoption("--benchmark", help="the same as --align", **_FLAG)
    return result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    group = parser.getgroup("consilience", "alignment of models of matter (consilience)")

    def add(*names: str, **settings: Any) -> None:
        group.addoption(*names, **settings)

    add("--align", help=_FLAG_HELP, **_FLAG)
    add(
        "--align-targets",
        metavar="NAMES",
        help="targets, comma-separated; globs, NAME@untrained, family:NAME and modality:NAME are understood",
    )
    add(
        "--align-checkpoint",
        metavar="PATH",
        help="score your own weights: a file (or folder) that the target named by --align-adapter reads",
    )
    add("--align-adapter", metavar="NAME", help="which target (or family) of the suite reads --align-checkpoint")
    add(
        "--align-trust-checkpoint",
        action="store_true",
        help="allow a checkpoint that can run code when read (pickles, TorchScript)",
    )
    add(
        "--align-datasets",
        metavar="NAMES",
        help="data sets, comma-separated: names (globs: the board's), or your own files of structures, SMILES, ...",
    )
    add(
        "--align-fresh",
        action="store_true",
        help="ignore the embeddings shipped with the suite: embed everything",
    )
    add("--align-device", default="cpu", metavar="DEVICE", help="torch device (default: cpu)")
    add(
        "--align-timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="limit per cell (default: 1800)",
    )
    add("--align-limit", type=int, metavar="N", help="a quick look at a seeded sample of N items; never published")
    add("--align-json", metavar="PATH", help="write the scores of this run as JSON")
    add("--align-save", metavar="NAME", help="keep this run as .consilience/NAME.json, to be compared with later")
    add("--align-compare", metavar="RUN", help="compare with a saved run: its NAME, its path, or a board's folder")
    add(
        "--align-compare-fail",
        metavar="LIMITS",
        action="append",
        default=[],
        help="fail where a figure got worse by more than this and by more than noise: cknna:5%%, dcor:0.02, "
        "mp-1k/cknna:5%% (comma-separated or repeated)",
    )
    add(
        "--align-report",
        metavar="PATH",
        action="append",
        default=[],
        help="write the run, or its comparison, as Markdown; as JSON if PATH ends in .json",
    )
    add(
        "--align-publish",
        metavar="DIR",
        help="add the records to this board and rebuild it (holds spec.toml)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take the run's settings; one line per cell on the terminal."""
    if not config.getoption("align"):
        return
    if hasattr(config, "workerinput"):  # one of several processes: models share the cores instead of fighting over them
        count = int(config.workerinput["workercount"])
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    run = Run(config)
    config.stash[_run_key] = run
    config.pluginmanager.register(run, "consilience-run")
    config.option.verbose = max(config.option.verbose, 1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave everything but target files alone: ``--benchmark`` runs benchmark items only."""
    if config.getoption("align") and collection_path.is_file() and not _is_target_file(collection_path):
        return True
    return None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect ``target_*.py``."""
    if parent.config.getoption("align") and _is_target_file(file_path):
        return TargetFile.from_parent(parent, path=file_path)
    return None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Keep pytest from importing a target file as a module of tests as well."""
    if parent.config.getoption("align") and _is_target_file(module_path):
        return NoTests.from_parent(parent, path=module_path)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let the record travel with the report, across xdist's processes too."""
    report = yield
    if isinstance(item, AlignmentItem) and report.when == "call" and item.record is not None:
        report.consilience_record = item.record.model_dump_json()
    return report


class TargetFile(pytest.File):
    """A user's target file: every card of it on every data set."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item per data set and card."""
        from .registry import load_target_file

        run = self.config.stash[_run_key]
        for cell in run.plan(load_target_file(self.path)):
            yield AlignmentItem.from_parent(self, name=cell.id, cell=cell)


class NoTests(pytest.File):
    """Stands in for the test module that a target file is not."""

    def collect(self) -> Iterator[pytest.Item]:
        """Nothing."""
        return iter(())


class AlignmentItem(pytest.Item):
    """One cell: a target on a data set."""

    def __init__(self, *, cell: Cell, **settings: Any) -> None:
        super().__init__(**settings)
        self.cell = cell
        self.record: Record | None = None
        if any(self.config.getoption(name, False) for name in ("benchmark_only", "benchmark_skip", "codspeed")):
            self.fixturenames = ("benchmark",)  # how pytest-benchmark and pytest-codspeed know a benchmark

    def runtest(self) -> None:
        """Score the cell; fail or skip with the record's reason."""
        run = self.config.stash[_run_key]
        self.record = run.runner.run(self.cell, run.progress(self))
        regressed = run.regression(self)
        if regressed and self.record.state != "failed":
            raise RegressedError(regressed)
        if self.record.state == "skipped":
            pytest.skip(self.record.reason or "")
        if self.record.state != "ok":
            raise CellFailedError(self.record.reason or "")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Give the reason alone for a failed cell; a traceback into our own code would say nothing to its author."""
        if isinstance(excinfo.value, CellFailedError):
            return f"{self.cell.id} failed: {excinfo.value}"
        if isinstance(excinfo.value, RegressedError):
            return f"{self.cell.id} regressed: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the item stands, and its headline (other than its id, whose dots pytest would rewrite)."""
        return self.cell.target.path, 0, f"{self.cell.target.name} on {self.cell.dataset}"


class CellFailedError(Exception):
    """A cell failed; the message is its reason."""


class RegressedError(Exception):
    """A cell got worse than its baseline allows; the message says in what."""


class Run:
    """One ``pytest --benchmark``: its settings, its records, its report."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.records: list[Record] = []
        self.board: Board | None = None
        self.publish_to: Path | None = None
        option = config.getoption
        if option("align_publish"):
            self.publish_to = Path(option("align_publish"))
            if option("align_limit"):
                _stop("--align-limit is a quick look: its scores are not published (drop --align-publish)")
            if not (self.publish_to / "spec.toml").is_file():
                _stop(f"--align-publish: {self.publish_to} holds no spec.toml")
            self._check_board(self.publish_to)
        self.comparison: Comparison | None = None
        self.save_to: Path | None = None
        self.baseline: SavedRun | None = None
        self.gates: list[Gate] = []
        if option("align_save") or option("align_compare") or option("align_compare_fail") or option("align_report"):
            self._take_comparison()
        self._runner: Runner | None = None
        self._spec: Spec | None = None
        self._chosen: list[str] | None = None
        self._whole_board = False

    def _take_comparison(self) -> None:
        """Read the baseline and what may change, before anything is scored."""
        from .board import compare, gates

        option, folder = self.config.getoption, self.config.rootpath
        if option("align_compare_fail") and not option("align_compare"):
            _stop("--align-compare-fail: --align-compare RUN says what to compare with")
        try:
            if option("align_save"):
                self.save_to = compare.saved_path(folder, option("align_save"))
            if option("align_compare"):
                self.baseline = compare.load_run(compare.find_run(option("align_compare"), folder))
            self.gates = gates.read_gates(option("align_compare_fail"))
        except (LookupError, ValueError, OSError) as error:
            _stop(str(error.args[0] if len(error.args) == 1 else error))

    def regression(self, item: AlignmentItem) -> str:
        """Say what a cell lost against the baseline, in one line; empty where nothing regressed."""
        if self.baseline is None or item.record is None:
            return ""
        from consilience.board.report import cell_words

        from .board import compare

        dataset = item.cell.dataset
        before = {record.target: record for record in self.baseline.records if record.dataset == dataset}
        cells = [one.cell for one in item.session.items if isinstance(one, AlignmentItem)]
        now = [cell.target.name for cell in cells if cell.dataset == dataset]
        known = before.get(compare.match(before, now).get(item.record.target, ""))
        if known is None or known.state != "ok":
            return ""
        (record,) = compare.make_run(self.spec, [item.record]).records  # rounded, as the baseline's is
        try:
            return cell_words(compare.compare_cells(known, record, self.gates))
        except compare.MeasuredDifferentlyError:  # the whole comparison is refused at the end
            return ""

    @property
    def runner(self) -> Runner:
        """The runner, made when first needed."""
        if self._runner is None:
            from consilience.scoring.scorer import Runner

            option = self.config.getoption
            self._runner = Runner(
                self.spec,
                fresh=option("align_fresh"),
                device=option("align_device"),
                time_limit=option("align_timeout"),
                limit=option("align_limit"),
            )
        return self._runner

    @staticmethod
    def _check_board(folder: Path) -> None:
        """Refuse a board whose spec or remarks can't be read, before anything is scored."""
        from .board.remarks import read_remarks
        from .records.spec import read_spec

        try:
            read_remarks(folder, read_spec(folder / "spec.toml"))
        except ValueError as error:
            _stop(f"--align-publish: {error}")

    @property
    def spec(self) -> Spec:
        """The board's spec: of the folder published to, else the one shipped; with the other data sets asked for."""
        if self._spec is None:
            from consilience.records.spec import DEFAULT_SPEC, read_spec

            board = read_spec(self.publish_to / "spec.toml" if self.publish_to else DEFAULT_SPEC)
            self._spec, self._chosen = self._with_own_data(board)
        return self._spec

    def _with_own_data(self, board: Spec) -> tuple[Spec, list[str] | None]:
        """Add to the board what was asked for beyond it; also return the names of all that was asked for."""
        wanted = self.config.getoption("align_datasets")
        if not wanted:
            return board, None
        from consilience.session.plan import extend

        from .registry import list_datasets
        from .user_files import dataset_name

        known = [entry.name for entry in board.datasets]
        try:
            names = [dataset_name(part.strip()) for part in wanted.split(",") if part.strip()]
            others = [name for name in list_datasets() if name not in known]
            chosen = _select(",".join(names), known, "--align-datasets", others=others)
            own = [name for name in chosen or [] if name not in known]
            if own and self.publish_to is not None:
                _stop(f"--align-publish: {', '.join(own)} is not on board {board.board}: it can't be published there")
            return extend(board, own), chosen
        except (LookupError, ValueError, OSError) as error:
            _stop(f"--align-datasets: {error.args[0] if len(error.args) == 1 else error}")

    def plan(self, own: list[Target] | None = None) -> list[Cell]:
        """Cells to run: of a user's file, or of the default profile, narrowed by the options."""
        from .session.plan import plan

        spec = self.spec
        option = self.config.getoption
        datasets = self._chosen
        targets: list[Target] | list[str] | None = own
        if own is None and (option("align_checkpoint") or option("align_adapter")):
            targets = [self._checkpoint()]
        elif own is None and option("align_targets"):
            from .registry import list_targets

            cards = [target.card for target in list_targets().values()]
            everything = [name for card in cards for name in (card.name, f"{card.name}@untrained")]
            # A board holds families and modalities, which people name more readily than their members.
            groups: dict[str, list[str]] = {}
            for card in cards:
                groups.setdefault(f"family:{card.family}", []).append(card.name)
                groups.setdefault(f"modality:{card.modality}", []).append(card.name)
            wanted = ",".join(_expand(option("align_targets"), groups))
            targets = _select(wanted, everything, "--align-targets", twins=False)
        self._whole_board = targets is None
        try:
            return plan(
                spec, targets=targets, datasets=datasets, published=self.publish_to, at_hand=self.runner.at_hand
            )
        except (LookupError, ValueError) as error:
            _stop(str(error.args[0]))

    def _checkpoint(self) -> Target:
        """Return the target that reads the user's checkpoint."""
        from .registry import get_adapter

        option = self.config.getoption
        path, adapter = option("align_checkpoint"), option("align_adapter")
        if not (path and adapter):
            _stop("--align-adapter NAME and --align-checkpoint PATH go together: which target reads which file")
        try:
            return get_adapter(adapter).from_checkpoint(path, trusted=option("align_trust_checkpoint"))
        except (LookupError, ValueError, OSError) as error:
            _stop(f"--align-adapter, --align-checkpoint: {error.args[0] if error.args else error}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep benchmark items only; with no target file found, run the default profile."""
        others = [item for item in items if not isinstance(item, AlignmentItem)]
        if others:
            config.hook.pytest_deselected(items=others)
        # Data set by data set, also with several target files: the references of one are prepared once.
        order = [entry.name for entry in self.spec.datasets]
        own = [item for item in items if isinstance(item, AlignmentItem)]
        own.sort(key=lambda item: order.index(item.cell.dataset))
        items[:] = own
        asked = config.getoption("align_checkpoint") or config.getoption("align_adapter")
        if (not items or asked) and not session.testsfailed:
            items[:] = [
                AlignmentItem.from_parent(session, name=cell.id, nodeid=cell.id, cell=cell) for cell in self.plan()
            ]
        if self.baseline is not None:
            self._check_baseline({item.cell.dataset for item in items if isinstance(item, AlignmentItem)})

    def _check_baseline(self, datasets: set[str]) -> None:
        """Stop, with a report, before anything is scored that could not be compared."""
        from consilience.board.compare import MeasuredDifferentlyError, check_spec
        from consilience.board.report import comparison_markdown
        from consilience.records.run import Comparison

        assert self.baseline is not None
        option = self.config.getoption
        try:
            check_spec(self.baseline, self.spec, limit=option("align_limit"), datasets=datasets)
        except MeasuredDifferentlyError as error:
            self.comparison = Comparison(
                baseline=option("align_compare"),
                verdict="refused",
                gates=[gate.text for gate in self.gates],
                limit=option("align_limit"),
                problems=[str(error)],
            )
            self._write_reports([comparison_markdown(self.comparison)])
            _stop(f"--align-compare: {error}")

    def progress(self, item: AlignmentItem) -> Any:
        """Return a callback that shows items done, items/s and time left on a terminal, and nothing elsewhere."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or capture is None or not reporter.isatty or hasattr(self.config, "workerinput"):
            return None
        began: list[float] = []
        shown = [0.0]
        from_file = isinstance(item.parent, TargetFile)
        name = (
            f"{os.path.relpath(item.path, self.config.invocation_params.dir)}::{item.name}" if from_file else item.name
        )

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            if done == 0 or not began:  # a new target begins: the cell's own, or a reference it is compared with
                began[:] = [now, done]
                shown[0] = 0.0
            if now - shown[0] < 0.2 and done < total:
                return
            shown[0] = now
            rate = (done - began[1]) / max(now - began[0], 1e-6)
            text = f"{name} {done}/{total}"
            if 0 < done < total and rate > 0:
                text += f"  {rate:.3g} items/s, {(total - done) / rate:.0f} s left"
            with capture.global_and_fixture_disabled():
                reporter.rewrite(f"{name} " if done >= total else text, erase=True)

        return show

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the record of each finished cell."""
        text = getattr(report, "consilience_record", None)
        if text is not None:
            from consilience.records.record import Record

            self.records.append(Record.model_validate_json(text))

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Show the score in a passed cell's line."""
        text = getattr(report, "consilience_record", None)
        if text is None or report.outcome != "passed":
            return None
        from consilience.records.record import RANKED, Record

        record = Record.model_validate_json(text)
        value = record.scores[RANKED].alignment.value if RANKED in record.scores else None
        return "passed", ".", "ok" if value is None else f"ok {value:.3f}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write what was asked for, before anything about exit codes is decided."""
        if hasattr(self.config, "workerinput") or not self.records:
            return
        from consilience.board.board import build_board
        from consilience.board.publish import publish
        from consilience.records.record import to_json

        if self.publish_to is not None:
            self.board = publish(self.publish_to, self.records, all_pairs=self.runner.all_pairs)
        else:
            self.board = build_board(self.spec, self.records)
        path = self.config.getoption("align_json")
        if path:
            from .files import write_atomically

            write_atomically(Path(path), to_json(self.board))
        if self.save_to is not None or self.baseline is not None or self.config.getoption("align_report"):
            self._compare(session)

    def _compare(self, session: pytest.Session) -> None:
        """Save the run, compare it and write the reports; only then decide about the exit code."""
        from consilience.board.report import comparison_markdown, run_markdown
        from consilience.records.record import to_json

        from .board import compare
        from .files import write_atomically

        assert self.board is not None
        limit = self.config.getoption("align_limit")
        run = compare.make_run(self.spec, self.records, limit=limit)
        if self.save_to is not None:
            write_atomically(self.save_to, to_json(run))
        pages = [run_markdown(self.board, self.records, limit=limit)]
        if self.baseline is not None:
            label = self.config.getoption("align_compare")
            self.comparison = compare.compare(self.baseline, run, self.gates, label=label)
            pages.insert(0, comparison_markdown(self.comparison))
        self._write_reports(pages)
        # A cell that regressed has failed by itself, and so has pytest; what could not be judged is nobody's cell.
        verdict = self.comparison.verdict if self.comparison is not None else "ok"
        if verdict == "refused":
            session.exitstatus = COULD_NOT_RUN
        elif session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = {"undecided": COULD_NOT_RUN, "regressed": 1}.get(verdict, 0)

    def _write_reports(self, pages: list[str]) -> None:
        from consilience.records.record import to_json

        from .files import write_atomically

        found = self.comparison or self.board
        assert found is not None
        for path in map(Path, self.config.getoption("align_report")):
            write_atomically(path, to_json(found) if path.suffix == ".json" else "\n".join(pages))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table: the product of the run."""
        if self.board is None:
            return
        from consilience.board.terminal import summarize

        limit = self.config.getoption("align_limit")
        ran = {dataset: [r.target for r in self.records if r.dataset == dataset] for dataset in self._datasets()}
        for line in summarize(self.board, ran, self.records, limit=limit):
            terminalreporter.write_line(line)
        if self.comparison is not None:
            from consilience.board.report import comparison_lines

            for line in comparison_lines(self.comparison):
                terminalreporter.write_line(line)
        if self.publish_to is not None:
            terminalreporter.write_line(f"published: {self.publish_to / 'leaderboard.md'} and leaderboard.json")
            if kept := self._kept():
                terminalreporter.write_line(f"kept as published, not run again: {', '.join(kept)}")
                terminalreporter.write_line("(their embeddings are not at hand; --align-targets=NAMES makes them anew)")
        for path in (self.config.getoption("align_json"), self.save_to, *self.config.getoption("align_report")):
            if path:
                terminalreporter.write_line(f"written: {path}")

    def _kept(self) -> list[str]:
        """Targets on the board that a run of the whole board left as they are, on the data sets it was about."""
        if not self._whole_board or self.board is None:
            return []
        ran = {(record.dataset, record.target) for record in self.records}
        tables = [table for table in self.board.datasets if table.name in self._datasets()]
        rows = [(table.name, row.target) for table in tables for row in table.rows if row.state == "ok"]
        return sorted({target for dataset, target in rows if (dataset, target) not in ran})

    def _datasets(self) -> list[str]:
        return list(dict.fromkeys(record.dataset for record in self.records))


def _is_target_file(path: Path) -> bool:
    return path.suffix == ".py" and path.name.startswith("target_")


def _expand(wanted: str, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Put the members for ``family:NAME`` and ``modality:NAME``; other words stay as they are."""
    for word in (part.strip() for part in wanted.split(",")):
        if not word.startswith(("family:", "modality:")):
            yield word
            continue
        found = fnmatch.filter(groups, word)
        if not found:
            from .registry import near_names

            kind = word.partition(":")[0] + ":"
            alike = [name for name in groups if name.startswith(kind)]
            near = near_names(word, alike) or alike
            _stop(f"--align-targets: there is no {word}; there are: {', '.join(near)}")
        for name in found:
            yield from groups[name]


def _select(
    wanted: str | None, known: list[str], option: str, *, twins: bool = True, others: Sequence[str] = ()
) -> list[str] | None:
    """Names that match a comma-separated list of names and globs, in the order of the list; no glob means `others`."""
    if not wanted:
        return None
    found: dict[str, None] = {}
    for pattern in (part.strip() for part in wanted.split(",") if part.strip()):
        pool = known if twins or "@" in pattern else [name for name in known if "@" not in name]
        pool = [*pool, *others] if not set("*?[") & set(pattern) else pool
        matching = fnmatch.filter(pool, pattern)
        if not matching:
            from .registry import near_names

            near = near_names(pattern, pool)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(pool)}"
            _stop(f"{option}: nothing is named {pattern!r}; {hint}")
        found.update(dict.fromkeys(matching))
    return list(found)


def _stop(message: str) -> NoReturn:
    pytest.exit(message, returncode=COULD_NOT_RUN)
