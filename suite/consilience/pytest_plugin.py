"""The pytest plug-in: ``pytest --benchmark`` scores targets, one item per target and data set.

Hooks only: the options are the fields of :class:`consilience.session.request.Request`, and the run is a
:class:`consilience.session.session.Session`. Without ``--benchmark`` (or its synonym ``--align``) the plug-in does
nothing and imports nothing heavy. All other options begin with ``--align-``: the names ``--benchmark-*`` belong to
pytest-benchmark, which works beside us.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .escaping import shown
from .pytest_items import AlignmentItem, DatasetCells, NoTests, TargetFile, run_key, stopping
from .session.request import options
from .signals import end_on

if TYPE_CHECKING:
    from consilience.registry import Target
    from consilience.scoring.cell import Cell

_FLAG: dict[str, Any] = {"action": "store_true", "dest": "align", "default": False}
_FLAG_HELP = "score targets: those of target_*.py files given or found, else every target of the suite"


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, Any, Any]:
    """Add ``--benchmark`` once the repository's own conftest files have been read.

    One of them may define an option of this name. Adding it earlier would break the collection of their tests. If it is
    taken, the suite has ``--align`` only.
    """
    result = yield
    with contextlib.suppress(ValueError, argparse.ArgumentError):  # of one group of options, of two
        parser.getgroup("consilience").addoption("--benchmark", help="the same as --align", **_FLAG)
    return result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options: the fields of the request."""
    group = parser.getgroup("consilience", "alignment of models of matter (consilience)")
    group.addoption("--align", help=_FLAG_HELP, **_FLAG)
    for option in options().values():
        if not option.pytest:
            continue
        settings: dict[str, Any] = {"action": "store_true"} if option.kind == "flag" else {"metavar": option.metavar}
        if option.kind in ("list", "paths"):
            settings["action"] = "append"
        shown = f" (default: {option.default})" if option.default and option.kind != "flag" else ""
        text = (option.help + shown).replace("%", "%%")
        group.addoption(f"--align-{option.word}", dest=f"align_{option.name}", default=None, help=text, **settings)


def pytest_configure(config: pytest.Config) -> None:
    """Fill the request; one line per cell on the terminal, unless ``-q`` asks for less."""
    if not config.getoption("align"):
        return
    if hasattr(config, "workerinput"):  # one of several processes: models share the cores instead of fighting over them
        count = int(config.workerinput["workercount"])
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # So that workers and scratch folders go with pytest, as with Ctrl-C.
    config.add_cleanup(end_on(["SIGTERM"], signal.default_int_handler))
    run = BenchmarkRun(config)
    config.stash[run_key] = run
    config.pluginmanager.register(run, "consilience-run")
    if config.option.verbose == 0:
        config.option.verbose = 1


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore all files but target files, and these too if the request names others."""
    if config.getoption("align") and collection_path.is_file() and not config.stash[run_key].takes(collection_path):
        return True
    return None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect target files."""
    if parent.config.getoption("align") and parent.config.stash[run_key].takes(file_path):
        return TargetFile.from_parent(parent, path=file_path)
    return None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Keep pytest from importing a target file as a module of tests as well."""
    if parent.config.getoption("align") and parent.config.stash[run_key].takes(module_path):
        return NoTests.from_parent(parent, path=module_path)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let the record travel with the report, across xdist's processes too."""
    report = yield
    if isinstance(item, AlignmentItem) and report.when == "call" and item.record is not None:
        report.consilience_record = item.record.model_dump_json()
        report.consilience_interrupted = item.interrupted
    return report


