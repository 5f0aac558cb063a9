"""Put the figures of the published board into README.md, between its markers; run after publishing."""

from __future__ import annotations

import re
from pathlib import Path

from consilience.leaderboard.markdown import main_columns, tabulated
from consilience.results import PRESET_TITLES, Board

ROOT = Path(__file__).resolve().parents[1]


def discrimination(board: Board) -> str:
    """Discrimination of each preset on each data set: among 3D models / across modalities."""
    rows = [["preset", *(table.name for table in board.datasets)]]
    for preset, title in PRESET_TITLES.items():
        found = [table.discrimination[preset] for table in board.datasets]
        rows.append([title, *(f"{d.value:.2f} / {d.across_modalities:.2f}" for d in found)])
    return tabulated(rows, "pipe")


def filled(text: str, board: Board) -> str:
    """Return the page with both tables replaced."""
    excerpt = tabulated(main_columns(board.datasets[0].rows, narrow=True), "pipe")
    for name, table in (("discrimination", discrimination(board)), ("board", excerpt)):
        text, found = re.subn(
            rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", lambda m, t=table: m[1] + t + m[2], text, flags=re.S
        )
        if not found:
            raise ValueError(f"README.md has no markers for {name}")
    return text


if __name__ == "__main__":
    page = ROOT / "README.md"
    board = Board.model_validate_json((ROOT / "leaderboard" / "v1" / "leaderboard.json").read_text("utf-8"))
    page.write_text(filled(page.read_text("utf-8"), board), "utf-8")
