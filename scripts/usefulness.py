"""Compare alignments and training gains of board v2 with probes and published benchmarks: docs/studies/usefulness.md.

``python scripts/usefulness.py --output FILE`` reads the records of ``leaderboard/v2`` and the embeddings of this
machine's store; it runs no model. Probes are kept in ``--probes``, so that the command can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from consilience.board.board import read_records
from consilience.cards import Card
from consilience.datasets.items import Items, open_dataset
from consilience.embedding.identity import identify
from consilience.embedding.store import Store
from consilience.files import write_atomically
from consilience.records.record import Record
from consilience.registry import get_target
from consilience.scoring.energy import ridge_out_of_fold
from consilience.scoring.gain import aligned_with, training_gains, twins_of
from consilience.scoring.lineage import lineage_of

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "studies" / "usefulness"
BOARD = ROOT / "leaderboard" / "v2"
DATASETS = ("qm9-1k", "qm9-isomers-1k", "mp-1k", "mp-polymorphs")
BESIDE = ("confirmation-qm9", "confirmation-mp")
#: Networks trained on a property of relaxed structures, and not on energies along a potential-energy surface.
PROPERTY_NETWORKS = ("cgcnn", "megnet")
#: Draws of the test where lineages are too many to go through all orders.
DRAWS, ALL_ORDERS = 10_000, 8

Rows = np.ndarray[Any, np.dtype[np.float64]]


def properties_of(dataset: str) -> dict[str, Rows]:
    """Properties of a data set's items, in their order."""
    with (FOLDER / f"{dataset}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if [row["id"] for row in rows] != open_dataset(dataset).ids:
        raise ValueError(f"{dataset}.csv is of other items: run scripts/make_properties.py")
    names = [name for name in rows[0] if name != "id"]
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def probe_scores(features: Rows, properties: Mapping[str, Rows], controls: Rows) -> dict[str, float]:
    """Log ratio of the error without the embedding to that with it, by property."""
    scores = {}
    known: dict[bytes, list[str]] = {}
    for name, values in properties.items():
        known.setdefault(np.isfinite(values).tobytes(), []).append(name)
    for names in known.values():
        here = np.isfinite(properties[names[0]]) & np.isfinite(features).all(axis=1)
        y = np.column_stack([properties[name][here] for name in names])
        y = (y - y.mean(axis=0)) / y.std(axis=0)
        y = y - ridge_out_of_fold(controls[here], y, 0)
        error = np.abs(y - ridge_out_of_fold(features[here], y, 1)).mean(axis=0)
        scores |= dict(zip(names, np.log(np.abs(y).mean(axis=0) / error).tolist(), strict=True))
    return scores


class Probes:
    """Probe scores by data set and target, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text()) if path.exists() else {}
        self.store = Store()

    def of(self, items: Items, target: str, properties: Mapping[str, Rows]) -> float | None:
        """Mean score over the properties; None where the embedding is not on this machine."""
        table = self.known.setdefault(items.name, {})
        if target not in table:
            embedding = self.store.get(identify(get_target(target), items))
            if embedding is None:
                return None
            table[target] = probe_scores(embedding.features.astype(np.float64), properties, items.controls())
            write_atomically(self.path, json.dumps(self.known, indent=1))
        return float(np.mean(list(table[target].values())))


def over_lineages(pairs: Mapping[str, tuple[float, float]], cards: Mapping[str, Card]) -> dict[str, Any]:
    """Rank correlation over single targets, and over lineages with its two-sided p.

    Examples
    --------
    >>> card = Card(name="a", family="a", modality="atoms")
    >>> cards = {name: card.model_copy(update={"family": name}) for name in "abcd"}
    >>> found = over_lineages({"a": (1, 1), "b": (2, 2), "c": (3, 3), "d": (4, 4)}, cards)
    >>> found["rho"], round(found["p"], 3)
    (1.0, 0.083)
    """
    if len(pairs) < 4:
        return {"targets": len(pairs)}
    lineages: dict[str, list[tuple[float, float]]] = {}
    for name, pair in pairs.items():
        lineages.setdefault(lineage_of(cards[name]), []).append(pair)
    x, y = np.array([np.mean(of_one, axis=0) for of_one in lineages.values()]).T
    found = {"targets": len(pairs), "rho_targets": rho(*np.array(list(pairs.values())).T), "lineages": len(x)}
    if len(x) < 4:
        return found
    observed = rho(x, y)
    if len(x) <= ALL_ORDERS:
        orders: Iterable[Sequence[int]] = permutations(range(len(x)))
        drawn = [abs(rho(x, y[list(order)])) for order in orders]
        p = float(np.mean(np.array(drawn) >= abs(observed) - 1e-12))
    else:
        random = np.random.default_rng(0)
        drawn = [abs(rho(x, random.permutation(y))) for _ in range(DRAWS)]
        p = (1 + sum(one >= abs(observed) - 1e-12 for one in drawn)) / (1 + DRAWS)
    return {**found, "rho": observed, "p": p}


def rho(x: Rows, y: Rows) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(x, y)[0])


def is_potential(card: Card) -> bool:
    """Whether a model is a potential, and no network for single properties."""
    return card.modality == "atoms" and card.family not in PROPERTY_NETWORKS


def of_dataset(dataset: str, records: Sequence[Record], probes: Probes) -> dict[str, Any]:
    """Figures of one data set."""
    items, properties = open_dataset(dataset), properties_of(dataset)
    scored = {one.target: one for one in records if one.state == "ok" and aligned_with(one)}
    score = {name: value for name in scored if (value := probes.of(items, name, properties)) is not None}
    trained = {name: one for name, one in scored.items() if one.trained}
    alignment = {name: float(np.mean(list(aligned_with(one).values()))) for name, one in trained.items()}
    cards = {name: one.card for name, one in trained.items()}
    twins = {
        card: [score[one.target] for one in own if one.target in score]
        for card, own in twins_of(list(scored.values())).items()
    }
    gains = {name: one.estimate.value for name, one in training_gains(list(scored.values())).items()}
    gain_of_probe = {n: score[n] - float(np.mean(twins[n])) for n in gains if n in score and twins.get(n)}

    def compare(
        left: Mapping[str, float], right: Mapping[str, float], of: Callable[[Card], bool] = lambda card: True
    ) -> dict[str, Any]:
        return over_lineages({n: (left[n], right[n]) for n in left if n in right and of(cards[n])}, cards)

    found = {
        "U1": compare(alignment, score),
        "U2": compare(gains, gain_of_probe),
        "U3": compare(alignment, score, is_potential),
        "missing": sorted(set(trained) - set(score)),
    }
    if dataset == "mp-1k":
        figures = {(one.benchmark, one.figure) for card in cards.values() for one in card.benchmarks}
        found["U4"] = {
            f"{benchmark}, {figure}": compare(alignment, published(cards, benchmark, figure))
            for benchmark, figure in sorted(figures)
        }
    return found


def published(cards: Mapping[str, Card], benchmark: str, figure: str) -> dict[str, float]:
    """Figures of a benchmark by target, larger ones better."""
    return {
        name: one.value if one.higher_is_better else -one.value
        for name, card in cards.items()
        for one in card.benchmarks
        if (one.benchmark, one.figure) == (benchmark, figure)
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--probes", type=Path, default=FOLDER / "probes.json")
    options = parser.parse_args()
    probes, figures = Probes(options.probes), {}
    records = list(read_records(BOARD / "results"))
    for dataset in DATASETS:
        figures[dataset] = of_dataset(dataset, [one for one in records if one.dataset == dataset], probes)
        print(dataset, json.dumps(figures[dataset], indent=1), flush=True)
    from confirm_v2 import records_of

    for dataset in BESIDE:
        figures[dataset] = of_dataset(dataset, records_of(dataset), probes)
        print(dataset, json.dumps(figures[dataset], indent=1), flush=True)
    options.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
