"""The command line: ``consilience list | check | run | embed | leaderboard | environments | schema``.

Exit codes: 0 fine, 1 a cell failed or a contract is broken, 2 could not run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .registry import Target

COULD_NOT_RUN = 2


class _Group(click.Group):
    """Turns the suite's own errors into one clear line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (LookupError, ValueError, FileNotFoundError) as error:
            message = error.args[0] if error.args else repr(error)
            click.echo(f"consilience: {message}", err=True)
            sys.exit(COULD_NOT_RUN)


def _checkpoint_options(command: Any) -> Any:
    """Options of the commands that score a user's checkpoint through one of the suite's targets."""
    path = click.Path(path_type=Path, exists=True)
    command = click.option("--trust-checkpoint", is_flag=True, help="Allow a file that can run code when read.")(
        command
    )
    return click.option("--checkpoint", type=path, help="Your weights, read by TARGET (a name or a family).")(command)


def _target(name: str, checkpoint: Path | None = None, trusted: bool = False) -> Target:
    """Target of a name, of a target_*.py file (its first card), or of a checkpoint that it reads."""
    from .registry import get_adapter, get_target, load_target_file

    own = load_target_file(name)[0] if name.endswith(".py") else None
    if checkpoint is None:
        if trusted:
            raise ValueError("--trust-checkpoint says something about --checkpoint, which is missing")
        return own or get_target(name)
    return (own or get_adapter(name)).from_checkpoint(checkpoint, trusted=trusted)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilience")
def main() -> None:
    """Measure whether models of matter see matter the same way, and whether a new checkpoint joins them."""


@main.command("list")
@click.argument("what", type=click.Choice(["targets", "datasets", "metrics"]), default="targets")
@click.option("--json", "as_json", is_flag=True, help="Print cards as JSON.")
def list_command(what: str, as_json: bool) -> None:
    """List targets (default), data sets or metrics."""
    from . import registry

    entries: dict[str, Any] = getattr(registry, f"list_{what}")()
    cards = [entry.card for entry in entries.values()]
    if as_json:
        click.echo(json.dumps([card.model_dump(mode="json") for card in cards], indent=1))
        return
    columns = {
        "targets": ["name", "family", "modality", "parameters", "dimension", "trained_on", "access"],
        "datasets": ["name", "matter", "items", "views", "licence", "title"],
        "metrics": ["name", "inputs", "higher_is_more_alike", "symmetric", "version"],
    }[what]
    click.echo(_table([[_cell(getattr(card, name)) for name in columns] for card in cards], columns))


