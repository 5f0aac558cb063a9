"""Commands about data sets: build, card, sample."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ._common import say
from ._options import OutputPath


@click.group("dataset")
def dataset_group() -> None:
    """Build data sets on this machine, and draw samples from them."""


@dataset_group.command("build")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--output", type=OutputPath(folder=True), help="Folder for the table, instead of the cache.")
@click.option(
    "--from",
    "local",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the source's files, if they can't be downloaded.",
)
@click.option("--fresh", is_flag=True, help="Build again, even if the table or a part of it exists.")
def build_command(names: tuple[str, ...], output: Path | None, local: Path | None, fresh: bool) -> None:
    """Build data sets from their pinned sources; an interrupted build resumes.

    Sources and tables are stored in the suite's cache. `consilience list datasets` lists the data sets.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from consilience.building.build import BuildFailedError, build_dataset
    from consilience.cache import check_cache
    from consilience.escaping import shown
    from consilience.registry import get_dataset

    check_cache()
    console = Console(stderr=True)
    for entry in [get_dataset(name) for name in names]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task(entry.name, total=None)

            def tell(line: str, name: str = entry.name) -> None:
                console.print(shown(f"{name}: {line}"), highlight=False, markup=False)

            def progress(done: int, total: int, bar: Progress = bar, task: Any = task) -> None:
                bar.update(task, completed=done, total=total)

            try:
                built = build_dataset(entry, output=output, local=local, fresh=fresh, progress=progress, tell=tell)
            except BuildFailedError as error:
                say(str(error), err=True)
                sys.exit(1)
        manifest = built.manifest
        say(f"{built.path}: {manifest['items']:,} items, sha256 {manifest['sha256']}")
        for what in ("dropped", "duplicates"):
            if manifest[what]:
                counts = "; ".join(f"{reason}: {count:,}" for reason, count in manifest[what].items())
                say(f"  {what}: {counts}")


@dataset_group.command("card")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def card_command(name: str, as_json: bool) -> None:
    """Print the card of a data set: contents, source and omitted items."""
    from consilience.registry import get_dataset

    card = get_dataset(name).card
    say(json.dumps(card.model_dump(mode="json"), indent=1) if as_json else card.markdown(), nl=as_json)


@dataset_group.command("sample")
@click.argument("dataset")
@click.option("--n", required=True, type=click.IntRange(min=1), help="Number of items.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@click.option("--stratify", help="Column whose groups are sampled in proportion (formula, prototype, ...).")
@click.option("--output", type=OutputPath(), help="File for the ids, one per line.")
def sample_command(dataset: str, n: int, seed: int, stratify: str | None, output: Path | None) -> None:
    """Draw N ids of DATASET: equal on all machines; a smaller N gives the first ids of a larger one."""
    from consilience.datasets.items import open_dataset
    from consilience.files import write_atomically
    from consilience.user_files import dataset_name

    items = open_dataset(dataset_name(dataset))
    ids = items.sample(n, seed=seed, stratify=stratify).ids
    text = "\n".join(ids) + "\n"
    if output is None:
        say(text, nl=False)
    else:
        write_atomically(output, text)
        say(f"{output}: {len(ids):,} of {len(items):,} ids")
