"""Building the site: every page, figure and data file into a new folder, swapped in when all of it stands."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.board.columns import columns_of
from consilience.board.headline import CAPTION, training_section
from consilience.board.markdown import discrimination_words, modality_matrix, training_lines
from consilience.board.remarks import EVERY_TABLE, GENERAL, read_remarks
from consilience.cards import UNTRAINED
from consilience.records.migrations import as_version
from consilience.records.schema import to_json
from consilience.scoring.presets import PRESETS
from consilience.study import Study, list_figures
from consilience.study.claims import judge
from consilience.study.study import kind_of

from . import cells, drawings, pages
from .chart import WHOLE, Drawn, bundle_files, draw_figure, whole_bundle, write_data
from .vendor import FOLDER as VENDORED

if TYPE_CHECKING:
    from consilience.datasets.items import Items

STATIC = Path(__file__).parent / "static"
#: Says that a folder was made by us, and may be replaced.
MARKER = ".consilience-site.json"
#: Told as a step begins: what it is, how many are done, how many there are.
StageProgress = Callable[[str, int, int], None]

#: Name of the part that judges the paper's claims; no data set's, which begin with a letter or a digit.
_CLAIMS = "#claims"

_README = """\
---
title: "{title}"
sdk: static
app_file: index.html
colorFrom: indigo
colorTo: green
pinned: false
---

# Consilience leaderboard {board}

Static pages made by `consilience site`: open `index.html`, or serve the folder as it is (a static Hugging Face Space,
GitHub Pages). Nothing is loaded from elsewhere. Do not edit: build it anew.
"""


@dataclass
class Built:
    """What was made.

    Attributes
    ----------
    output
        Folder of the site.
    pages
        Number of pages.
    figures
        Number of figures drawn.
    size
        Bytes in all.
    seconds
        Time taken.
    failures
        One line for each figure or part that could not be made.
    slowest
        CPU seconds by figure, summed over data sets.
    """

    output: Path
    pages: int = 0
    figures: int = 0
    size: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)


@dataclass
class _Part:
    """What the pages need of the drawn and written parts of one data set (or of the board, under "")."""

    figures: list[Drawn] = field(default_factory=list)
    sample: list[dict[str, Any]] = field(default_factory=list)
    strata: list[tuple[str, int, str]] = field(default_factory=list)
    spaces: list[str] = field(default_factory=list)
    claims: list[Any] = field(default_factory=list)
    error: str = ""


def build_site(
    board: Path, output: Path, *, jobs: int | None = None, progress: StageProgress = lambda what, done, total: None
) -> Built:
    """Write the site of a board.

    Parameters
    ----------
    board
        Folder of the board.
    output
        Folder of the site; one that exists is replaced if it is a site of ours or empty.
    jobs
        Processes that draw; as many as there are processors (4 at most) by default; 1: none besides this one.
    progress
        Told of every step.

    Returns
    -------
    Built
        What was made, and what could not be.

    Raises
    ------
    ValueError
        The output folder holds something else, the board can't be read, or a name can't be a file name.
    """
    started = time.perf_counter()
    refuse_foreign(output)
    study = Study(board)
    if not study.datasets:
        raise ValueError(f"board: {board} has no data set")
    for name in study.datasets:
        for target in study.records(name, scored=False):
            pages.safe_name(target)
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as temporary:
        new = Path(temporary) / "site"
        new.mkdir()
        parts = _draw_all(study, board, new, jobs, progress)
        built = Built(output)
        for name, part in parts.items():
            where = name.strip("#") or "board"
            built.failures += [f"{where}: {part.error}"] if part.error else []
            built.failures += [f"figure {one.name}: {one.error}" for one in part.figures if one.error]
            built.figures += sum(not one.error for one in part.figures)
            for one in part.figures:
                built.slowest[one.card.name] = built.slowest.get(one.card.name, 0.0) + one.seconds
        _write_pages(study, parts, new, progress)
        built.pages = sum(1 for _ in new.rglob("*.html"))
        built.size = sum(file.stat().st_size for file in new.rglob("*") if file.is_file())
        told = {"board": study.board.board, "pages": built.pages, "failures": built.failures}
        (new / MARKER).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
        _swap(new, output, Path(temporary) / "old")
    built.seconds = time.perf_counter() - started
    return built


def refuse_foreign(output: Path) -> None:
    """Raise `ValueError` where a folder holds anything but a site of ours."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise ValueError(f"output: {output} is not a folder")
    if output.is_dir() and not (output / MARKER).is_file() and any(output.iterdir()):
        raise ValueError(
            f"output: {output} exists and is no site made by consilience (it has no {MARKER}); name another"
        )


