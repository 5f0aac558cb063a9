"""Code shared by commands: errors, look-up of targets and boards, tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from consilience.board.findings import Report
    from consilience.board.receiving import Rules
    from consilience.registry import Target
    from consilience.session.runner import Runner


COULD_NOT_RUN = 2
BOARD_OF_SUBMISSION = "Folder of the published board; by default the spec shipped with the package."
CARD_OF_CHECKPOINT = "TOML file with card fields that the checkpoint lacks (trained_on, licence_weights, ...)."


class Group(click.Group):
    """Turns the suite's own errors into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (LookupError, ValueError, FileNotFoundError) as error:
            message = error.args[0] if error.args else repr(error)
            click.echo(f"consilience: {message}", err=True)
            sys.exit(COULD_NOT_RUN)


def checkpoint_options(command: Any) -> Any:
    """Options of the commands that score a user's checkpoint through one of the suite's targets."""
    path = click.Path(path_type=Path, exists=True)
    command = click.option("--trust-checkpoint", is_flag=True, help="Allow a file that can run code when read.")(
        command
    )
    return click.option("--checkpoint", type=path, help="Your weights, read by TARGET (a name or a family).")(command)


def submission_options(command: Any) -> Any:
    """Options of the commands that receive a submission."""
    path = click.Path(path_type=Path, exists=True)
    for option in (
        click.option("--trust-submitter", is_flag=True, help="Take rows that there is nothing here to compare with."),
        click.option("--no-sandbox", is_flag=True, help="Let the submitter's code run without a sandbox."),
        click.option("--trust-checkpoint", is_flag=True, help="Allow a file that can run code when read."),
        click.option("--checkpoint", type=path, help="The weights that the submission's card names."),
        click.option("--recompute", is_flag=True, help="Embed 50 random items again with the submitted target file."),
    ):
        command = option(command)
    return command


def rules_of(
    recompute: bool, checkpoint: Path | None, trust_checkpoint: bool, no_sandbox: bool, trust_submitter: bool
) -> Rules:
    """Rules of a publisher, from the options of `submission_options`."""
    from consilience.board.receiving import Rules
    from consilience.board.recompute import Recomputation

    for name, given in {
        "checkpoint": checkpoint is not None,
        "trust-checkpoint": trust_checkpoint,
        "no-sandbox": no_sandbox,
    }.items():
        if given and not recompute:
            raise ValueError(f"--{name} needs --recompute, which is missing")
    how = Recomputation(checkpoint=checkpoint, trusted=trust_checkpoint, unconfined=no_sandbox)
    return Rules(how if recompute else None, trust_submitter)


def find_target(name: str, checkpoint: Path | None = None, trusted: bool = False) -> Target:
    """Target of a name, of a target_*.py file (its first card), or of a checkpoint that it reads."""
    from consilience.registry import get_adapter, get_target, load_target_file

    own = load_target_file(name)[0] if name.endswith(".py") else None
    if checkpoint is None:
        if trusted:
            raise ValueError("--trust-checkpoint needs --checkpoint, which is missing")
        return own or get_target(name)
    return (own or get_adapter(name)).from_checkpoint(checkpoint, trusted=trusted)


def names_in(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def board_runner(board: Path | None, **options: Any) -> Runner:
    """Runner of a board's spec; by default of the spec shipped with the package."""
    from consilience.records.spec import DEFAULT_SPEC, read_spec
    from consilience.session.runner import Runner

    return Runner(read_spec(board / "spec.toml" if board else DEFAULT_SPEC), **options)


def tell_report(report: Report, as_json: bool = False) -> None:
    from dataclasses import asdict

    click.echo(json.dumps(asdict(report), indent=1) if as_json else "\n".join(report.lines()))


def cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)


def table(rows: list[list[Any]], head: list[str]) -> str:
    from tabulate import tabulate

    return str(tabulate(rows, head, tablefmt="simple", disable_numparse=True))
