"""Commands of the cache: why a score is valid or stale, sizes, removal, damage."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from ._common import say, table


@click.command()
@click.argument("cell")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Your weights, read by the target.")
@click.option("--limit", type=click.IntRange(min=1), help="The seeded sample of N items that a quick look takes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(cell: str, checkpoint: Path | None, limit: int | None, as_json: bool) -> None:
    """Say which inputs make the stored embedding of CELL valid or stale.

    CELL is DATASET::TARGET, or FILE::DATASET::TARGET for a target of your own file, as pytest prints it.
    """
    from consilience.datasets.items import open_dataset
    from consilience.embedding.housekeeping import explain as explain_cell
    from consilience.records.spec import DEFAULT_SPEC, read_spec
    from consilience.session.select import select_targets
    from consilience.user_files import dataset_name

    cells = select_targets([cell], "CELL").cells
    if not cells:
        raise ValueError(f"{cell!r} is not the id of a cell: expected DATASET::TARGET or FILE::DATASET::TARGET")
    seed = read_spec(DEFAULT_SPEC).settings.seed
    explanations = []
    for dataset, target in cells:
        chosen = target if checkpoint is None else target.from_checkpoint(checkpoint)
        items = open_dataset(dataset_name(dataset))
        explanations.append(explain_cell(chosen, items if limit is None else items.sample(limit, seed=seed)))
    if as_json:
        say(json.dumps([asdict(one) for one in explanations], indent=1))
    else:
        say("\n".join(line for one in explanations for line in one.lines()))


@click.group("cache")
def cache_group() -> None:
    """Show, prune or check what the suite keeps on this machine."""


@cache_group.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool) -> None:
    """Print what the cache folder holds, with sizes."""
    from consilience.cache import cache_dir
    from consilience.embedding.housekeeping import sizes

    rows = sizes()
    if as_json:
        say(json.dumps({"folder": str(cache_dir()), "kinds": rows}, indent=1))
        return
    say(f"{cache_dir()}: {sum(row['mib'] for row in rows):,.0f} MiB")
    say(table([[r["kind"], r["files"], f"{r['mib']:,.1f}", r["holds"]] for r in rows], ["", "files", "MiB", ""]))
    say("next: consilience cache prune --days 90, consilience environments --remove-unused")


@cache_group.command()
@click.option("--days", type=click.FloatRange(min=0), default=90.0, show_default=True, help="Age of what is removed.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed.")
def prune(days: float, dry_run: bool) -> None:
    """Remove embeddings, unfinished shards and scores that were not written for so many days."""
    from consilience.embedding.housekeeping import prune as prune_cache

    removed = prune_cache(days=days, dry_run=dry_run)
    for path, size in removed:
        say(f"{'would remove' if dry_run else 'removed'} {path} ({size / 2**20:.1f} MiB)")
    say(f"{len(removed)} entries, {sum(size for _, size in removed) / 2**20:,.1f} MiB")


@cache_group.command()
@click.option("--remove", is_flag=True, help="Remove what is damaged.")
def verify(remove: bool) -> None:
    """Check each stored embedding against its checksum; exit code 1 where one is damaged."""
    from consilience.embedding.housekeeping import damaged

    count = 0
    for path, reason in damaged():
        count += 1
        say(f"{path}: {reason}{'; removed' if remove else ''}")
        if remove:
            path.unlink(missing_ok=True)
    say(f"{count} damaged" + ("; consilience cache verify --remove removes them" if count and not remove else ""))
    sys.exit(1 if count and not remove else 0)
