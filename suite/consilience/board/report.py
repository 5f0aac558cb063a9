"""A run and its comparison with a baseline, as lines for a terminal and as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consilience.escaping import code, markdown
from consilience.records.board import Board
from consilience.records.record import Record
from consilience.records.run import ComparedCell, ComparedFigure, Comparison

from .columns import lay_out, lines_of
from .compare import cell_lost
from .gates import figure_kinds
from .markdown import tabulated
from .numbers import COMPARED
from .terminal import quick_look

_VERDICTS = {
    "same": "same",
    "better": "better",
    "noise": "within noise",
    "worse": "worse",
    "regressed": "REGRESSED",
    "undecided": "undecided",
}
_NOTE = (
    "Differences are new - old, with the 95 % interval over draws of the items (both sides scored on the same halves). "
    "A figure regressed if it is worse by more than is allowed and by more than its interval; a figure without an "
    "interval is judged by what is allowed alone. The spread between two trainings of one model is in no interval."
)


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Lines for a terminal."""
    yield f"compared with {comparison.baseline}{quick_look(comparison.limit)}"
    rows = _table(comparison.cells)
    if len(rows) > 1:
        yield from tabulated(rows, "simple").splitlines()
    for what, cells in (("not in this run", comparison.gone), ("not in the baseline", comparison.added)):
        if cells:
            yield f"{what}: {_few(cells)}"
    if comparison.remarks:
        yield f"also differs: {_few(comparison.remarks)}"
    yield from (f"could not be judged: {problem}" for problem in comparison.problems)
    yield headline(comparison)


def comparison_markdown(comparison: Comparison) -> str:
    """Markdown page: the verdict first, what can wait folded."""
    rows = _table(comparison.cells)
    parts = [f"**{headline(comparison)}**" + quick_look(comparison.limit)]
    parts += [f"- could not be judged: {markdown(problem)}" for problem in comparison.problems]
    if len(rows) > 1:
        parts.append(tabulated(rows, "pipe"))
    details = [_NOTE]
    details += [f"Baseline: `{code(comparison.baseline)}`. Limits: {markdown(', '.join(comparison.gates)) or 'none'}."]
    for what, cells in (("In the baseline only", comparison.gone), ("New", comparison.added)):
        if cells:
            details.append(f"{what}: {markdown(_few(cells, 40))}.")
    if comparison.remarks:
        details.append(
            "\n".join(["Other differences:", "", *(f"- {markdown(remark)}" for remark in comparison.remarks)])
        )
    parts.append("<details><summary>How to read this, and what else differs</summary>\n\n" + "\n\n".join(details))
    return "\n\n".join(parts) + "\n\n</details>\n"


def run_markdown(board: Board, records: Sequence[Record], *, limit: int | None = None) -> str:
    """Markdown page of a run's own cells: a table per data set, and every cell that is not scored."""
    parts = ["## Alignment" + quick_look(limit)]
    for table in board.datasets:
        ran = {record.target for record in records if record.dataset == table.name and record.state == "ok"}
        rows = [row for row in table.rows if row.target in ran]
        if rows:
            parts.append(f"{table.name}: alignment with {', '.join(table.references)}")
            parts.append(tabulated(lay_out("run", lines_of(table, rows, records)), "pipe"))
    others = [[one.dataset, one.target, one.state, one.reason or ""] for one in records if one.state != "ok"]
    if others:
        parts.append(tabulated([["data set", "target", "not scored", "reason"], *others], "pipe"))
    return "\n\n".join(parts) + "\n"


def headline(comparison: Comparison) -> str:
    """Verdict in one line."""
    gated = [figure for cell in comparison.cells for figure in cell.figures if figure.allowed is not None]
    regressed = sum(figure.verdict == "regressed" for cell in comparison.cells for figure in cell.figures)
    lost = sum(cell_lost(cell) for cell in comparison.cells)
    if comparison.verdict == "regressed":
        told = [f"{regressed} of {len(gated)} gated figures"] if regressed else []
        told += [f"{lost} of {len(comparison.cells)} cells, which are not scored any more"] if lost else []
        return f"Alignment regressed: {' and '.join(told)}"
    if comparison.verdict == "refused":
        return "Alignment was not compared"
    if comparison.verdict == "undecided":
        return "Alignment could not be judged"
    if not gated:
        return f"Alignment compared in {len(comparison.cells)} cells; no limit was set"
    return f"Alignment held: none of {len(gated)} gated figures regressed"


def cell_words(cell: ComparedCell) -> str:
    """What regressed in a cell, in one line; empty where nothing did."""
    if cell_lost(cell):
        return f"it was scored in the baseline and is {cell.states[1]} now: {cell.reason}"
    titles = figure_kinds()
    words = [
        f"{titles[f.name].title} {COMPARED.number(f.old, 4)}, now {COMPARED.number(f.new, 4)} "
        f"({_difference(f)}; allowed {COMPARED.number(f.allowed, 4)})"
        for f in cell.figures
        if f.verdict == "regressed"
    ]
    return "; ".join(words)


def _table(cells: Sequence[ComparedCell]) -> list[list[str]]:
    titles = figure_kinds()
    rows = [["data set", "target", "figure", "old", "new", "difference [95 %]", "allowed", "verdict"]]
    for cell in cells:
        if cell_lost(cell):
            rows.append([cell.dataset, cell.target, "", *cell.states, "", "", "REGRESSED"])
        for f in cell.figures:
            allowed = "" if f.allowed is None else COMPARED.number(f.allowed, 4)
            figures = [COMPARED.number(f.old, 4), COMPARED.number(f.new, 4), _difference(f), allowed]
            rows.append([cell.dataset, cell.target, titles[f.name].title, *figures, _VERDICTS[f.verdict]])
    return rows


def _few(names: Sequence[str], most: int = 6) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _difference(figure: ComparedFigure) -> str:
    found = figure.difference
    if found.value is None:
        return ""
    if found.low is None or found.high is None:
        return COMPARED.signed(found.value)
    return f"{COMPARED.signed(found.value)} [{COMPARED.signed(found.low)}, {COMPARED.signed(found.high)}]"
