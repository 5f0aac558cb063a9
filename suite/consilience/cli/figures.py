"""``consilience figures``: static images of a board's figures, with their numbers."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from consilience.records import DEFAULT_BOARD

from ._common import say
from ._options import OutputPath


@click.command("figures")
@click.option(
    "--board", default=DEFAULT_BOARD, show_default=True, help="A board's folder, or its version in leaderboard/."
)
@click.option("--dataset", "datasets", multiple=True, help="Data set of the board; all by default. May be repeated.")
@click.option("--figure", "names", multiple=True, help="Figure (--list names them); all by default. May be repeated.")
@click.option("--output", type=OutputPath(folder=True), help="Folder to write to.")
@click.option("--format", "formats", default="svg,pdf", show_default=True,
              help="Any of svg, pdf, png, comma-separated; csv for the numbers only.")  # fmt: skip
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True,
              help="Background and text of the images.")  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="List the available figures.")
def figures_command(
    board: str,
    datasets: tuple[str, ...],
    names: tuple[str, ...],
    output: Path | None,
    formats: str,
    theme: str,
    listing: bool,
) -> None:
    """Write figures of a board as SVG, PDF or PNG, each with a CSV file of its numbers.

    A local Chrome or Chromium draws the images; nothing is downloaded. Exit codes: 0 success, 1 a figure failed,
    2 could not run.
    """
    from consilience.board.board import find_board
    from consilience.study.export import export_figures
    from consilience.study.study import Study

    if listing:
        _list()
        return
    if output is None:
        raise ValueError("--output: name the folder to write to")
    kinds = [part.strip().lower() for part in formats.split(",") if part.strip()]
    if not kinds:
        raise ValueError(f"--format: expected any of svg, pdf, png, csv, found {formats!r}")
    study = Study(find_board(board))
    began = time.perf_counter()
    done = export_figures(
        study, output, figures=names or None, datasets=datasets or None, formats=kinds, theme=theme, progress=_tell
    )
    for label, reason in done.failed.items():
        say(f"{label}: {reason}", err=True)
    if done.absent:
        say(f"do not apply: {', '.join(done.absent)}", err=True)
    seconds = time.perf_counter() - began
    say(f"{output}: {len(done.images)} images, {len(done.tables)} tables ({seconds:.1f} s)")
    sys.exit(1 if done.failed else 0)


def _list() -> None:
    from tabulate import tabulate

    from consilience.study.figure import list_figures

    rows = [[f.card.name, f.card.scope, f.card.paper, f.card.title] for f in list_figures().values()]
    say(tabulate(rows, ["figure", "of each", "of the paper", "title"], tablefmt="simple", disable_numparse=True))


def _tell(done: int, total: int, what: str) -> None:
    """Update one line of a terminal; print nothing elsewhere."""
    if sys.stderr.isatty():
        text = "" if done == total else f"{done}/{total} {what}"
        say(f"\r\033[K{text}", err=True, nl=False)
