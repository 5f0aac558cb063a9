"""Commands that list and create: list, new, environments, schema."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from ._common import cell, say, table
from ._options import OutputPath


@click.command("list")
@click.argument("what", type=click.Choice(["targets", "datasets", "metrics"]), default="targets")
@click.option("--json", "as_json", is_flag=True, help="Print cards as JSON.")
def list_command(what: str, as_json: bool) -> None:
    """List targets (default), data sets or metrics."""
    entries: dict[str, Any]
    if what == "metrics":
        from consilience.metrics import list_metrics

        entries = dict(list_metrics())
    else:
        from consilience import registry

        entries = getattr(registry, f"list_{what}")()
    cards = [entry.card for entry in entries.values()]
    if as_json:
        say(json.dumps([card.model_dump(mode="json") for card in cards], indent=1))
        return
    columns = {
        "targets": ["name", "family", "modality", "parameters", "dimension", "trained_on", "access"],
        "datasets": ["name", "matter", "items", "views", "licence", "title"],
        "metrics": ["name", "inputs", "higher_is_more_alike", "symmetric", "version"],
    }[what]
    rows = [[cell(getattr(card, name)) for name in columns] for card in cards]
    if what == "datasets":
        from consilience.datasets.tables import where_is

        columns.insert(1, "here")
        for row in rows:
            row.insert(1, where_is(row[0]))
    say(table(rows, columns))
    if what == "datasets":
        say("To build a missing data set: consilience dataset build NAME. Its card: consilience dataset card NAME.")


@click.group()
def new() -> None:
    """Write example files."""


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
@click.option("--output", type=OutputPath(), help="target_NAME.py by default.")
def new_target(name: str, modality: str, family: str | None, output: Path | None) -> None:
    """Write a working target file, with comments that mark where to put your model."""
    from consilience.templates import target_file

    text = target_file(name, modality, family)
    path = output or Path(f"target_{re.sub(r'[^a-z0-9]+', '_', name)}.py")
    if path.exists():
        raise ValueError(f"{path} already exists: name another file with --output")
    path.write_text(text, "utf-8")
    say(f"{path}: put your model where it says REPLACE, then run")
    say(f"  consilience check {path}        # test the rules that every target has to satisfy")
    say(f"  pytest --benchmark {path}       # compute its alignment with the references")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--prune", is_flag=True, help="Remove environments that no registered target uses.")
@click.option("--build", is_flag=True, help="Build the missing environments of the suite's targets.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Concurrent builds.")
def environments(as_json: bool, prune: bool, build: bool, jobs: int) -> None:
    """List the environments, the targets that share them, and their size on disk."""
    from consilience.isolation.environments import inventory, remove
    from consilience.registry import list_targets

    if build:
        _build_environments(jobs)
        return

    paths: dict[Path, list[str]] = {}
    for name, target in list_targets().items():
        paths.setdefault(target.path, []).append(name)
    entries = inventory(paths)
    if prune:
        for entry in entries:
            if not entry["targets"]:
                remove(entry["digest"])
                say(f"removed {entry['digest']}")
        entries = [entry for entry in entries if entry["targets"]]
    if as_json:
        say(json.dumps(entries, indent=1))
        return
    rows = [[e["digest"], f"{e['mib']:.0f}", e["packages"], ", ".join(e["targets"]) or "(none)"] for e in entries]
    say(table(rows, ["environment", "MiB", "packages", "targets"]))
    say("A hard-linked file is counted once, in the first environment that contains it.")


def _build_environments(jobs: int) -> None:
    """Build the environments of the suite's targets and recipes; exit code 1 where one can't be built."""
    from concurrent.futures import ThreadPoolExecutor

    from consilience.header import Header
    from consilience.isolation.environments import EnvironmentBuildError, ensure, python_of
    from consilience.registry import PACKAGE, list_targets

    paths = {target.path for target in list_targets().values() if target.path.is_relative_to(PACKAGE)}
    headers = {header.digest: header for path in sorted(paths) if python_of(header := Header.of(path)) is None}
    failed = 0

    def build(header: Header) -> str:
        try:
            ensure(header)
        except EnvironmentBuildError as error:
            return f"failed: {error}"
        return "built"

    with ThreadPoolExecutor(jobs) as pool:
        for number, (header, state) in enumerate(
            zip(headers.values(), pool.map(build, headers.values()), strict=True), 1
        ):
            failed += state != "built"
            say(f"{number}/{len(headers)} {header.digest[:16]} {state}", err=True)
    say(f"{len(headers) - failed} environments built, {failed} failed")
    sys.exit(1 if failed else 0)


@click.command()
@click.option("--output", type=OutputPath(folder=True), help="Folder to write them to.")
def schema(output: Path | None) -> None:
    """Print, or write, the JSON Schema of records and boards."""
    from consilience.board.schemas import json_schemas

    for name, content in json_schemas().items():
        text = json.dumps(content, indent=1) + "\n"
        if output is None:
            say(text, nl=False)
        else:
            output.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(text, "utf-8")
