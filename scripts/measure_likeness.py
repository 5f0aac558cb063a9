"""Measure how alike honest targets are, and copies in disguise: what the limits of `consilience.board.copies` rest on.

    python scripts/measure_likeness.py qm9-1k [more data sets]

It compares every pair of trained targets whose embedding is shipped or in the cache (`consilience embed` makes more),
and every one of them with copies of itself, and prints one line of JSON per comparison, then the largest figures of
honest pairs and the smallest of copies.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from numpy.typing import NDArray

from consilience.board.copies import Known, Likeness, likenesses
from consilience.datasets.items import open_dataset
from consilience.embedding.identity import identify
from consilience.embedding.store import Store
from consilience.registry import list_targets

Rows = NDArray[np.float64]


def disguises(x: Rows, other: Rows, rng: np.random.Generator) -> dict[str, Rows]:
    """Copies of rows: turned and scaled, hidden beside or mixed with others, noised."""
    width, both = x.shape[1], x.shape[1] + other.shape[1]
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    turn_both = np.linalg.qr(rng.normal(size=(both, both)))[0]
    own, theirs = ((rows - rows.mean(axis=0)) / rows.std() for rows in (x, other))
    noised = {
        f"noise {share:.1%}": x + share * x.std(axis=0) * rng.normal(size=x.shape) for share in (0.001, 0.01, 0.03, 0.1)
    }
    return {
        "turned, scaled": x @ turn * np.exp(2 * rng.normal(size=width)),
        "padded with noise": np.hstack([x, x.std() * rng.normal(size=(len(x), 32))]),
        "hidden": np.hstack([0.01 * own, theirs]),
        "mixed": np.hstack([own, theirs]) @ turn_both,
        **noised,
    }


def main() -> None:
    """Measure the data sets that the command line names."""
    rng, figures = np.random.default_rng(0), list[tuple[str, str, str, Likeness]]()
    for dataset in sys.argv[1:]:
        items, rows, families = open_dataset(dataset), {}, {}
        for target in list_targets().values():
            embedding = Store().get(identify(target, items)) if items.has_view(target.card.input_view) else None
            if embedding is not None and target.trained:
                rows[target.name], families[target.name] = embedding.features, target.card.family
        for name, own in rows.items():
            others = [Known(other, one) for other, one in rows.items() if other != name]
            for one in likenesses(own, others):
                kind = "sibling" if families[name] == families[one.target] else "another family"
                figures.append((kind, dataset, name, one))
            whole = np.isfinite(own).all(axis=1)
            beside = next((one for other, one in rows.items() if other != name and np.isfinite(one).all()), None)
            if beside is not None and whole.all():
                for disguise, copy in disguises(own.astype(np.float64), beside.astype(np.float64), rng).items():
                    (one,) = likenesses(copy.astype(np.float32), [Known(name, own)])
                    figures.append((f"copy, {disguise}", dataset, name, one))
    for kind, dataset, submitted, one in figures:
        print(json.dumps({"kind": kind, "dataset": dataset, "submitted": submitted, **one._asdict()}))
    summary(figures)


def summary(figures: list[tuple[str, str, str, Likeness]]) -> None:
    """Print the extremes of each kind."""
    for kind in dict.fromkeys(kind for kind, *_ in figures):
        own = np.array([one[1:] for other, _, _, one in figures if other == kind], dtype=np.float64)
        extreme = np.nanmin if kind.startswith("copy") else np.nanmax
        word = "at least" if kind.startswith("copy") else "at most"
        cknna, predicted = extreme(own, axis=0)
        print(f"# {kind}: CKNNA {word} {cknna:.3f}, components predicted {word} {predicted:.4f}")


if __name__ == "__main__":
    main()
