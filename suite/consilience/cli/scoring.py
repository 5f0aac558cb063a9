"""Commands that run targets and compare runs: check, run, compare, embed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._common import COULD_NOT_RUN, checkpoint_options, find_target, names_in

if TYPE_CHECKING:
    from consilience.registry import Target


@click.command()
@click.argument("target")
@click.option("--dataset", help="Data set (a name or your file) of the sample; the first one covered by default.")
@click.option("--items", "n", default=24, show_default=True, help="Sample size.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@checkpoint_options
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

    from consilience.embedding.embed import EmbeddingFailedError, EmbeddingSkippedError
    from consilience.testing import check_target
    from consilience.user_files import dataset_name

    chosen = find_target(target, checkpoint, trust_checkpoint)
    dataset = dataset and dataset_name(dataset)
    try:
        report = check_target(chosen, dataset=dataset, n=n, device=device)
    except (EmbeddingFailedError, EmbeddingSkippedError) as error:
        click.echo(f"{chosen.name}: {error}", err=True)
        sys.exit(1)
    click.echo(json.dumps(asdict(report), indent=1) if as_json else str(report))
    sys.exit(0 if report.passed else 1)


@click.command()
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
    from consilience.board.board import build_board
    from consilience.board.compare import make_run
    from consilience.board.publish import publish
    from consilience.board.remarks import read_remarks
    from consilience.board.terminal import summarize
    from consilience.files import write_atomically
    from consilience.records.record import Record, to_json
    from consilience.records.spec import DEFAULT_SPEC, read_spec
    from consilience.registry import load_target_file
    from consilience.scoring.scorer import Cell, Runner
    from consilience.session.plan import extend, plan
    from consilience.session.session import run_all
    from consilience.user_files import dataset_name

    spec = read_spec(board / "spec.toml" if board else DEFAULT_SPEC)
    if board:
        read_remarks(board, spec)  # refused before anything is scored
    chosen: list[Target | str] | None = None
    if targets:
        chosen = []
        for name in names_in(targets) or []:
            chosen += load_target_file(name) if name.endswith(".py") else [name]
    names = [dataset_name(name) for name in names_in(datasets) or []]
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


@click.command()
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
    from consilience.board.compare import compare as compare_runs
    from consilience.board.compare import find_run, load_run
    from consilience.board.gates import read_gates
    from consilience.board.report import comparison_lines, comparison_markdown
    from consilience.files import write_atomically
    from consilience.records.record import to_json

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


@click.command()
@click.argument("target")
@click.argument("dataset")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="safetensors file.")
@click.option("--n", type=click.IntRange(min=1), help="A seeded sample of so many items; all by default.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds.")
@click.option("--fresh", is_flag=True, help="Ignore the shipped embeddings.")
@checkpoint_options
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
    from consilience.datasets.items import open_dataset
    from consilience.embedding.embed import EmbeddingFailedError, EmbeddingSkippedError
    from consilience.embedding.embed import embed as embed_items
    from consilience.embedding.identity import identify
    from consilience.embedding.store import SHIPPED, Store, write_embedding
    from consilience.user_files import dataset_name

    chosen = find_target(target, checkpoint, trust_checkpoint)
    items = open_dataset(dataset_name(dataset))
    items = items if n is None else items.sample(n, seed=seed)
    store = Store(shipped=None if fresh else SHIPPED)
    try:
        embedding = embed_items(chosen, items, store, device=device, time_limit=timeout)
    except (EmbeddingFailedError, EmbeddingSkippedError) as error:
        click.echo(f"{chosen.name} on {dataset}: {error}", err=True)
        sys.exit(1)
    write_embedding(output, identify(chosen, items), embedding)
    click.echo(f"{output}: {embedding.features.shape[0]} x {embedding.features.shape[1]}")
