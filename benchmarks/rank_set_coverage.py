"""How often a board's rank sets hold the true rank, and whether its order repeats on other items; a Markdown table.

Coverage is simulated from a model fitted to the board: score = target + reference + (target x lineage of the
reference) + items. Targets are those of the board, the interaction is normal with the residuals' variance, and the
noise of the items has the covariance of the board's own draws. In each repetition all but the targets are drawn anew,
and `consilience.metrics.inference.lineages.rank_sets` is asked for the sets. The order is compared between the halves
of each random split of the items, as the records hold them: mean Spearman correlation over the splits, of all trained
targets and of the potentials among them::

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.rank_set_coverage leaderboard/v2 [--draws 1000]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tabulate import tabulate

from consilience.board.board import read_records
from consilience.board.publish import read_board
from consilience.board.ranking import AlignmentTable, alignment_table
from consilience.metrics.inference.lineages import additive_scores, rank_sets
from consilience.records.record import Record

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """What is fitted to a data set of a board.

    Attributes
    ----------
    truth : ndarray of shape (t,)
        Score of each target, with all references.
    known : ndarray of bool, (t, r)
        Whether a target is compared with a reference.
    lineages
        Of each reference.
    interaction
        Deviation of target x lineage.
    around : ndarray of shape (t, r, s)
        Deviations of the draws from the values.
    """

    truth: Array
    known: NDArray[np.bool_]
    lineages: Sequence[str]
    interaction: float
    around: Array


def fit(found: AlignmentTable) -> Model:
    """Fit the model to the ranked targets of a data set."""
    table = found.table
    truth, _ = additive_scores(table)
    known = np.isfinite(table)
    effects = np.nanmean(table - truth[:, None], axis=0)
    residuals = table - truth[:, None] - effects
    degrees = known.sum() - sum(table.shape) + 1
    interaction = float(np.sqrt(np.nansum(residuals**2) / max(1, degrees)))
    return Model(truth, known, found.lineages, interaction, found.draws - table[:, :, None])


def simulate(model: Model, draws: int, seed: int = 0) -> tuple[float, float]:
    """Share of true ranks inside their sets, and the mean number of ranks of a set."""
    random = np.random.default_rng(seed)
    true_ranks = 1 + (model.truth[None] > model.truth[:, None]).sum(axis=1)
    names = list(dict.fromkeys(model.lineages))
    column = np.array([names.index(one) for one in model.lineages])
    samples = model.around.shape[2]
    inside, width = [], []
    for _ in range(draws):
        of_lineage = random.normal(scale=model.interaction, size=(len(model.truth), len(names)))
        items = np.nan_to_num(model.around) @ random.normal(size=samples) / np.sqrt(samples)
        table = np.where(model.known, model.truth[:, None] + of_lineage[:, column] + items, np.nan)
        sets = rank_sets(table, table[:, :, None] + model.around, model.lineages)
        low, high = np.array([(one.low, one.high) for one in sets]).T
        inside.append((low <= true_ranks) & (true_ranks <= high))
        width.append(high - low + 1)
    return float(np.mean(inside)), float(np.mean(width))


#: Networks trained on a property of relaxed structures, and not on energies along a potential-energy surface.
PROPERTY_NETWORKS = ("cgcnn", "megnet")


def is_potential(record: Record) -> bool:
    """Whether a record is of a potential."""
    return record.card.modality == "atoms" and record.card.family not in PROPERTY_NETWORKS


def halves_agree(records: Sequence[Record]) -> float:
    """Mean rank correlation of alignments between disjoint halves of the items; nan for fewer than three targets."""
    found = alignment_table(records)
    if found is None or len(found.targets) < 3:
        return float("nan")
    # Draws 2p and 2p + 1 are the halves of split p, put around the score of all items.
    scores = np.nanmean(found.draws, axis=1)
    return float(np.mean([spearmanr(scores[:, i], scores[:, i + 1])[0] for i in range(0, scores.shape[1], 2)]))


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", type=Path)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    board, rows = read_board(options.board), []
    records = list(read_records(options.board / "results"))
    for table in board.datasets:
        ranked = {row.target for row in table.rows if row.rank is not None}
        chosen = [one for one in records if one.dataset == table.name and one.target in ranked]
        found = alignment_table(chosen)
        if found is None or len(found.targets) < 2:
            continue
        model = fit(found)
        coverage, width = simulate(model, options.draws)
        trained = [one for one in records if one.dataset == table.name and one.trained and one.target in ranked]
        halves = halves_agree(trained), halves_agree([one for one in trained if is_potential(one)])
        rows.append([table.name, len(found.targets), len(set(model.lineages)), coverage, width, *halves])
    head = ["data set", "ranked targets", "lineages of references", "coverage", "mean number of ranks in a set"]
    head += ["rank correlation of halves", "among potentials"]
    print(tabulate(rows, head, tablefmt="pipe", floatfmt=".3f"))


if __name__ == "__main__":
    main()
