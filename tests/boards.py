"""Boards of the repository that tests read, whichever of them is the default."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
V1 = ROOT / "leaderboard" / "v1"
V1_SPEC = V1 / "spec.toml"
