"""``consilience site`` and ``consilience report``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.records import DEFAULT_BOARD

from ._common import say
from ._options import OutputPath

if TYPE_CHECKING:
    from consilience.site.build import StageProgress

_BOARD = (
    f"Name of a published board ({DEFAULT_BOARD}) or its folder; by default leaderboard/{DEFAULT_BOARD} below the "
    "current folder."
)


@click.command("site")
@click.option("--board", default=DEFAULT_BOARD, show_default=True, help=_BOARD)
@click.option("--output", required=True, type=OutputPath(folder=True), help="Folder of the site.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Number of drawing processes; by default one per processor, at most 4."
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def site_command(board: str, output: Path, jobs: int | None, quiet: bool) -> None:
    """Build static pages of a board with tables, targets and figures. They open from disk and can be served.

    Exit code 1: the site is complete except for figures that could not be drawn.
    """
    from consilience.board.board import find_board

    _need_extra()
    from consilience.site.build import build_site

    with _progress("site", quiet) as progress:
        built = build_site(find_board(board), output, jobs=jobs, progress=progress)
    for failure in built.failures:
        say(f"consilience site: {failure}", err=True)
    say(
        f"{built.output / 'index.html'}: {built.pages} pages, {built.figures} figures, "
        f"{built.size / 1e6:.1f} MB, {built.seconds:.1f} s"
    )
    sys.exit(1 if built.failures else 0)


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--output", required=True, type=OutputPath(), help="The HTML file.")
@click.option("--board", default=DEFAULT_BOARD, show_default=True, help=_BOARD)
@click.option("--target", help="Target of the run, if the run has several.")
def report_command(run: Path, output: Path, board: str, target: str | None) -> None:
    """Write one HTML file about one checkpoint of RUN (a file of `--align-save` or `run --save`)."""
    from consilience.board.board import find_board

    _need_extra()
    from consilience.site.report_page import write_report

    size = write_report(run, output, board=find_board(board), target=target)
    say(f"{output}: {size / 1e6:.1f} MB")


def _need_extra() -> None:
    try:
        import jinja2  # noqa: F401
        import plotly  # noqa: F401
    except ImportError as error:
        raise ValueError(f"pages need the extra `site`: pip install 'consilience[site]' ({error})") from error


@contextmanager
def _progress(title: str, quiet: bool) -> Iterator[StageProgress]:
    """Progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.fields[title]}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("", title=title, total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tell
