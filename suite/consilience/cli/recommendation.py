"""``consilience recommend``: a model to select or to distil for the structures in a file."""

from __future__ import annotations

import csv
import io
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._common import device_option, say
from ._options import OutputPath

if TYPE_CHECKING:
    from consilience.datasets.items import Items
    from consilience.embedding.store import Embedding, Store
    from consilience.recommend.analysis import LeftOut, Recommendation
    from consilience.registry import Target

#: Number of names printed for one reason; --json and --output contain all.
_SHOWN = 12


@click.command("recommend")
@click.option("--structures", required=True, metavar="FILE", help="Structures, SMILES or sequences, or a data set.")
@click.option("--property", "column", metavar="COLUMN", help="Column to predict; an energy is taken per atom.")
@click.option("--per-atom", is_flag=True, help="Divide the column by the number of atoms.")
@click.option("--targets", help="Names or files, comma-separated; by default those available locally or quick.")
@click.option("--cached", is_flag=True, help="Compare only targets with stored embeddings.")
@click.option("--quick", type=click.FloatRange(min=0), default=60.0, show_default=True,
              help="Time limit in s for embedding with targets that --targets does not name.")  # fmt: skip
@click.option("--same", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="Mean calibrated CKNNA above which models count as equivalent.")  # fmt: skip
@device_option
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds per target.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--output", type=OutputPath(),
              help="File to write: JSON if it ends in .json, the table if in .csv, else Markdown.")  # fmt: skip
def recommend_command(
    structures: str,
    column: str | None,
    per_atom: bool,
    targets: str | None,
    cached: bool,
    quick: float,
    same: float,
    device: str,
    timeout: float,
    as_json: bool,
    output: Path | None,
) -> None:
    """Recommend a model to select, or to distil, for your own data.

    The command compares models on your items: the error of a linear probe of your property (--property), their
    alignment beyond composition, which models are equivalent, and their cost. Exit codes: 0 success, 2 could not run.
    """
    from consilience.datasets.items import open_dataset
    from consilience.embedding.store import Store
    from consilience.files import write_atomically
    from consilience.recommend.analysis import LeftOut, choose_candidates, recommend
    from consilience.recommend.values import property_of
    from consilience.records.schema import to_json
    from consilience.user_files import dataset_name, is_path

    if per_atom and column is None:
        raise ValueError("--per-atom needs --property, which is missing")
    items = open_dataset(dataset_name(structures))
    probed = None
    if column is not None:
        path = Path(structures) if is_path(structures) else None
        probed = property_of(items, column, path=path, per_atom=per_atom)
    store = Store()
    if targets:
        chosen, left = _named(targets), list[LeftOut]()
    else:
        chosen, left = choose_candidates(items, store, quick=quick, cached=cached)
    embeddings, failed = _embed(chosen, items, store, cached=cached, device=device, timeout=timeout)
    left += failed
    recommendation = recommend(items, embeddings, probed, same=same, left_out=left, progress=_tell)
    if output is not None:
        write_atomically(output, _as_file(recommendation, output.suffix.lower()))
    if as_json:
        say(to_json(recommendation), nl=False)
    else:
        say("\n".join(lines(recommendation)))


def _named(targets: str) -> list[Target]:
    from consilience.registry import get_target, load_target_file

    chosen: dict[str, Target] = {}
    for name in filter(None, map(str.strip, targets.split(","))):
        for target in load_target_file(name) if name.endswith(".py") else [get_target(name)]:
            chosen[target.name] = target
    if not chosen:
        raise ValueError(f"--targets: expected names, found {targets!r}")
    return list(chosen.values())


