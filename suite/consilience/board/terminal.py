"""What a run prints at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from consilience.records.board import Board, DatasetBoard
from consilience.records.record import Record

from .columns import lay_out, lines_of
from .markdown import discrimination_words, tabulated
from .words import in_words, published

#: Of so many targets at most the place is put in words: beyond that the table says it better.
MOST_WORDS = 3


def summarize(
    board: Board, ran: Mapping[str, Sequence[str]], records: Sequence[Record], *, limit: int | None = None
) -> Iterator[str]:
    """Lines of a run's summary: a table per data set, discrimination, and every cell that is not ok.

    Parameters
    ----------
    board
        Board that holds the run's records.
    ran
        By data set, the targets that this run was about.
    records
        The run's records.
    limit
        Number of items of a quick look; says so.
    """
    for table in board.datasets:
        names = ran.get(table.name)
        if names:
            yield ""
            yield from _table(table, names, records, limit)
            own = [record for record in records if record.dataset == table.name and record.state == "ok"]
            if len(own) <= MOST_WORDS:
                for record in own:
                    # A sample's figures depend on its size: only what was measured in this run is said of it.
                    words = in_words(record, None if limit else published().get(table.name))
                    yield from (f"  {record.target}: {line}" for line in words)
    others = [record for record in records if record.state != "ok"]
    if others:
        yield ""
        yield "not scored"
        for record in others:
            yield f"  {record.dataset}::{record.target}  {record.state}: {record.reason}"
    yield ""


def quick_look(limit: int | None) -> str:
    """Say that figures of a sample are not those of a board; empty where all items were scored."""
    return f"  QUICK LOOK at {limit} items: not comparable with a board" if limit else ""


def _table(table: DatasetBoard, names: Sequence[str], records: Sequence[Record], limit: int | None) -> Iterator[str]:
    rows = [row for row in table.rows if row.target in names and row.state == "ok"]
    yield f"{table.name}: alignment with {', '.join(table.references)}{quick_look(limit)}"
    if not rows:
        return
    everything = {row.target for row in table.rows if not row.control} <= set(names)
    lines = lines_of(table, rows, records)
    # Where not every competitor is in the table, ranks would mean nothing.
    main = lay_out("terminal", lines, without=() if everything else ("rank",))
    yield from tabulated(main, "simple").splitlines()
    if everything:
        yield "c control, r reference; discrimination (trained against untrained, 0.5 is a coin toss):"
        for preset in table.discrimination:
            words = discrimination_words(table, preset)
            if words:
                yield f"  {words}"
    else:
        yield ""
        yield from tabulated(lay_out("details", lines), "simple").splitlines()
