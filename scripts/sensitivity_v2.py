"""Measure how board v2's figures depend on pooling, layer and the draw of twins: docs/studies/v2-sensitivity.md.

``python scripts/sensitivity_v2.py embed`` embeds the middle layers and the wide twins, and is resumed by the store;
``python scripts/sensitivity_v2.py report --output FILE`` scores and writes the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from consilience.cards import Twin
from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import embed
from consilience.embedding.identity import identify
from consilience.embedding.store import Embedding, Store
from consilience.records.record import Record
from consilience.records.spec import read_spec
from consilience.registry import Target, get_target, load_target_file
from consilience.scoring.cell import Cell
from consilience.scoring.gain import aligned_with, training_gains
from consilience.scoring.scorer import Scorer

STUDIES = Path(__file__).resolve().parents[1] / "docs" / "studies"
SPEC = read_spec(STUDIES / "v2-confirmation.toml")
DATASETS = ("qm9-1k", "mp-1k")
#: Target of the board, by the stem of its file of variants.
BOARD = {"chgnet": "chgnet-0.3.0", "sevennet": "sevennet-0", "diep": "diep-fold1"}
SEEDS = (1, 2, 3)
STORE = Store()


def variants(stem: str) -> tuple[Target, Target]:
    """Targets of the middle layer and of wide twins."""
    middle, wide = load_target_file(STUDIES / "v2_sensitivity" / f"{stem}.py")
    return middle, wide


def embed_all() -> None:
    """Embed what the board does not have."""
    for dataset in DATASETS:
        items = open_dataset(dataset)
        for stem in BOARD:
            middle, wide = variants(stem)
            for one in (middle, *(target.untrained(seed) for seed in SEEDS for target in (middle, wide))):
                embed(one, items, STORE, time_limit=3600.0)
                print(dataset, one.name, flush=True)


def stored(target: Target, items: Items) -> Embedding:
    """Embedding from the store; raises `LookupError` where it is not there."""
    found = STORE.get(identify(target, items))
    if found is None:
        raise LookupError(f"{items.name}::{target.name} is not in the store")
    return found


def summed(embedding: Embedding, items: Items) -> Embedding:
    """Sum over atoms of what is the mean over atoms."""
    counts, _ = items.composition()
    features = embedding.features.astype(np.float64) * counts.sum(axis=1, keepdims=True)
    return replace(embedding, features=features.astype(np.float32))


def renamed(record: Record, name: str) -> Record:
    """Record of a variant under the name of the board's target, so that twins find it."""
    twin = Twin.of(record.target)
    target = name if twin is None else f"{name}@untrained:{twin.number}"
    return record.model_copy(update={"target": target, "card": record.card.model_copy(update={"name": name})})


def arms(dataset: str) -> dict[str, list[Record]]:
    """Records of each arm: trained rows and own twins of the three families."""
    scorer, items = Scorer(SPEC, store=STORE), open_dataset(dataset)
    records: dict[str, list[Record]] = {"board": [], "sum": [], "middle": [], "wide": []}
    for stem, name in BOARD.items():
        target, (middle, wide) = get_target(name), variants(stem)
        for one in (target, *(target.untrained(seed) for seed in SEEDS)):
            rows = stored(one, items)
            records["board"].append(scorer.score(Cell(dataset, one)))
            records["sum"].append(scorer.score(Cell(dataset, one), embedding=summed(rows, items)))
        for one in (middle, *(middle.untrained(seed) for seed in SEEDS)):
            stored(one, items)
            records["middle"].append(renamed(scorer.score(Cell(dataset, one)), name))
        records["wide"].append(records["board"][-1 - len(SEEDS)])
        for seed in SEEDS:
            stored(wide.untrained(seed), items)
            records["wide"].append(renamed(scorer.score(Cell(dataset, wide.untrained(seed))), name))
    return records


def report() -> dict[str, Any]:
    """Figures of each arm, family and data set, and where an arm's gain departs from the board's."""
    figures: dict[str, Any] = {}
    for dataset in DATASETS:
        board = {}
        for arm, records in arms(dataset).items():
            gains = training_gains(records)
            board = board or gains
            for record in records:
                if record.target not in gains:
                    continue
                gain, own = gains[record.target], board[record.target].estimate
                one = gain.estimate
                apart = one.value * own.value < 0 or one.high < own.low or own.high < one.low
                figures.setdefault(dataset, {}).setdefault(arm, {})[record.target] = {
                    "alignment": float(np.mean(list(aligned_with(record).values()))),
                    "untrained": gain.untrained,
                    "by_seed": gain.by_seed,
                    "gain": one.value,
                    "interval": [one.low, one.high],
                    "departs": bool(apart),
                }
    return figures


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("embed", "report"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.what == "embed":
        embed_all()
        return
    figures = report()
    print(json.dumps(figures, indent=1))
    if options.output is not None:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