def _embed(
    targets: list[Target], items: Items, store: Store, *, cached: bool, device: str, timeout: float
) -> tuple[dict[str, tuple[Target, Embedding]], list[LeftOut]]:
    """Embeddings by target, computed if missing; and the targets that failed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from consilience.embedding.embed import covered_items, embed
    from consilience.embedding.errors import EmbeddingFailedError, EmbeddingSkippedError
    from consilience.embedding.identity import identify
    from consilience.recommend.analysis import LeftOut

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    results: dict[str, tuple[Target, Embedding]] = {}
    left = []
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        for number, target in enumerate(targets, 1):
            try:
                covered_items(target, items)
                embedding = store.get(identify(target, items))
                if embedding is None and cached:
                    raise EmbeddingSkippedError("its embedding is not available locally (--cached)")
                if embedding is None:
                    label = f"{target.name} ({number} of {len(targets)})"
                    if not console.is_terminal:
                        say(f"embedding {label}", err=True)
                    task = bar.add_task(label, total=len(items))

                    def progress(done: int, total: int, task: Any = task) -> None:
                        bar.update(task, completed=done, total=total)

                    embedding = embed(target, items, store, device=device, time_limit=timeout, progress=progress)
                    bar.remove_task(task)
            except (EmbeddingFailedError, EmbeddingSkippedError) as error:
                left.append(LeftOut(target=target.name, reason=str(error).splitlines()[0]))
            else:
                results[target.name] = (target, embedding)
    return results, left


def _tell(done: int, total: int, what: str) -> None:
    """Update one line of a terminal; print nothing elsewhere."""
    if sys.stderr.isatty():
        text = "" if done == total else f"{done}/{total} {what}"
        say(f"\r\033[K{text}", err=True, nl=False)


_HEAD = ("rank", "target", "family", "data", "alignment", "probe error", "s per 1,000", "says the same as")


def lines(recommendation: Recommendation) -> Iterator[str]:
    """Lines of the output: recommendation, table, notes, omitted targets."""
    from tabulate import tabulate

    yield recommendation.sentence
    yield ""
    yield from tabulate(
        _rows(recommendation), _headings(recommendation), tablefmt="simple", disable_numparse=True
    ).splitlines()
    yield ""
    yield from _notes(recommendation)


def _headings(recommendation: Recommendation) -> list[str]:
    probed = recommendation.probed
    named = {"probe error": f"probe error{f', {probed.unit}' if probed and probed.unit else ''}"}
    return [named.get(name, name) for name in _HEAD if probed is not None or name != "probe error"]


def _rows(recommendation: Recommendation) -> list[list[str]]:
    from consilience.recommend.analysis import in_brackets

    rows = []
    for one in recommendation.candidates:
        kind = "" if one.trained else " (control)" if one.modality == "baseline" else " (untrained)"
        others = [name for name in recommendation.groups[one.group - 1] if name != one.target]
        row = [
            "" if one.rank is None else f"{one.rank}{'=' if one.tied else ''}",
            one.target + kind,
            one.family,
            f"{one.distribution or '-'}" + ("" if one.coverage == 1 else f", {one.coverage:.1%}"),
            "-" if one.alignment.value is None else in_brackets(one.alignment),
            *([] if recommendation.probed is None else ["-" if one.probe is None else in_brackets(one.probe)]),
            "-" if one.seconds_per_1000 is None else f"{one.seconds_per_1000:,.3g}",
            ", ".join(others),
        ]
        rows.append(row)
    if recommendation.probed is not None:
        rows.append(["", "no embedding", "", "", "", in_brackets(recommendation.probed.baseline), "", ""])
    return rows


def _notes(recommendation: Recommendation) -> Iterator[str]:
    compared = recommendation.compared_on
    some = "" if compared == recommendation.items else f" ({compared:,} that all candidates embed)"
    yield (
        f"{recommendation.dataset}: {recommendation.items:,} items{some}; brackets are 95 % intervals. data: in or out "
        "of the distribution that a model was trained on."
    )
    yield (
        "alignment: mean calibrated CKNNA beyond composition with the trained candidates of other families (0 is "
        f"chance). Models say the same from {recommendation.same:g} on (average linkage)."
    )
    if (probed := recommendation.probed) is not None:
        per_atom = " per atom" if probed.per_atom else ""
        yield (
            f"probe error: mean absolute error of {probed.name}{per_atom} over {probed.items:,} items, ridge "
            "regression out of fold on what composition and size leave. =: tied on these items, the cheaper first."
        )
    yield "s per 1,000: seconds per thousand items when each was embedded, on whatever machine that was (--json says)."
    reasons = defaultdict(list)
    for one in recommendation.left_out:
        reasons[one.reason].append(one.target)
    if reasons:
        yield f"left out ({len(recommendation.left_out)}):"
    for reason, names in sorted(reasons.items(), key=lambda item: len(item[1])):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"  {reason}: {', '.join(names[:_SHOWN])}{more}"


def _as_file(recommendation: Recommendation, suffix: str) -> str:
    from tabulate import tabulate

    from consilience.escaping import markdown
    from consilience.records.schema import to_json

    if suffix == ".json":
        return to_json(recommendation)
    if suffix == ".csv":
        return _csv(recommendation)
    rows = [[markdown(str(cell)) if isinstance(cell, str) else cell for cell in row] for row in _rows(recommendation)]
    table = tabulate(rows, _headings(recommendation), tablefmt="github", disable_numparse=True)
    notes = "\n".join(
        f"  {markdown(line.strip())}" if line.startswith("  ") else f"\n{markdown(line)}"
        for line in _notes(recommendation)
    )
    return f"{markdown(recommendation.sentence)}\n\n{table}\n{notes}\n"


def _csv(recommendation: Recommendation) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        "rank", "tied", "target", "family", "modality", "trained", "distribution", "coverage", "alignment",
        "alignment_low", "alignment_high", "probe_error", "probe_low", "probe_high", "items_per_second",
        "seconds_per_1000", "group", "representative",
    ])  # fmt: skip
    for one in recommendation.candidates:
        probe = one.probe
        writer.writerow([
            one.rank, one.tied, one.target, one.family, one.modality, one.trained, one.distribution, one.coverage,
            one.alignment.value, one.alignment.low, one.alignment.high, *([None] * 3 if probe is None else
            [probe.value, probe.low, probe.high]), one.items_per_second, one.seconds_per_1000, one.group,
            one.representative,
        ])  # fmt: skip
    return text.getvalue()
