"""What a board that states gains says about training: in sentences, and as one table over its data sets."""

from __future__ import annotations

from consilience.records.board import Board, PairedDiscrimination, Training

from .numbers import PLAIN

#: Kinds of models as sentences name them; others by the name of their domain or modality.
KINDS: dict[str, str] = {
    "atoms": "networks that read atoms in space",
    "string": "models of strings",
    "graph": "models of 2D graphs",
    "text": "language models",
    "protein_sequence": "models of protein sequences",
    "protein_structure": "models of protein structures",
    "antibodies": "models of antibodies, on other proteins",
}
#: From here on a figure is said to tell trained from untrained: so large a share of the comparisons.
TELLS = 0.95


def headline(board: Board) -> list[str]:
    """Say, kind by kind, how often training brings a model closer to the references.

    Parameters
    ----------
    board
        A board; of one that states no gains there is nothing to say.

    Returns
    -------
    list of str
        One sentence for each kind of models, that of the most data sets first.
    """
    kinds: dict[str, dict[str, PairedDiscrimination]] = {}
    for name, training in _trainings(board).items():
        for kind, one in training.paired.items():
            if one.value is not None:
                kinds.setdefault(kind, {})[name] = one
    ordered = sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind != "atoms", kind))
    return [_sentence(kind, kinds[kind]) for kind in ordered]


def _sentence(kind: str, by_dataset: dict[str, PairedDiscrimination]) -> str:
    values = {name: one.value for name, one in by_dataset.items() if one.value is not None}
    clear = [name for name, value in values.items() if value >= TELLS]
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    lineages = max(one.lineages for one in by_dataset.values())
    shares = PLAIN.number(values[least], 2)
    if values[most] - values[least] >= 0.005:
        shares += f" ({least}) to {PLAIN.number(values[most], 2)} ({most})"
    words = KINDS.get(kind, kind.replace("_", " "))
    return (
        f"{words[0].upper()}{words[1:]}: a trained model aligns with a reference more than its own architecture with "
        f"random weights does in {shares} of the comparisons, on {len(clear)} of {len(values)} data sets in at least "
        f"{TELLS:.0%} ({lineages} {'lineage' if lineages == 1 else 'lineages'} at most; 0.50 is a coin toss)."
    )


def _trainings(board: Board) -> dict[str, Training]:
    """What training adds, of the data sets that state it."""
    return {table.name: table.training for table in board.datasets if table.training is not None}


def _kinds(board: Board) -> list[str]:
    """Kinds of models that any data set has a figure for, in the order of `KINDS`."""
    present = {kind for training in _trainings(board).values() for kind in training.paired}
    known = [kind for kind in KINDS if kind in present]
    return known + sorted(present.difference(known))


def training_table(board: Board) -> list[list[str]]:
    """Head and one line for each data set: paired discrimination by kind, clear gains, pooled discrimination."""
    kinds = _kinds(board)
    pooled = {table.name: table.discrimination.get(board.spec.ranked) for table in board.datasets}
    head = ["data set", *(kind.replace("_", " ") for kind in kinds), "clear gains", "pooled, for comparison"]
    rows = [head]
    for name, training in _trainings(board).items():
        cells = [_paired(training.paired.get(kind)) for kind in kinds]
        one = pooled[name]
        clear = f"{training.clear} of {training.targets}"
        rows.append([name, *cells, clear, PLAIN.number(one.value if one else None, 2)])
    return rows


def _paired(one: PairedDiscrimination | None) -> str:
    if one is None or one.value is None:
        return ""
    return f"{PLAIN.number(one.value, 2)} ({one.comparisons}; {one.positive}/{one.lineages})"


#: What the table of :func:`training_table` shows.
CAPTION = (
    "Share of comparisons in which a trained model aligns with a reference more than an untrained network of its own "
    "architecture does (0.50 is a coin toss); in brackets the comparisons, and of how many lineages the mean gain is "
    "positive. Clear gains: 95 % interval above 0. Pooled: the probability that a pair of trained models outscores a "
    "pair of a trained model and an untrained network of any architecture."
)


def training_section(board: Board) -> tuple[list[str], list[list[str]]]:
    """Sentences and table of a board; both empty where it states no gains."""
    words = headline(board)
    return words, training_table(board) if words else []
