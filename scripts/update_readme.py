"""Put the figures of the published board into README.md, between its markers; run after publishing."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
PRESETS = {"paper": "paper (rows L2)", "standardized": "standardized", "beyond_composition": "beyond composition"}


def discrimination(board: dict) -> str:
    """Discrimination of each preset on each data set."""
    rows = [
        [title, *(f"{table['discrimination'][preset]['value']:.2f}" for table in board["datasets"])]
        for preset, title in PRESETS.items()
    ]
    return tabulate(rows, ["preset", *(t["name"] for t in board["datasets"])], "pipe", disable_numparse=True)


def excerpt(board: dict) -> str:
    """Main columns of the first data set."""
    rows = []
    for row in board["datasets"][0]["rows"]:
        marks = "".join(m for m, shown in (("c", row["control"]), ("r", row["reference"])) if shown)
        values = [row["alignment"][preset]["value"] for preset in ("beyond_composition", "standardized")]
        rows.append(
            [
                row["rank"] or "–",
                row["target"] + (f" ({marks})" if marks else ""),
                row["modality"],
                *(f"{value:.3f}" for value in values),
                f"{row['cknna']['paper']:.3f}",
            ]
        )
    head = ["rank", f"target ({board['datasets'][0]['name']})", "modality", "alignment", "standardized", "paper"]
    return tabulate(rows, head, "pipe", disable_numparse=True)


def filled(text: str, board: dict) -> str:
    """Return the page with both tables replaced."""
    for name, table in (("discrimination", discrimination(board)), ("board", excerpt(board))):
        text, found = re.subn(
            rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", lambda m, t=table: m[1] + t + m[2], text, flags=re.S
        )
        if not found:
            raise ValueError(f"README.md has no markers for {name}")
    return text


if __name__ == "__main__":
    page = ROOT / "README.md"
    board = json.loads((ROOT / "leaderboard" / "v1" / "leaderboard.json").read_text("utf-8"))
    page.write_text(filled(page.read_text("utf-8"), board), "utf-8")
