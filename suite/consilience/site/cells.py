"""Cells and heads of the board's columns as HTML: `consilience.board.columns` decides which stand in which table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from consilience.board.formats import INTERVAL, Undefined
from consilience.board.numbers import SITE
from consilience.escaping import clean

from .chart import interval_svg

if TYPE_CHECKING:
    from markupsafe import Markup

    from consilience.board.columns import Column, Line


@dataclass(frozen=True)
class Table:
    """What the cells of a table share.

    Attributes
    ----------
    place
        Its place, of `consilience.board.columns.PLACES`.
    columns
        Its columns.
    root
        Way from the page to the site's root; None where targets have no pages.
    top
        End of the scale of small pictures.
    merged
        Whether a line without a score gives its reason in place of its intervals.
    """

    place: str
    columns: Sequence[Column]
    root: str | None = None
    top: float = 1.0
    merged: bool = True

    def heads(self) -> Markup:
        """Heads of the columns."""
        from markupsafe import Markup, escape

        return Markup().join(
            Markup('<th scope="col"{}>{}</th>').format(
                Markup(' class="n"') if column.format.numeric else "",
                Markup(str(escape(column.title_in(self.place))).replace("\u00ad", "&shy;")),  # noqa: S704 (escaped)
            )
            for column in self.columns
        )

    def cells(self, line: Line) -> Markup:
        """Cells of a line."""
        from markupsafe import Markup

        cells: list[Markup] = []
        reasoned = False
        for interval, columns in groupby(self.columns, lambda column: column.format is INTERVAL):
            those = list(columns)
            if interval and self.merged and line.row.state != "ok" and not reasoned:
                cells += [_reason(line, len(those)), *[Markup("<td hidden></td>")] * (len(those) - 1)]
                reasoned = True
            else:
                cells += [self._cell(column, line) for column in those]
        return Markup().join(cells)

    def _cell(self, column: Column, line: Line) -> Markup:
        from markupsafe import Markup, escape

        value, form = column.value(line), column.format
        draw = _ELEMENTS.get(form.element)
        content = draw(self, line, value) if draw else escape(clean(form.text(value, SITE)))
        if form.element in ("target", "name"):
            return Markup('<th scope="row">{}</th>').format(content)
        style = "n" if form.numeric else "state" if form.element == "state" else ""
        attributes = Markup(' class="{}"').format(style) if style else Markup()
        if column.key is not None or form.key is not None:
            key = column.key(line) if column.key is not None else form.key(value) if form.key is not None else None
            attributes += Markup(' data-v="{}"').format("" if key is None else key)
        return Markup("<td{}>{}</td>").format(attributes, content)


def address(name: str) -> str:
    """Part of an address."""
    return quote(name, safe="@+-._~")


def _reason(line: Line, columns: int) -> Markup:
    from markupsafe import Markup

    reason = f": {clean(line.row.reason)}" if line.row.reason else ""
    return Markup('<td colspan="{}" data-v="" class="why">{}{}</td>').format(columns, line.row.state, reason)


def _name(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import Markup, escape

    if table.root is not None:
        return Markup('<a href="{}target/{}.html">{}</a>').format(table.root, address(line.row.target), line.row.target)
    return Markup("<mark>{}</mark>").format(line.row.target) if line.own else escape(line.row.target)


def _target(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import Markup

    marks = Markup(' <abbr title="control, never ranked">c</abbr>') if line.row.control else Markup()
    marks += Markup(' <abbr title="reference">r</abbr>') if line.row.reference else Markup()
    return _name(table, line, value) + marks


def _interval(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import Markup

    if value is None or value.value is None:
        return Markup('<span class="none">{}</span>').format(SITE.absent)
    # The picture holds nothing but numbers.
    picture = Markup(interval_svg(value.value, value.low, value.high, table.top))  # noqa: S704
    return Markup('<span class="num">{}</span>{}<span class="iv-text">{}</span>').format(
        SITE.number(value.value), picture, SITE.ends(value.low, value.high)
    )


def _carried(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import Markup

    if isinstance(value, Undefined):
        return Markup('<span class="none">{}</span>').format(value.word)
    if value is None or value.value is None:
        return Markup('<span class="none">{}</span>').format(SITE.absent)
    number, _, ends = SITE.carried(value.value, value.low, value.high).partition(" ")
    picture = Markup(interval_svg(value.value, value.low, value.high, table.top))  # noqa: S704
    star = " *" if getattr(value, "stays", False) else ""
    return Markup('<span class="num">{}{}</span>{}<span class="iv-text">{}</span>').format(number, star, picture, ends)


def _words(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import escape

    return escape(SITE.absent if value is None else str(value).replace("_", " "))


def _distribution(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import Markup, escape

    side, overlap, domain = value
    seen = Markup(" <small>({} seen)</small>").format(SITE.percent(overlap)) if overlap is not None else Markup()
    made_for = Markup(" <small>(for {})</small>").format(domain) if domain and side == "out" else Markup()
    return escape(side or SITE.absent) + seen + made_for


def _baseline(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import Markup, escape

    error, without = value
    small = Markup(" <small>({})</small>").format(SITE.number(without, 4)) if without is not None else Markup()
    return escape(SITE.number(error, 4)) + small


def _state(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import Markup, escape

    if line.row.reason and (line.row.state == "ok" or not table.merged):
        return Markup('{}: <span class="reason">{}</span>').format(line.row.state, clean(line.row.reason))
    return escape(line.row.state)


def _record(table: Table, line: Line, value: Any) -> Markup:
    from markupsafe import Markup

    dataset = line.table.name if line.table is not None else ""
    label = f"record of {line.row.target} on {dataset}" if table.place == "site" else f"record on {dataset}"
    return Markup('<a href="{}records/{}/{}.json" aria-label="{}">JSON</a>').format(
        table.root or "", address(dataset), address(line.row.target), label
    )


_ELEMENTS: dict[str, Callable[[Table, Line, Any], Markup]] = {
    "target": _target,
    "name": _name,
    "interval": _interval,
    "carried": _carried,
    "words": _words,
    "distribution": _distribution,
    "baseline": _baseline,
    "state": _state,
    "record": _record,
}