def _swap(new: Path, output: Path, old: Path) -> None:
    if output.exists():
        output.rename(old)
    try:
        new.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise


# -- drawing, in several processes -----------------------------------------------------------------------------------


def _draw_all(study: Study, board: Path, new: Path, jobs: int | None, progress: StageProgress) -> dict[str, _Part]:
    names = ["", _CLAIMS, *study.datasets]
    jobs = min(os.cpu_count() or 1, 4, len(names)) if jobs is None else jobs
    done = 0
    found: dict[str, _Part] = {}
    if jobs <= 1:
        for name in names:
            progress(f"drawing {name.strip('#') or 'board'}", done, len(names))
            found[name] = _draw_part(study, name, new)
            done += 1
        return found
    # The largest first, so that no process is left alone with it at the end.
    names.sort(key=lambda name: len(study.records(name)) if name in study.datasets else 10**6, reverse=True)
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting: dict[Future[_Part], str] = {pool.submit(_draw_apart, board, name, new): name for name in names}
        while waiting:
            progress(
                f"drawing {', '.join(name or 'board' for name in list(waiting.values())[:jobs])}", done, len(names)
            )
            finished, _ = wait_for(waiting, return_when="FIRST_COMPLETED")
            for future in finished:
                found[waiting.pop(future)] = future.result()
                done += 1
    return {name: found[name] for name in ("", _CLAIMS, *study.datasets)}


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that share the processors must not each start a thread for every one of them."""
    old = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
    os.environ.update(dict.fromkeys(old, "1"))
    try:
        yield
    finally:
        for name, value in old.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _draw_apart(board: Path, name: str, new: Path) -> _Part:
    return _draw_part(_study_of(board), name, new)


@lru_cache(maxsize=1)
def _study_of(board: Path) -> Study:
    """The board, read once in each process, with the embeddings that its figures opened."""
    return Study(board)


def _draw_part(study: Study, name: str, new: Path) -> _Part:
    """Draw the figures of a data set (of the board where `name` is empty) and its items, or judge the claims."""
    part = _Part()
    if name == _CLAIMS:
        try:
            part.claims = list(judge(study))
        except Exception as error:  # the other pages are right without them
            part.error = f"{type(error).__name__}: {error}".splitlines()[0]
        return part
    scope = "dataset" if name else "board"
    for one in list_figures().values():
        if one.card.scope == scope and (drawn := draw_figure(study, one, name, new)) is not None:
            part.figures.append(drawn)
    if name:
        try:
            _write_items(study, name, new, part)
        except (ValueError, LookupError, OSError) as error:  # data of another revision, or not built here
            part.error = f"items can't be shown: {error}"
    return part


def _write_items(study: Study, name: str, new: Path, part: _Part) -> None:
    items = study.items(name)
    queries = drawings.choose(items, drawings.QUERIES)
    spaces = drawings.neighbours(study, name, queries)
    sample = drawings.choose(items, drawings.SAMPLE)
    shown = sorted({*sample, *queries, *(one for space in spaces.values() for near in space for one in near)})
    part.spaces = list(spaces)
    part.sample = [_shown(items, one) for one in sample]
    part.strata = [_stratum(items, column) for column in items.card.strata]
    _write(new / f"data/items/{name}.js", f"items/{name}", {str(one): _shown(items, one) for one in shown})
    content = {"queries": queries, "spaces": spaces, "references": study.dataset(name).references}
    _write(new / f"data/neighbours/{name}.js", f"neighbours/{name}", content)
    for start in range(0, len(items), drawings.CHUNK):
        chunk = f"structures/{name}-{start // drawings.CHUNK}"
        those = range(start, min(start + drawings.CHUNK, len(items)))
        _write(new / f"data/{chunk}.js", chunk, {str(one): drawings.structure(items, one) for one in those})
    _write(new / f"data/ids/{name}.js", f"ids/{name}", items.ids)


def _write(path: Path, key: str, content: Any) -> None:
    write_data(path, key, json.dumps(content, separators=(",", ":"), ensure_ascii=False))


def _shown(items: Items, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "id": items.ids[index],
        "label": drawings.label(items, index),
        "svg": drawings.draw(items, index),
    }


def _stratum(items: Items, column: str) -> tuple[str, int, str]:
    """Name of a stratum, its number of groups, and its largest ones in words."""
    import numpy as np

    groups, sizes = np.unique(items.strata(column), return_counts=True)
    largest = np.argsort(-sizes, kind="stable")[:5]
    return column, len(groups), ", ".join(f"{groups[i] or 'none'} ({sizes[i]})" for i in largest)


# -- pages -----------------------------------------------------------------------------------------------------------


def _write_pages(study: Study, parts: dict[str, _Part], new: Path, progress: StageProgress) -> None:
    jinja = pages.environment()
    figures = sorted((one for part in parts.values() for one in part.figures), key=lambda one: one.card.order)
    by_name: dict[str, list[Drawn]] = defaultdict(list)
    for one in figures:
        by_name[one.card.name].append(one)
    targets = list(dict.fromkeys(name for data in study.datasets for name in study.records(data, scored=False)))
    total = 3 + len(study.datasets) + len(targets) + len(figures)
    done = 0

    def page(address: str, template: str, **context: Any) -> None:
        nonlocal done
        progress(f"page {address}", done, total)
        done += 1
        path = new / address
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {"root": "../" * address.count("/"), "here": address, "board": study.board, "all_figures": by_name}
        path.write_text(jinja.get_template(template).render(**told, **context), "utf-8")

    _copy_static(new, {tab.bundle for one in figures for tab in one.tabs})
    _write_records(study, new)
    remarks = read_remarks(study.folder, study.board.spec)
    answers = pages.answers(study)
    sentences, training = training_section(study.board)
    page(
        "index.html",
        "index.html",
        training_words=sentences,
        training_table=training,
        training_caption=CAPTION,
        picture=next((one for one in by_name.get("training-gain", ()) if not one.error), None),
        answers=answers,
        words=pages.answer_words(answers),
        matters=pages.matters(study),
        generality=study.board.generality,
        remarks=remarks.get(GENERAL),
        scored=len({name for data in study.datasets for name in study.records(data)}),
    )
    for table in study.board.datasets:
        rows = pages.lines(study, table.name)
        page(
            f"dataset/{table.name}.html",
            "dataset.html",
            table=table,
            lines=rows,
            main=cells.Table("site", columns_of("site", rows), "../", pages.top_of(rows)),
            others=cells.Table("site details", columns_of("site details", rows), "../"),
            details=pages.dataset_lines(table),
            part=parts[table.name],
            remarks=[remarks.get(place, "") for place in (table.name, EVERY_TABLE)],
            training=training_lines(table),
            discrimination=[words for preset in PRESETS if (words := discrimination_words(table, preset))],
            groups=modality_matrix(table),
        )
    for target in targets:
        where = pages.places(study, target)
        if not where:  # a record that the board's table leaves out
            continue
        shown = next((place.record for place in where if place.record.state == "ok"), where[0].record)
        twin = f"{target}{UNTRAINED}"
        page(
            f"target/{target}.html",
            "target.html",
            target=target,
            record=shown,
            kind=kind_of(shown),
            places=where,
            scores=cells.Table("target", columns_of("target", [place.line for place in where]), "../"),
            words=pages.closest_words(where),
            card=pages.card_lines(shown),
            paper=pages.reference_address(shown.card.reference),
            spaces=[place.dataset for place in where if target in parts[place.dataset].spaces],
            twin=twin if twin in targets else None,
        )
    for one in figures:
        page(f"figure/{one.name}.html", "figure.html", figure=one, others=by_name[one.card.name])
    page("figures.html", "figures.html", figures=list(by_name.values()))
    page("study.html", "study.html", part=parts[_CLAIMS])


def _copy_static(new: Path, bundles: set[str]) -> None:
    static = new / "static"
    shutil.copytree(STATIC, static, ignore=shutil.ignore_patterns("vendor", "__pycache__"))
    vendor = static / "vendor"
    vendor.mkdir()
    wanted = {file for name, file in bundle_files().items() if name in bundles}
    wanted |= {one.name for one in VENDORED.iterdir() if one.suffix == ".txt" or one.name.startswith("3Dmol")}
    for name in wanted:
        shutil.copyfile(VENDORED / name, vendor / name)
    if WHOLE in bundles:
        shutil.copyfile(whole_bundle(), vendor / "plotly.min.js")


def _write_records(study: Study, new: Path) -> None:
    for name in study.datasets:
        folder = new / "records" / name
        folder.mkdir(parents=True)
        for target, record in study.records(name, scored=False).items():
            text = to_json(as_version(record, study.board.spec.schema_version))  # as in the board's own folder
            (folder / f"{target}.json").write_text(text, "utf-8")
    (new / ".nojekyll").write_text("", "utf-8")
    title = study.board.title.replace('"', "'")
    (new / "README.md").write_text(_README.format(title=title, board=study.board.board), "utf-8")
