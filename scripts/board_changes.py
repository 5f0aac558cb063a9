"""Write what changed from one board to the next, target by target, with the reasons.

``python scripts/board_changes.py v1 v2 --output leaderboard/v2/from-v1.md`` reads both folders below ``leaderboard``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from consilience.board.board import read_records
from consilience.board.markdown import tabulated
from consilience.board.numbers import PLAIN
from consilience.board.publish import read_board
from consilience.files import write_atomically
from consilience.records.board import Board, DatasetBoard, Row
from consilience.records.record import Record
from consilience.scoring.gain import is_own_twin

LEADERBOARD = Path(__file__).resolve().parents[1] / "leaderboard"
#: Data sets that have a successor under another name.
SUCCESSORS = {"mof-500": "mof-500-v2"}

HEAD = """\
# From board {old} to board {new}

Scores of the two boards do not compare: they are different figures of different preparations. This page says, for each
target, where it stood and where it stands, and why that differs.

- **figure**: for all rows. On {old} a score is calibrated by the null's 95 % quantile and cut off at 0; on {new} it
  is the excess over the null's mean, cut off nowhere, so that scores subtract.
- **references**: others than on {old}, or others left out because they are of the target's lineage.
- **dominant rows**: a few items of its embedding, or of a reference's, had most of the squared length and decided the
  scale of columns. On {new} they do not.
- **mended**: its rows are others than on {old}, since its code was wrong; its card has a new revision.
- **items**, **k**: the data set, or the number of neighbours, is another.
- **linear**: what is left beyond linear composition is rounding noise; it has no score on {new}.

Ranks in brackets are those that the intervals leave open. On {old} these leave out the choice of references.
"""


def rank_of(row: Row | None) -> str:
    """Rank with the ranks that are left open."""
    if row is None or row.rank is None:
        return ""
    low, high = row.rank_interval or (row.rank, row.rank)
    return str(row.rank) if low == high else f"{row.rank} ({low}\N{EN DASH}{high})"


def score_of(row: Row | None, preset: str) -> str:
    """Alignment of a row."""
    one = row.alignment.get(preset) if row is not None else None
    return "" if one is None or one.value is None else PLAIN.number(one.value)


def reasons(old: Record, new: Record, references: dict[str, Record], same_items: bool) -> str:
    """Why a row differs, beyond the figure itself."""
    found = []
    before, after = (set(one.ranking_score.pairs) if one.ranking_score else set() for one in (old, new))
    added, removed = sorted(after - before), sorted(before - after)
    if added or removed:
        signed = [*(f"+{one}" for one in added), *(f"\N{MINUS SIGN}{one}" for one in removed)]
        found.append(f"references {', '.join(signed)}")
    dominant = [name for name in [new.target, *sorted(after)] if dominant_rows(references.get(name))]
    if dominant:
        counts = [f"{name} {dominant_rows(references.get(name))}" for name in dominant]
        found.append(f"dominant rows ({', '.join(counts)})")
    if old.card.revision != new.card.revision:
        found.append(f"mended ({old.card.revision} \N{RIGHTWARDS ARROW} {new.card.revision})")
    if not same_items:
        found.append("items")
    k = [one.provenance.settings.get("k") if one.provenance else None for one in (old, new)]
    if k[0] != k[1]:
        found.append(f"k {k[0]} \N{RIGHTWARDS ARROW} {k[1]}")
    if new.ranking_score is None or new.ranking_score.alignment.value is None:
        found.append(f"linear: {new.reason}" if new.reason else "linear")
    return "; ".join(found)


def dominant_rows(record: Record | None) -> int:
    """Dominant rows of an embedding in the ranked preparation."""
    examined = record.examined.get(record.ranked or "") if record is not None else None
    return examined.dominant if examined is not None else 0


def section(
    old: DatasetBoard,
    new: DatasetBoard,
    records: tuple[Sequence[Record], Sequence[Record]],
    ranked: tuple[str, str],
) -> str:
    """Table of one data set."""
    rows = [{row.target: row for row in table.rows} for table in (old, new)]
    by_name = [
        {one.target: one for one in of_board if one.dataset == table.name}
        for of_board, table in zip(records, (old, new), strict=True)
    ]
    names = [n for n in dict.fromkeys([*rows[1], *rows[0]]) if not is_own_twin(n)]
    lines = []
    for name in names:
        before, after = rows[0].get(name), rows[1].get(name)
        if before is None or before.state != "ok":
            why = "new on this board"
        elif after is None or after.state != "ok":
            why = f"not scored: {after.reason or after.state}" if after is not None else "not on this board"
        else:
            why = reasons(by_name[0][name], by_name[1][name], by_name[1], old.revision == new.revision)
        scores = score_of(before, ranked[0]), score_of(after, ranked[1])
        lines.append([name, rank_of(before), scores[0], rank_of(after), scores[1], why])
    title = new.name if old.name == new.name else f"{old.name} \N{RIGHTWARDS ARROW} {new.name}"
    head = ["target", "rank before", "score before", "rank now", "score now", "beyond the figure"]
    return f"## {title}\n\n{tabulated([head, *lines], 'pipe')}\n"


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    folders = [LEADERBOARD / name for name in (options.old, options.new)]
    old, new = (read_board(folder) for folder in folders)
    records = tuple(list(read_records(folder / "results")) for folder in folders)
    tables = {table.name: table for table in new.datasets}
    parts = [HEAD.format(old=old.board, new=new.board)]
    for table in old.datasets:
        name = SUCCESSORS.get(table.name, table.name)
        if name in tables:
            parts.append(section(table, tables[name], (records[0], records[1]), (ranked_of(old), ranked_of(new))))
    write_atomically(options.output, "\n".join(parts))


def ranked_of(board: Board) -> str:
    """Preset that a board ranks by."""
    return board.spec.ranked


if __name__ == "__main__":
    main()
