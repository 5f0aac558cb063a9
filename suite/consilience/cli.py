"""The command line: ``consilience list | check | run | compare | embed | verify | submit | leaderboard | ...``.

Exit codes: 0 fine, 1 a cell failed or regressed, or a contract is broken, 2 could not run.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .leaderboard.verify import Report
    from .registry import Target
    from .runner import Runner

COULD_NOT_RUN = 2
_BOARD_OF_SUBMISSION = "Folder of the published board; without it, the spec shipped with the package."
_CARD_OF_CHECKPOINT = "TOML file that says of your weights what a board states (trained_on, licence_weights, ...)."


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
    rows = [[_cell(getattr(card, name)) for name in columns] for card in cards]
    if what == "datasets":
        from .datasets._tables import where_is

        columns.insert(1, "here")
        for row in rows:
            row.insert(1, where_is(row[0]))
    click.echo(_table(rows, columns))
    if what == "datasets":
        click.echo("Those that are not here yet: consilience dataset build NAME. More of each: dataset card NAME.")


@main.command()
@click.argument("target")
@click.option("--dataset", help="Data set (a name or your file) of the sample; the first one covered by default.")
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
    from .user_files import dataset_name

    chosen = _target(target, checkpoint, trust_checkpoint)
    dataset = dataset and dataset_name(dataset)
    try:
        report = check_target(chosen, dataset=dataset, n=n, device=device)
    except (EmbeddingFailedError, EmbeddingSkippedError) as error:
        click.echo(f"{chosen.name}: {error}", err=True)
        sys.exit(1)
    click.echo(json.dumps(asdict(report), indent=1) if as_json else str(report))
    sys.exit(0 if report.passed else 1)


@main.command()
@click.option("--targets", help="Names or target_*.py files, comma-separated; default: those on the board, else all.")
@click.option("--datasets", help="Names, or your own files, comma-separated; by default all of the board.")
@click.option("--board", type=click.Path(path_type=Path, file_okay=False), help="Board folder to publish into.")
@click.option("--fresh", is_flag=True, help="Ignore the shipped embeddings.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds per cell.")
@click.option("--n", type=click.IntRange(min=1), help="A seeded sample of so many items of each data set.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Keep the run, to be compared with.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def run(
    targets: str | None,
    datasets: str | None,
    board: Path | None,
    fresh: bool,
    device: str,
    timeout: float,
    n: int | None,
    save: Path | None,
    as_json: bool,
) -> None:
    """Score targets; with --board, publish the records and rebuild the board."""
    from .embedding.shards import write_atomically
    from .leaderboard.board import build_board
    from .leaderboard.compare import make_run
    from .leaderboard.publish import publish
    from .leaderboard.terminal import summarize
    from .registry import load_target_file
    from .results import Record, to_json
    from .runner import DEFAULT_SPEC, Cell, Runner, extend, plan, run_all
    from .spec import read_spec
    from .user_files import dataset_name

    spec = read_spec(board / "spec.toml" if board else DEFAULT_SPEC)
    chosen: list[Target | str] | None = None
    if targets:
        chosen = []
        for name in _names(targets) or []:
            chosen += load_target_file(name) if name.endswith(".py") else [name]
    names = [dataset_name(name) for name in _names(datasets) or []]
    own = [name for name in names if name not in {entry.name for entry in spec.datasets}]
    if board and own:
        raise ValueError(f"--board takes data sets of the board only; {', '.join(own)} is on none")
    if board and n:
        raise ValueError("--n scores a sample, which no board takes (drop --board)")
    spec = extend(spec, own)
    runner = Runner(spec, fresh=fresh, device=device, time_limit=timeout, limit=n)
    cells = plan(spec, targets=chosen, datasets=names or None, published=board, at_hand=runner.at_hand)

    def report(cell: Cell, record: Record) -> None:
        click.echo(f"{cell.id}: {record.state}" + (f" ({record.reason})" if record.reason else ""), err=True)

    records = run_all(runner, cells, done=report)
    built = publish(board, records, all_pairs=runner.all_pairs) if board else build_board(spec, records)
    if save:
        write_atomically(save, to_json(make_run(spec, records, limit=n)))
    if as_json:
        click.echo(to_json(built), nl=False)
    else:
        ran = {name: [r.target for r in records if r.dataset == name] for name in {r.dataset for r in records}}
        click.echo("\n".join(summarize(built, ran, records, limit=n)))
    sys.exit(1 if any(record.state == "failed" for record in records) else 0)


@main.command()
@click.argument("baseline")
@click.argument("run")
@click.option("--fail", "limits", multiple=True, metavar="LIMITS", help="Such as cknna:5%, dcor:0.02, mp-1k/cknna:5%.")
@click.option("--report", "reports", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
              help="Markdown file to write; JSON if it ends in .json.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def compare(baseline: str, run: str, limits: tuple[str, ...], reports: tuple[Path, ...], as_json: bool) -> None:
    """Compare RUN with BASELINE: saved runs (paths or names) or folders of boards.

    A figure regressed (exit code 1) if it is worse by more than its limit and by more than its interval. Runs that
    were measured differently are refused (exit code 2).
    """
    from .embedding.shards import write_atomically
    from .leaderboard.compare import compare as compare_runs
    from .leaderboard.compare import find_run, load_run
    from .leaderboard.gates import read_gates
    from .leaderboard.report import comparison_lines, comparison_markdown
    from .results import to_json

    gates = read_gates(limits)
    old, new = (load_run(find_run(name, Path.cwd())) for name in (baseline, run))
    found = compare_runs(old, new, gates, label=baseline)
    for path in reports:
        write_atomically(path, to_json(found) if path.suffix == ".json" else comparison_markdown(found))
    if as_json:
        click.echo(to_json(found), nl=False)
    else:
        click.echo("\n".join(comparison_lines(found)))
    sys.exit({"ok": 0, "regressed": 1}.get(found.verdict, COULD_NOT_RUN))


@main.command()
@click.argument("target")
@click.argument("dataset")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="safetensors file.")
@click.option("--n", type=click.IntRange(min=1), help="A seeded sample of so many items; all by default.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds.")
@click.option("--fresh", is_flag=True, help="Ignore the shipped embeddings.")
@_checkpoint_options
def embed(
    target: str,
    dataset: str,
    output: Path,
    n: int | None,
    seed: int,
    device: str,
    timeout: float,
    fresh: bool,
    checkpoint: Path | None,
    trust_checkpoint: bool,
) -> None:
    """Embed DATASET with TARGET and write features (n, d), ids and provenance to one safetensors file.

    DATASET is the name of a data set, or a file of your own structures, SMILES or sequences.
    """
    from .datasets.items import open_dataset
    from .embedding import process
    from .embedding.store import SHIPPED, Store, identify, write_embedding
    from .user_files import dataset_name

    chosen = _target(target, checkpoint, trust_checkpoint)
    items = open_dataset(dataset_name(dataset))
    items = items if n is None else items.sample(n, seed=seed)
    store = Store(shipped=None if fresh else SHIPPED)
    try:
        embedding = process.embed(chosen, items, store, device=device, time_limit=timeout)
    except (process.EmbeddingFailedError, process.EmbeddingSkippedError) as error:
        click.echo(f"{chosen.name} on {dataset}: {error}", err=True)
        sys.exit(1)
    write_embedding(output, identify(chosen, items), embedding)
    click.echo(f"{output}: {embedding.features.shape[0]} x {embedding.features.shape[1]}")


@main.group()
def new() -> None:
    """Write files to begin with."""


@new.command("target")
@click.argument("name", default="mymodel")
@click.option(
    "--modality",
    type=click.Choice(["atoms", "string", "graph", "protein_sequence", "protein_structure", "text"]),
    default="atoms",
    show_default=True,
    help="What the model reads.",
)
@click.option("--family", help="Models of one family share an architecture; NAME by default.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="target_NAME.py by default.")
def new_target(name: str, modality: str, family: str | None, output: Path | None) -> None:
    """Write a target file that works as it is, with comments where your model goes."""
    from .templates import target_file

    text = target_file(name, modality, family)
    path = output or Path(f"target_{re.sub(r'[^a-z0-9]+', '_', name)}.py")
    if path.exists():
        raise ValueError(f"{path} is there already: name another file with --output")
    path.write_text(text, "utf-8")
    click.echo(f"{path}: put your model where it says REPLACE, then")
    click.echo(f"  consilience check {path}        # does it keep the contract of a target?")
    click.echo(f"  pytest --benchmark {path}       # score it against the reference models")


@main.group("dataset")
def dataset_group() -> None:
    """Build data sets on this machine, and draw samples of them."""


@dataset_group.command("build")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for the table, instead of the cache."
)
@click.option(
    "--from",
    "local",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the source's files, where they can't be downloaded.",
)
@click.option("--fresh", is_flag=True, help="Begin anew, even if the table or a part of it stands.")
def build_command(names: tuple[str, ...], output: Path | None, local: Path | None, fresh: bool) -> None:
    """Build data sets from their pinned sources; an interrupted build goes on where it was.

    The sources and the table stay in the suite's cache; `consilience list datasets` names what there is.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .building.process import BuildFailedError, build_dataset
    from .registry import get_dataset

    console = Console(stderr=True)
    for entry in [get_dataset(name) for name in names]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task(entry.name, total=None)

            def tell(line: str, name: str = entry.name) -> None:
                console.print(f"{name}: {line}", highlight=False)

            def progress(done: int, total: int, bar: Progress = bar, task: Any = task) -> None:
                bar.update(task, completed=done, total=total)

            try:
                built = build_dataset(entry, output=output, local=local, fresh=fresh, progress=progress, tell=tell)
            except BuildFailedError as error:
                click.echo(str(error), err=True)
                sys.exit(1)
        manifest = built.manifest
        click.echo(f"{built.path}: {manifest['items']:,} items, sha256 {manifest['sha256']}")
        for what in ("dropped", "duplicates"):
            if manifest[what]:
                told = "; ".join(f"{reason}: {count:,}" for reason, count in manifest[what].items())
                click.echo(f"  {what}: {told}")


