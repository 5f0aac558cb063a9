"""Commands about boards: verify, submit, leaderboard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from consilience.session.progress import progress_of

from ._common import (
    BOARD_OF_SUBMISSION,
    CARD_OF_CHECKPOINT,
    board_runner,
    checkpoint_options,
    device_option,
    find_target,
    names_in,
    rules_of,
    say,
    say_aside,
    submission_options,
    table,
    tell_report,
)
from ._options import OutputPath


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--board", type=click.Path(path_type=Path, exists=True, file_okay=False), help=BOARD_OF_SUBMISSION)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@submission_options
def verify(path: Path, board: Path | None, as_json: bool, **options: Any) -> None:
    """Recompute the scores in PATH (the folder of a board or the zip file of a submission) and list differences.

    Without --recompute, the command embeds nothing and runs no code of a submission. Records of cells whose embedding
    is not available locally are checked for consistency only. Exit codes: 0 no difference, 1 differences, 2 could not
    run.
    """
    from consilience.board.receiving import verify_submission
    from consilience.board.verify import verify_board

    rules = rules_of(**options)
    if path.is_dir():
        given = [f"--{name.replace('_', '-')}" for name, value in {"board": board, **options}.items() if value]
        if given:
            raise ValueError(f"{', '.join(given)}: these belong to a submission's zip file")
        with progress_of("verify") as progress:
            report = verify_board(path, progress=progress, tell=lambda line: None if as_json else say(line))
    else:
        report, _ = verify_submission(path, board_runner(board), board=board, rules=rules)
    tell_report(report, as_json)
    sys.exit(1 if report.findings else 0)


@click.command()
@click.argument("target")
@click.option("--output", required=True, type=OutputPath(), help="The zip file.")
@click.option("--datasets", help="Data sets, comma-separated; by default all of the board.")
@click.option("--board", type=click.Path(path_type=Path, exists=True, file_okay=False), help=BOARD_OF_SUBMISSION)
@click.option("--card", type=click.Path(path_type=Path, exists=True, dir_okay=False), help=CARD_OF_CHECKPOINT)
@device_option
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds per cell.")
@checkpoint_options
def submit(
    target: str,
    output: Path,
    datasets: str | None,
    board: Path | None,
    card: Path | None,
    device: str,
    timeout: float,
    checkpoint: Path | None,
    trust_checkpoint: bool,
) -> None:
    """Score TARGET (a name or a target_*.py file) on a board's data sets and pack a submission for its publisher.

    A checklist lists the requirements of the board. The file is written only if all are satisfied.
    """
    from consilience.board.packing import complete_card, pack
    from consilience.cache import check_cache

    chosen = complete_card(find_target(target, checkpoint, trust_checkpoint), card)
    check_cache()
    runner = board_runner(board, device=device, time_limit=timeout)
    with progress_of("submit") as progress:
        checks = pack(chosen, runner, output, datasets=names_in(datasets), board=board, progress=progress)
    say(table([["missing" if check.missing else "ok", *check] for check in checks], ["", "asked for", "why"]))
    refused = any(check.missing for check in checks)
    say(f"{chosen.name}: not submitted" if refused else f"{output}: {output.stat().st_size:,} bytes")
    sys.exit(1 if refused else 0)


@click.group()
def leaderboard() -> None:
    """Build boards from records."""


@leaderboard.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("submission", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@submission_options
def add(folder: Path, submission: Path, **options: Any) -> None:
    """Verify SUBMISSION and add it to the board in FOLDER, with scores computed on this machine.

    A submission has a rank only if --recompute shows that its rows come from its model. Otherwise the board lists it
    without one, and says that the rows are the submitter's.
    """
    from consilience.board.receiving import add_submission

    report = add_submission(submission, folder, board_runner(folder), rules=rules_of(**options), tell=say_aside)
    tell_report(report)
    refused = bool(report.findings or report.not_at_hand or not report.recomputed)
    say(f"{submission}: not added" if refused else f"{folder}: {report.recomputed} cells added")
    sys.exit(1 if refused else 0)


@leaderboard.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def build(folder: Path) -> None:
    """Rebuild leaderboard.md and leaderboard.json in FOLDER from its spec.toml and results/.

    Pairs of targets are scored again where a publication was stopped or their embeddings have changed.
    """
    from consilience.board.cells import pairs_of
    from consilience.board.publish import publish

    board = publish(folder, all_pairs=pairs_of(folder, board_runner(folder)), tell=say_aside)
    scored = sum(row.state == "ok" for table in board.datasets for row in table.rows)
    say(f"{folder / 'leaderboard.md'}: {len(board.datasets)} data sets, {scored} scored cells")


@leaderboard.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target")
@click.option("--reason", required=True, help="One line for the board's page.")
def withdraw(folder: Path, target: str, reason: str) -> None:
    """Take TARGET's rows from the board in FOLDER, and say so on its page.

    The name is free afterwards: a corrected model is submitted under it again. References and controls can't be
    withdrawn, since the scores of others rest on them.
    """
    from consilience.board.withdraw import withdraw as withdraw_rows

    datasets = withdraw_rows(folder, target, reason, tell=say_aside)
    say(f"{folder}: {target} is withdrawn from {', '.join(datasets)}")