class BenchmarkRun:
    """One ``pytest --benchmark``: its session, and the hooks that take part in it."""

    def __init__(self, config: pytest.Config) -> None:
        from .trial import begin

        for name in config.args:  # the files are read in processes of their own while this one imports the suite
            path = config.invocation_params.dir / name.partition("::")[0]
            if path.name.startswith("target_") and path.suffix == ".py":
                begin(path)
        from .session.request import fill
        from .session.session import Session

        self.config = config
        self.files = self._named_files()
        call = {option.name: config.getoption(f"align_{option.name}") for option in options().values() if option.pytest}
        verbosity = config.option.verbose
        call |= {"quiet": verbosity < 0 or None, "verbose": verbosity > 0 or None}
        with stopping():
            request = fill(call, front_end="pytest", folder=config.invocation_params.dir)
            self.session = Session(request, folder=config.rootpath, tell=self.tell)
            self.session.check()
        self._adapter_is_known: bool | None = None

    def _named_files(self) -> set[Path]:
        """Files among pytest's arguments; ids of cells without a file join ``--align-targets``."""
        from .session.select import is_cell_id

        here, config = self.config.invocation_params.dir, self.config
        ids = [one for one in config.args if is_cell_id(one) and not (here / one.partition("::")[0]).exists()]
        if ids:
            # As an option it reaches the processes of pytest-xdist too.
            config.option.align_targets = ",".join(filter(None, [config.option.align_targets, *ids]))
            config.args[:] = [one for one in config.args if one not in ids] or [str(here)]
        paths = [(here / one.partition("::")[0]).resolve() for one in config.args]
        return {path for path in paths if path.suffix == ".py" and path.is_file()}

    def takes(self, path: Path) -> bool:
        """Whether a file is a target file of this run."""
        from .session.select import is_target_file

        if path.resolve() in self.files:
            return is_target_file(path) or not (path.name.startswith("test_") or path.name == "conftest.py")
        request = self.session.request
        if request.adapter:
            return is_target_file(path) and self._searches_adapter()
        return is_target_file(path) and not request.targets

    def _searches_adapter(self) -> bool:
        """Whether the adapter may be in a target file of the folder, because it is registered nowhere else."""
        from .session.select import knows_adapter

        if self._adapter_is_known is None:
            self._adapter_is_known = knows_adapter(self.session.request.adapter or "")
        return not self._adapter_is_known

    def plan(self, own: Sequence[Target] | None = None) -> list[Cell]:
        """Cells of a user's file, or of what the request names."""
        with stopping():
            return self.session.plan(own)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Refuse unknown names in every folder, before anything is collected."""
        request = self.session.request
        with stopping():
            if request.targets or request.datasets:
                _ = self.session.spec
            if request.targets:
                from .session.select import select_targets

                select_targets(str(path) for path in self.files if self.takes(path))  # what they register has a name
                if not request.adapter or not self._searches_adapter():
                    self.session.plan()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep benchmark items only; add what is named; with nothing named or found, run the default profile."""
        others = [item for item in items if not isinstance(item, AlignmentItem)]
        if others:
            config.hook.pytest_deselected(items=others)
        own = [item for item in items if isinstance(item, AlignmentItem)]
        request = self.session.request
        if (request.targets or request.checkpoint or request.adapter or not own) and not session.testsfailed:
            ids = {item.cell.id for item in own}
            own += [
                AlignmentItem.from_parent(session, name=cell.id, nodeid=cell.id, cell=cell)
                for cell in self.plan()
                if cell.id not in ids
            ]
        # Data set by data set, also with several target files: the references of one are prepared once.
        with stopping():
            order = [entry.name for entry in self.session.spec.datasets]
            own.sort(key=lambda item: order.index(item.cell.dataset))
            items[:] = own
            self.session.check_baseline([item.cell for item in own])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """For a dry run, look at the cells and run nothing; with several jobs, embed before scoring."""
        if self.config.option.collectonly or session.testsfailed:
            return None
        cells = [item.cell for item in session.items if isinstance(item, AlignmentItem)]
        if not self.session.request.dry_run:
            with stopping():
                self.session.embed(cells)
            return None
        from .session.forecast import forecast

        self.session.forecast = forecast(self.session, cells)
        return True

    def progress(self, item: AlignmentItem) -> Callable[[int, int], None] | None:
        """Return a callback that shows items done, items/s and time left on a terminal; None elsewhere."""
        from .session.progress import ItemRate, shows_progress

        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        quiet = self.session.request.quiet or hasattr(self.config, "workerinput")
        if quiet or reporter is None or capture is None or not shows_progress(reporter.isatty):
            return None
        from_file = isinstance(item.parent, DatasetCells)
        file = f"{os.path.relpath(item.path, self.config.invocation_params.dir)}::" if from_file else ""
        rate = ItemRate(file + item.cell.id)

        def show(done: int, total: int) -> None:
            if (text := rate.text(done, total)) is not None:
                with capture.global_and_fixture_disabled():
                    reporter.rewrite(text, erase=True)

        return show

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the record of each finished cell."""
        text = getattr(report, "consilience_record", None)
        if text is not None:
            from consilience.records.record import Record

            record = Record.model_validate_json(text)
            self.session.records.append(record)
            if getattr(report, "consilience_interrupted", False):
                self.session.interrupted.add(f"{record.dataset}::{record.target}")

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Show the score in a passed cell's line."""
        text = getattr(report, "consilience_record", None)
        if text is None or report.outcome != "passed":
            return None
        from consilience.records.record import Record

        score = Record.model_validate_json(text).ranking_score
        value = None if score is None else score.alignment.value
        return "passed", ".", "ok" if value is None else f"ok {value:.3f}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Publish, compare and write what was asked for; only then decide about the exit code."""
        if hasattr(self.config, "workerinput") or not self.session.records:
            return
        with stopping():
            session.exitstatus = self.session.finish(int(session.exitstatus))

    def tell(self, line: str) -> None:
        """Print a line while the run waits."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(shown(line))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the tables of the run."""
        for line in self.session.lines():
            terminalreporter.write_line(shown(line))
