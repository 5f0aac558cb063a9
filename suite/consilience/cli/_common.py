"""Code shared by commands: errors, look-up of targets and boards, tables."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consilience.signals import end_on

if TYPE_CHECKING:
    from consilience.board.findings import Report
    from consilience.board.receiving import Rules
    from consilience.registry import Target
    from consilience.session.runner import Runner
    from consilience.trial import Confine


COULD_NOT_RUN = 2
BOARD_OF_SUBMISSION = "Folder of the published board; by default the spec shipped with the package."
CARD_OF_CHECKPOINT = "TOML file with card fields that the checkpoint lacks (trained_on, licence_weights, ...)."


class SignalledError(KeyboardInterrupt):
    """A signal asks the command to end, as Ctrl-C does.

    Parameters
    ----------
    number
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Group(click.Group):
    """Turns what keeps a command from running into one line and exit code 2, and Ctrl-C into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        from consilience.circumstances import in_words, is_circumstance

        _end_on_signals()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            _end_processes()
            number = getattr(interrupt, "number", signal.SIGINT)
            say(f"consilience: ended by {signal.Signals(number).name}", err=True)
            sys.exit(128 + number)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            expected = isinstance(error, LookupError | ValueError | OSError | SyntaxError)
            if not expected and not is_circumstance(error):
                raise
            say(f"consilience: {in_words(error)}", err=True)
            sys.exit(COULD_NOT_RUN)


def _end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: workers and scratch folders go with it."""

    def end(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SignalledError(number)

    end_on(["SIGTERM", "SIGHUP"], end)


def _end_processes() -> None:
    """End the workers, for which other threads may wait."""
    if "consilience.isolation.guarded" in sys.modules:
        from consilience.isolation.guarded import end_all

        with suppress(OSError):
            end_all()


def checkpoint_options(command: Any) -> Any:
    """Options of the commands that score a user's checkpoint through one of the suite's targets."""
    path = click.Path(path_type=Path)
    command = click.option("--trust-checkpoint", is_flag=True, help="Allow a file that can run code when read.")(
        command
    )
    return click.option("--checkpoint", type=path, help="Your weights, read by TARGET (a name or a family).")(command)


def device_option(command: Any) -> Any:
    """Option ``--device``, refused where this machine lacks it."""

    def checked(context: click.Context, parameter: click.Parameter, value: str) -> str:
        from consilience.isolation.job import check_device

        check_device(value)
        return value

    return click.option("--device", default="cpu", show_default=True, callback=checked, help="Torch device.")(command)


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


def find_target(
    name: str, checkpoint: Path | None = None, trusted: bool = False, *, confine: Confine | None = None
) -> Target:
    """Target of a name, of a target_*.py file (its first card), or of a checkpoint that it reads."""
    from consilience.registry import get_adapter, get_target, load_target_file

    own = load_target_file(name, confine=confine)[0] if name.endswith(".py") else None
    if checkpoint is None:
        if trusted:
            raise ValueError("--trust-checkpoint needs --checkpoint, which is missing")
        return own or get_target(name)
    return (own or get_adapter(name)).from_checkpoint(checkpoint, trusted=trusted)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text, which may hold words of others: its control characters and commands of CI do nothing."""
    from consilience.escaping import shown

    click.echo(shown(text), err=err, nl=nl)


def say_aside(text: str) -> None:
    """Print a text where no result is read from."""
    say(text, err=True)


def names_in(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def board_runner(board: Path | None, **options: Any) -> Runner:
    """Runner of a board's spec; by default of the spec shipped with the package."""
    from consilience.records.spec import DEFAULT_SPEC, read_spec
    from consilience.session.runner import Runner

    return Runner(read_spec(board / "spec.toml" if board else DEFAULT_SPEC), **options)


def tell_report(report: Report, as_json: bool = False) -> None:
    from dataclasses import asdict

    say(json.dumps(asdict(report), indent=1) if as_json else "\n".join(report.lines()))


def cell(value: Any) -> str:
    from consilience.escaping import one_line

    if isinstance(value, tuple):
        return one_line(", ".join(value))
    return "" if value is None else f"{value:,}" if isinstance(value, int) and value > 9999 else one_line(str(value))


def table(rows: list[list[Any]], head: list[str]) -> str:
    from tabulate import tabulate

    return str(tabulate(rows, head, tablefmt="simple", disable_numparse=True))