@dataset_group.command("card")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def card_command(name: str, as_json: bool) -> None:
    """Print the card of a data set: what it holds, where it comes from, what was left out."""
    from .registry import get_dataset

    card = get_dataset(name).card
    click.echo(json.dumps(card.model_dump(mode="json"), indent=1) if as_json else card.markdown(), nl=as_json)


@dataset_group.command("sample")
@click.argument("dataset")
@click.option("--n", required=True, type=click.IntRange(min=1), help="How many items.")
@click.option("--seed", default=0, show_default=True, help="Another seed is another sample.")
@click.option("--stratify", help="Column whose groups give their share each (formula, prototype, ...).")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File for the ids, one per line.")
def sample_command(dataset: str, n: int, seed: int, stratify: str | None, output: Path | None) -> None:
    """Draw N ids of DATASET: the same on every machine, and those of a smaller N come first."""
    from .datasets.items import open_dataset
    from .embedding.shards import write_atomically
    from .user_files import dataset_name

    items = open_dataset(dataset_name(dataset))
    ids = items.sample(n, seed=seed, stratify=stratify).ids
    text = "\n".join(ids) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomically(output, text)
        click.echo(f"{output}: {len(ids):,} of {len(items):,} ids")


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--board", type=click.Path(path_type=Path, exists=True, file_okay=False), help=_BOARD_OF_SUBMISSION)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def verify(path: Path, board: Path | None, as_json: bool) -> None:
    """Recompute what PATH, a board's folder or a submission's zip file, states, and say what differs.

    Nothing is embedded and nothing in a submission is run. What is not at hand is checked against itself only.
    Exit codes: 0 nothing found, 1 something found, 2 could not run.
    """
    from .leaderboard.submission import verify_submission
    from .leaderboard.verify import verify_board

    if path.is_dir():
        if board is not None:
            raise ValueError("--board belongs to a submission's zip file")
        with _progress("verify") as progress:
            report = verify_board(path, progress=progress)
    else:
        report, _ = verify_submission(path, _board_runner(board), board=board)
    _tell(report, as_json)
    sys.exit(1 if report.findings else 0)


