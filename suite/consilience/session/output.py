"""Files and final output of a session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from consilience.files import write_atomically

if TYPE_CHECKING:
    from consilience.records.record import Record
    from consilience.records.run import SavedRun

    from .session import Session

#: A line names at most so many targets.
MAX_NAMES = 10


def save(session: Session, run: SavedRun) -> None:
    """Write the run where the request says, to be compared with later."""
    from consilience.records.schema import to_json

    if session.save_to is not None:
        write_atomically(session.save_to, to_json(run))


def write_scores(session: Session) -> None:
    """Write the board of the run as JSON, where the request names a file."""
    from consilience.records.schema import to_json

    path = session.request.json
    if path and path != "-" and session.board is not None:
        write_atomically(Path(path), to_json(session.board))


def write_reports(session: Session) -> None:
    """Write the comparison, else the run, as Markdown or JSON to each file that the request names."""
    from consilience.board.report import comparison_markdown, run_markdown
    from consilience.records.schema import to_json

    content = session.comparison or session.board
    if content is None or not session.request.report:
        return
    pages = [comparison_markdown(session.comparison)] if session.comparison is not None else []
    if session.board is not None:
        pages.append(run_markdown(session.board, session.records, limit=session.request.limit))
    for path in map(Path, session.request.report):
        write_atomically(path, to_json(content) if path.suffix == ".json" else "\n".join(pages))


def cell_line(record: Record, *, verbose: bool = False) -> str:
    """One line about a cell: its state, and with `verbose` what its embedding is like."""
    line = f"{record.dataset}::{record.target}: {record.state}" + (f" ({record.reason})" if record.reason else "")
    if verbose and record.state == "ok":
        details = [f"{record.coverage:.1%} of the items", f"{record.dimension} columns"]
        details += [f"{record.items_per_second:.3g} items/s"] if record.items_per_second else []
        line += f"; {', '.join(details)}"
    return line


def lines(session: Session) -> Iterator[str]:
    """Lines that a terminal shows at the end of a run."""
    from consilience.records.schema import to_json

    request = session.request
    if request.dry_run:
        from .forecast import forecast_lines

        yield from forecast_lines(session.forecast)
        return
    if session.board is None:
        return
    if request.json == "-":
        yield to_json(session.board).rstrip("\n")
    elif request.quiet:
        yield from _result_lines(session)
        yield from _interrupted_lines(session)
    else:
        yield from _report_lines(session)
        yield from _interrupted_lines(session)


def _result_lines(session: Session) -> Iterator[str]:
    """The result in as few lines as possible: cells by state, those that failed, the verdict."""
    from consilience.board.report import headline

    for record in session.records:
        if record.state == "failed":
            yield cell_line(record)
    states = Counter(record.state for record in session.records)
    yield ", ".join(f"{number} {state}" for state, number in states.items()) or "no cells"
    yield from _missing_pairs(session)
    if session.comparison is not None:
        yield headline(session.comparison)


def _interrupted_lines(session: Session) -> Iterator[str]:
    """Last lines: cells for which memory or time ended, and why."""
    for record in session.records:
        if f"{record.dataset}::{record.target}" in session.interrupted:
            yield f"not the target's failure, and tried again in the next run: {cell_line(record)}"


def _report_lines(session: Session) -> Iterator[str]:
    from consilience.board.report import comparison_lines
    from consilience.board.terminal import summarize

    request = session.request
    assert session.board is not None
    if request.verbose:
        yield from (cell_line(record, verbose=True) for record in session.records)
    scored: dict[str, list[str]] = {}
    for record in session.records:
        scored.setdefault(record.dataset, []).append(record.target)
    yield from summarize(session.board, scored, session.records, limit=request.limit)
    if session.comparison is not None:
        yield from comparison_lines(session.comparison)
    if session.publish_to is not None:
        yield f"published: {session.publish_to / 'leaderboard.md'} and leaderboard.json"
        yield from _missing_pairs(session)
        if unchanged := _not_run_again(session):
            yield f"kept as published, not run again: {', '.join(unchanged)}"
            yield (f"(their embeddings are not available locally; {request.spelled('targets')}=NAMES makes them anew)")
    for path in (request.json, session.save_to, *request.report):
        if path:
            yield f"written: {path}"


def _missing_pairs(session: Session) -> Iterator[str]:
    """Name the targets that lack pairs on the board that was published."""
    for dataset, names in session.without_pairs.items():
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        yield f"{dataset}: pairs are missing: no embedding was found of {', '.join(names[:MAX_NAMES])}{more}"


def _not_run_again(session: Session) -> list[str]:
    """Targets on the board that a run of the whole board left as they are, on the data sets it was about."""
    if not session.whole_board or session.board is None:
        return []
    run = {(record.dataset, record.target) for record in session.records}
    datasets = {dataset for dataset, _ in run}
    tables = [table for table in session.board.datasets if table.name in datasets]
    rows = [(table.name, row.target) for table in tables for row in table.rows if row.state == "ok"]
    return sorted({target for dataset, target in rows if (dataset, target) not in run})
