"""Put the figures of the published board into README.md, between its markers, and list targets, data sets and options.

Run after publishing, after adding a target, and after changing an option.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from consilience.board.board import read_records
from consilience.board.columns import lay_out, lines_of
from consilience.board.headline import CAPTION, training_section
from consilience.board.markdown import modality_matrix, tabulated
from consilience.board.numbers import PLAIN
from consilience.datasets.tables import DATA
from consilience.records import DEFAULT_BOARD
from consilience.records.board import Board
from consilience.records.record import Record
from consilience.registry import PACKAGE, Target, list_datasets, list_targets
from consilience.scoring.presets import PRESET_TITLES
from consilience.session.request import Option, options

ROOT = Path(__file__).resolve().parents[1]
TARGETS_PAGE = PACKAGE / "targets" / "README.md"
DATASETS_PAGE = PACKAGE / "datasets" / "README.md"
RUNNING_PAGE = ROOT / "docs" / "running.md"


def discrimination(board: Board) -> str:
    """Discrimination of each preset on each data set: among 3D models / across modalities."""
    rows = [["preset", *(table.name for table in board.datasets)]]
    for preset, title in PRESET_TITLES.items():
        found = [table.discrimination[preset] for table in board.datasets]
        rows.append([title, *(f"{PLAIN.number(d.value, 2)} / {PLAIN.number(d.across_modalities, 2)}" for d in found)])
    return tabulated(rows, "pipe")


TARGETS_HEAD = """# Targets

Written by `scripts/update_readme.py` from the cards; one file each.

*weights*: "package", inside the packages that the target's environment installs; "download", fetched on first use;
"gated", fetched once their owner has granted you access; "file", none: the target reads yours. Only targets of the
first kind run without being named (`--align-targets`). Those marked "twin" have an untrained twin, `NAME@untrained`.
The last column says which file of yours a target reads: `pytest --benchmark --align-adapter=NAME
--align-checkpoint=FILE`.
"""


def targets_page() -> str:
    """Return the page that lists all targets of the suite."""
    own = [target for target in list_targets().values() if target.path.is_relative_to(PACKAGE)]
    lines = [TARGETS_HEAD]
    by_modality: dict[str, list[Target]] = {}
    for target in own:
        by_modality.setdefault(target.card.modality, []).append(target)
    for modality, targets in by_modality.items():
        rows = []
        for target in sorted(targets, key=lambda target: (target.path, target.name)):
            card = target.card
            rows.append(
                [
                    f"[{target.path.stem}]({target.path.relative_to(PACKAGE / 'targets').as_posix()})",
                    f"`{card.name}`",
                    card.title or card.name,
                    f"{card.parameters:,}" if card.parameters else "",
                    card.dimension or "",
                    ", ".join(card.trained_on or ()) or ("" if card.trained_on is None else "nothing"),
                    card.access,
                    card.licence_weights or "",
                    "twin" if card.untrained else "",
                    card.accepts or "",
                ]
            )
        head = [
            "file",
            "name",
            "model",
            "parameters",
            "columns",
            "trained on",
            "weights",
            "their licence",
            "",
            "your file",
        ]
        lines += [f"## {modality} ({len(rows)})", "", tabulated([head, *rows], "pipe", own=True), ""]
    return "\n".join(lines)


DATASETS_HEAD = """# Data sets

Written by `scripts/update_readme.py` from the cards; one file each source.

What is not shipped is built on your machine, once: from pinned packages, from the Hugging Face hub, or, where no
program may fetch the source, from a folder that you name (`--from FOLDER`). A build that was interrupted goes on where
it was. Your own files need none of this: `--align-datasets=PATH`.
"""


def datasets_page() -> str:
    """Return the page with the card of every data set of the suite."""
    entries = [entry for entry in list_datasets().values() if entry.path.is_relative_to(PACKAGE)]
    rows = []
    for entry in entries:
        card = entry.card
        shipped = (DATA / f"{card.name}.parquet").is_file()
        rows.append(
            [
                f"[{card.name}](#{card.name.replace('.', '')})",
                card.matter,
                "" if card.items is None else f"{card.items:,}",
                ", ".join(view for view in card.views if view != "id"),
                "shipped with the suite" if shipped else f"`{card.recipe}`",
                f"[{entry.path.name}]({entry.path.name})",
                card.title,
            ]
        )
    head = ["name", "matter", "items", "views", "had from", "file", "what"]
    cards = [entry.card.markdown() for entry in entries]
    return "\n".join([DATASETS_HEAD, tabulated([head, *rows], "pipe", own=True), "", *cards])


def spelling(option: Option, name: str) -> str:
    """Option with its value, as people write it."""
    return f"`{name} {option.metavar}`" if option.metavar else f"`{name}`"


def options_table(*, sources: bool) -> str:
    """Return all options of a run, from the fields of the request; with `sources`, where else each may be set."""
    rows = []
    for option in options().values():
        of_run = spelling(option, f"--{option.word}") + (f", `-{option.short}`" if option.short else "")
        of_pytest = spelling(option, f"--align-{option.word}") if option.pytest else f"`-{option.short}`"
        default = option.default
        shown = f" (default: {default if isinstance(default, str) else format(default, 'g')})" if default else ""
        row = [of_pytest, of_run, option.help + shown]
        if sources:
            row[2:2] = [
                f"`{option.variable}`" if "environment" in option.sources else "no",
                "yes" if "repository" in option.sources else "`--config` only" if "config" in option.sources else "no",
            ]
        rows.append(row)
    head = ["pytest", "`consilience run`", *(["variable", "in files"] if sources else []), "meaning"]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def with_options(text: str) -> str:
    """Return a page with its table of options replaced."""
    for name, sources in (("options", False), ("options and sources", True)):
        table = options_table(sources=sources)
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, t=table: m[1] + t + m[2], text, flags=re.S)
    return text


def filled(text: str, board: Board, records: Iterable[Record] = ()) -> str:
    """Return the page with its tables replaced; `records` are for columns of what only they have."""
    table = board.datasets[0]
    scored = lines_of(table, (row for row in table.rows if row.state == "ok"), records)
    excerpt = tabulated(lay_out("readme", scored), "pipe")
    rows = modality_matrix(board.datasets[0])
    matrix = tabulated(rows, "pipe") if rows else ""
    words, training = training_section(board)
    lines = "\n".join(f"- {one}" for one in words)
    answer = (
        ("training", f"{lines}\n\n{tabulated(training, 'pipe')}\n\n{CAPTION}")
        if words
        else ("discrimination", discrimination(board))
    )
    for name, table in (answer, ("board", excerpt), ("modalities", matrix)):
        text, found = re.subn(
            rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", lambda m, t=table: m[1] + t + m[2], text, flags=re.S
        )
        if not found:
            raise ValueError(f"README.md has no markers for {name}")
    return text


if __name__ == "__main__":
    page, folder = ROOT / "README.md", ROOT / "leaderboard" / DEFAULT_BOARD
    board = Board.model_validate_json((folder / "leaderboard.json").read_text("utf-8"))
    records = read_records(folder / "results")
    page.write_text(with_options(filled(page.read_text("utf-8"), board, records)), "utf-8")
    RUNNING_PAGE.write_text(with_options(RUNNING_PAGE.read_text("utf-8")), "utf-8")
    TARGETS_PAGE.write_text(targets_page(), "utf-8")
    DATASETS_PAGE.write_text(datasets_page(), "utf-8")
