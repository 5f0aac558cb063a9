"""Commands that run targets and compare runs: check, run, compare, embed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._common import COULD_NOT_RUN, checkpoint_options, device_option, find_target, say, say_aside
from ._options import OutputPath, limit_option, request_options

if TYPE_CHECKING:
    from consilience.callbacks import Progress
    from consilience.records.record import Record
    from consilience.scoring.cell import Cell


#: So many reasons for missing rows are printed.
MAX_REASONS = 3


@click.command()
@click.argument("target")
@click.option("--dataset", help="Data set (name or file) to sample; by default the first one that the target covers.")
@limit_option("--items", type=int, default=24, show_default=True, help="Sample size.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--sandbox", is_flag=True, help="Run TARGET, which somebody else wrote, without network and your files.")
@checkpoint_options
def check(
    target: str,
    dataset: str | None,
    limit: int,
    device: str,
    as_json: bool,
    sandbox: bool,
    checkpoint: Path | None,
    trust_checkpoint: bool,
) -> None:
    """Test the rules that every target has to satisfy on TARGET (a name or a target_*.py file).

    NAME@untrained tests the untrained twin (the same network with random weights), which needs no download.
    """
    from dataclasses import asdict

    from consilience.cache import check_cache
    from consilience.embedding.errors import EmbeddingFailedError, EmbeddingSkippedError
    from consilience.isolation.sandbox import SandboxError, confine, require
    from consilience.testing import check_target
    from consilience.user_files import dataset_name

    check_cache()
    try:
        kind = require(allowed_without=not sandbox)
    except SandboxError as error:
        raise ValueError(str(error).partition(", or allow")[0]) from error
    chosen = find_target(target, checkpoint, trust_checkpoint, confine=confine(kind) if sandbox else None)
    dataset = dataset and dataset_name(dataset)
    try:
        report = check_target(chosen, dataset=dataset, n=limit, device=device, sandbox=kind)
    except (EmbeddingFailedError, EmbeddingSkippedError) as error:
        say(f"{chosen.name}: {error}", err=True)
        sys.exit(1)
    say(json.dumps(asdict(report), indent=1) if as_json else str(report))
    sys.exit(0 if report.passed else 1)


@click.command()
@request_options
def run(**given: Any) -> None:
    """Score targets, as `pytest --benchmark` does; with --publish, add the records to a board and rebuild it.

    Options that are not given are read from environment variables (CONSILIENCE_LIMIT, ...) and from
    [tool.consilience] in pyproject.toml, or from the file named with --config.
    """
    from consilience.session.output import cell_line
    from consilience.session.progress import progress_of
    from consilience.session.request import fill
    from consilience.session.session import Session

    request = fill({name: None if value is False else value for name, value in given.items()}, front_end="run")
    session = Session(request, tell=say_aside)
    with progress_of("run", quiet=request.quiet) as show:

        def progress(cell: Cell) -> Progress:
            return lambda done, total: show(done, total, cell.id)

        def report(cell: Cell, record: Record) -> None:
            if not request.quiet or record.state == "failed":
                say(cell_line(record, verbose=request.verbose), err=True)

        result = session.execute(progress=progress, done=report)
    say(result.text)
    sys.exit(result.exit_code)


@click.command()
@click.argument("baseline")
@click.argument("run")
@click.option("--fail", "limits", multiple=True, metavar="LIMITS", help="E.g. cknna:5%, dcor:0.02, mp-1k/cknna:5%.")
@click.option("--report", "reports", multiple=True, type=OutputPath(),
              help="Markdown file to write; JSON if it ends in .json.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def compare(baseline: str, run: str, limits: tuple[str, ...], reports: tuple[Path, ...], as_json: bool) -> None:
    """Compare RUN with BASELINE: saved runs (paths or names) or folders of boards.

    A value regressed (exit code 1) if it is worse by more than its limit and by more than its interval. Runs with
    different measurements are refused (exit code 2).
    """
    from consilience.board.compare import compare as compare_runs
    from consilience.board.compare import find_run, load_run
    from consilience.board.gates import read_gates
    from consilience.board.report import comparison_lines, comparison_markdown
    from consilience.files import write_atomically
    from consilience.records.schema import to_json

    gates = read_gates(limits)
    old, new = (load_run(find_run(name, Path.cwd())) for name in (baseline, run))
    comparison = compare_runs(old, new, gates, label=baseline)
    for path in reports:
        write_atomically(path, to_json(comparison) if path.suffix == ".json" else comparison_markdown(comparison))
    if as_json:
        say(to_json(comparison), nl=False)
    else:
        say("\n".join(comparison_lines(comparison)))
    sys.exit({"ok": 0, "regressed": 1}.get(comparison.verdict, COULD_NOT_RUN))


@click.command()
@click.argument("target")
@click.argument("dataset")
@click.option("--output", required=True, type=OutputPath(), help="safetensors file.")
@limit_option("--n", type=click.IntRange(min=1), help="A seeded sample of N items; all by default.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@device_option
@click.option("--timeout", default=1800.0, show_default=True, help="Time limit in s.")
@click.option("--fresh", is_flag=True, help="Ignore the shipped embeddings.")
@checkpoint_options
def embed(
    target: str,
    dataset: str,
    output: Path,
    limit: int | None,
    seed: int,
    device: str,
    timeout: float,
    fresh: bool,
    checkpoint: Path | None,
    trust_checkpoint: bool,
) -> None:
    """Embed DATASET with TARGET and write features (n, d), ids and provenance to one safetensors file.

    DATASET is the name of a data set, or a file of your own structures, SMILES or sequences. The last line counts the
    rows that are missing, by reason. Where memory ended, the exit code is 1 and the next run embeds those rows.
    """
    from consilience.cache import check_cache
    from consilience.datasets.items import open_dataset
    from consilience.embedding.embed import embed as embed_items
    from consilience.embedding.errors import EmbeddingFailedError, EmbeddingInterruptedError, EmbeddingSkippedError
    from consilience.embedding.identity import identify
    from consilience.embedding.store import SHIPPED, Store, write_embedding
    from consilience.user_files import dataset_name

    check_cache()
    chosen = find_target(target, checkpoint, trust_checkpoint)
    items = open_dataset(dataset_name(dataset))
    items = items if limit is None else items.sample(limit, seed=seed)
    store = Store(shipped=None if fresh else SHIPPED)
    interruption = None
    try:
        embedding = embed_items(chosen, items, store, device=device, time_limit=timeout)
    except EmbeddingInterruptedError as error:
        if error.embedding is None:
            say(f"{chosen.name} on {dataset}: {error}", err=True)
            sys.exit(1)
        embedding, interruption = error.embedding, error
    except (EmbeddingFailedError, EmbeddingSkippedError) as error:
        say(f"{chosen.name} on {dataset}: {error}", err=True)
        sys.exit(1)
    write_embedding(output, identify(chosen, items), embedding)
    rows, columns = embedding.features.shape
    say(f"{output}: {rows} x {columns}{_missing_rows(embedding.reasons)}")
    if (precision := embedding.provenance.get("precision")) is not None:
        say(f"shipped rows, kept as {precision}; --fresh embeds anew, in full precision", err=True)
    if interruption is not None:
        say(f"{chosen.name} on {dataset}: {interruption}", err=True)
        sys.exit(1)


def _missing_rows(reasons: Mapping[int, str]) -> str:
    """How many rows are missing, and the most frequent reasons."""
    if not reasons:
        return ""
    counts = Counter(reasons.values()).most_common()
    listed = "; ".join(f"{count}: {reason}" for reason, count in counts[:MAX_REASONS])
    more = f"; and {len(counts) - MAX_REASONS} more reasons" if len(counts) > MAX_REASONS else ""
    return f", {len(reasons)} {'row' if len(reasons) == 1 else 'rows'} missing ({listed}{more})"