@main.command()
@click.argument("target")
@click.option("--dataset", help="Data set to take the sample from; the first one covered by default.")
@click.option("--items", "n", default=24, show_default=True, help="Sample size.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@_checkpoint_options
def check(
    target: str,
    dataset: str | None,
    n: int,
    device: str,
    as_json: bool,
    checkpoint: Path | None,
    trust_checkpoint: bool,
) -> None:
    """Check that TARGET (a name or a target_*.py file) keeps the contract of a target.

    NAME@untrained checks the untrained twin: the same architecture with random weights, which needs no download.
    """
    from dataclasses import asdict

    from .embedding.process import EmbeddingFailedError, EmbeddingSkippedError
    from .testing import check_target

    chosen = _target(target, checkpoint, trust_checkpoint)
    try:
        report = check_target(chosen, dataset=dataset, n=n, device=device)
    except (EmbeddingFailedError, EmbeddingSkippedError) as error:
        click.echo(f"{chosen.name}: {error}", err=True)
        sys.exit(1)
    click.echo(json.dumps(asdict(report), indent=1) if as_json else str(report))
    sys.exit(0 if report.passed else 1)


@main.command()
@click.option("--targets", help="Names or target_*.py files, comma-separated; default: those on the board, else all.")
@click.option("--datasets", help="Names, comma-separated; by default all of the board.")
@click.option("--board", type=click.Path(path_type=Path, file_okay=False), help="Board folder to publish into.")
@click.option("--fresh", is_flag=True, help="Ignore the shipped embeddings.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds per cell.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def run(
    targets: str | None,
    datasets: str | None,
    board: Path | None,
    fresh: bool,
    device: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Score targets; with --board, publish the records and rebuild the board."""
    from .leaderboard.board import build_board
    from .leaderboard.publish import publish
    from .leaderboard.terminal import summarize
    from .registry import load_target_file
    from .results import Record, to_json
    from .runner import DEFAULT_SPEC, Cell, Runner, plan, run_all
    from .spec import read_spec

    spec = read_spec(board / "spec.toml" if board else DEFAULT_SPEC)
    chosen: list[Target | str] | None = None
    if targets:
        chosen = []
        for name in _names(targets) or []:
            chosen += load_target_file(name) if name.endswith(".py") else [name]
    runner = Runner(spec, fresh=fresh, device=device, time_limit=timeout)
    cells = plan(spec, targets=chosen, datasets=_names(datasets), published=board, at_hand=runner.at_hand)

    def report(cell: Cell, record: Record) -> None:
        click.echo(f"{cell.id}: {record.state}" + (f" ({record.reason})" if record.reason else ""), err=True)

    records = run_all(runner, cells, done=report)
    built = publish(board, records, all_pairs=runner.all_pairs) if board else build_board(spec, records)
    if as_json:
        click.echo(to_json(built), nl=False)
    else:
        ran = {name: [r.target for r in records if r.dataset == name] for name in {r.dataset for r in records}}
        click.echo("\n".join(summarize(built, ran, records)))
    sys.exit(1 if any(record.state == "failed" for record in records) else 0)


@main.command()
@click.argument("target")
@click.argument("dataset")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="safetensors file.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds.")
@click.option("--fresh", is_flag=True, help="Ignore the shipped embeddings.")
@_checkpoint_options
def embed(
    target: str,
    dataset: str,
    output: Path,
    device: str,
    timeout: float,
    fresh: bool,
    checkpoint: Path | None,
    trust_checkpoint: bool,
) -> None:
    """Embed DATASET with TARGET and write features (n, d), ids and provenance to one safetensors file."""
    from .datasets.items import open_dataset
    from .embedding import process
    from .embedding.store import SHIPPED, Store, identify, write_embedding

    chosen = _target(target, checkpoint, trust_checkpoint)
    items = open_dataset(dataset)
    store = Store(shipped=None if fresh else SHIPPED)
    try:
        embedding = process.embed(chosen, items, store, device=device, time_limit=timeout)
    except (process.EmbeddingFailedError, process.EmbeddingSkippedError) as error:
        click.echo(f"{chosen.name} on {dataset}: {error}", err=True)
        sys.exit(1)
    write_embedding(output, identify(chosen, items), embedding)
    click.echo(f"{output}: {embedding.features.shape[0]} x {embedding.features.shape[1]}")


@main.group()
def leaderboard() -> None:
    """Build boards from records."""


@leaderboard.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def build(folder: Path) -> None:
    """Rebuild leaderboard.md and leaderboard.json in FOLDER from its spec.toml and results/."""
    from .leaderboard.publish import publish

    board = publish(folder)
    scored = sum(row.state == "ok" for table in board.datasets for row in table.rows)
    click.echo(f"{folder / 'leaderboard.md'}: {len(board.datasets)} data sets, {scored} scored cells")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--prune", is_flag=True, help="Remove environments that no registered target asks for.")
def environments(as_json: bool, prune: bool) -> None:
    """List the environments built so far, who shares them and what they take on disk."""
    from .embedding.environments import inventory, remove
    from .registry import list_targets

    paths: dict[Path, list[str]] = {}
    for name, target in list_targets().items():
        paths.setdefault(target.path, []).append(name)
    found = inventory(paths)
    if prune:
        for entry in found:
            if not entry["targets"]:
                remove(entry["digest"])
                click.echo(f"removed {entry['digest']}")
        found = [entry for entry in found if entry["targets"]]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    rows = [[e["digest"], f"{e['mib']:.0f}", e["packages"], ", ".join(e["targets"]) or "(none)"] for e in found]
    click.echo(_table(rows, ["environment", "MiB", "packages", "targets"]))
    click.echo("Sizes count each hard-linked file once, in the first environment that holds it.")


@main.command()
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder to write them to.")
def schema(output: Path | None) -> None:
    """Print, or write, the JSON Schema of records and boards."""
    from .results import json_schemas

    for name, content in json_schemas().items():
        text = json.dumps(content, indent=1) + "\n"
        if output is None:
            click.echo(text, nl=False)
        else:
            output.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(text, "utf-8")


def _names(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)


def _table(rows: list[list[Any]], head: list[str]) -> str:
    from tabulate import tabulate

    return str(tabulate(rows, head, tablefmt="simple", disable_numparse=True))