@main.command()
@click.argument("target")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The zip file.")
@click.option("--datasets", help="Names, comma-separated; by default all of the board.")
@click.option("--board", type=click.Path(path_type=Path, exists=True, file_okay=False), help=_BOARD_OF_SUBMISSION)
@click.option("--card", type=click.Path(path_type=Path, exists=True, dir_okay=False), help=_CARD_OF_CHECKPOINT)
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds per cell.")
@_checkpoint_options
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

    The checklist says what a board asks for; the file is written where nothing of it is missing.
    """
    from .leaderboard.submission import complete_card, pack

    chosen = complete_card(_target(target, checkpoint, trust_checkpoint), card)
    runner = _board_runner(board, device=device, time_limit=timeout)
    with _progress("submit") as progress:
        checks = pack(chosen, runner, output, datasets=_names(datasets), board=board, progress=progress)
    click.echo(_table([["missing" if check.missing else "ok", *check] for check in checks], ["", "asked for", "why"]))
    refused = any(check.missing for check in checks)
    click.echo(f"{chosen.name}: not submitted" if refused else f"{output}: {output.stat().st_size:,} bytes")
    sys.exit(1 if refused else 0)


@main.group()
def leaderboard() -> None:
    """Build boards from records."""


@leaderboard.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("submission", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def add(folder: Path, submission: Path) -> None:
    """Verify SUBMISSION and add it to the board in FOLDER, with the scores computed here."""
    from .leaderboard.submission import add_submission

    report = add_submission(submission, folder, _board_runner(folder))
    _tell(report)
    refused = bool(report.findings or report.not_at_hand or not report.recomputed)
    click.echo(f"{submission}: not added" if refused else f"{folder}: {report.recomputed} cells added")
    sys.exit(1 if refused else 0)


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


def _board_runner(board: Path | None, **options: Any) -> Runner:
    """Runner of a board's spec; of the one shipped with the package where no folder is named."""
    from .runner import DEFAULT_SPEC, Runner
    from .spec import read_spec

    return Runner(read_spec(board / "spec.toml" if board else DEFAULT_SPEC), **options)


@contextmanager
def _progress(task: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on a terminal; elsewhere nothing. Called with what is done, what there is, and the next's name."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        shown = bar.add_task(task, total=None)
        yield lambda done, total, name: bar.update(shown, completed=done, total=total, description=name)


def _tell(report: Report, as_json: bool = False) -> None:
    from dataclasses import asdict

    click.echo(json.dumps(asdict(report), indent=1) if as_json else "\n".join(report.lines()))


def _names(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)


def _table(rows: list[list[Any]], head: list[str]) -> str:
    from tabulate import tabulate

    return str(tabulate(rows, head, tablefmt="simple", disable_numparse=True))
