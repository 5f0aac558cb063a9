"""A board as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from consilience.escaping import code, markdown, one_line
from consilience.records.board import Board, DatasetBoard, Generality, OverallRow, PairedDiscrimination
from consilience.records.record import Record
from consilience.records.spec import Spec
from consilience.scoring.presets import PRESET_TITLES, RANKED

from .columns import Line, lay_out, lines_of
from .headline import CAPTION, TELLS, training_section
from .numbers import PLAIN
from .remarks import EVERY_TABLE, GENERAL

_HEAD = """\
# Consilience leaderboard {board}

{title}

**Alignment** is the mean, over the reference models outside a target's own family, of calibrated CKNNA
(k = {k}): 0 is what randomly paired items reach in 95 of 100 cases, 1 means that both models name the same
nearest neighbours. The tables show three preparations of the embeddings. The board ranks by *beyond composition*,
which removes the part of an embedding that is linear in composition and size; effects of composition that are not
linear remain. *Paper* is the plain CKNNA of arXiv 2512.03750 (rows L2-normalised, not calibrated), for comparison
with it. Intervals are 95 %, from the differences between the halves of {splits} random splits of the items. They do
not include the choice of references or run-to-run training variance.

Built from `results/`, `pairs/` and `remarks.md` of this folder; do not edit.
"""

#: Head of boards whose alignments subtract.
_HEAD_GAIN = """\
# Consilience leaderboard {board}

{title}

- **Alignment** of a target with a reference is (CKNNA - m) / (1 - m), where m is the mean CKNNA after relabelling
  the items: 0 is chance, 1 means that both models name the same nearest neighbours. A target's alignment is the mean
  over the references outside its lineage, beyond linear composition. The board ranks by it.
- **Training gain** is the alignment minus the mean alignment of *own twins*, untrained networks of the same
  architecture, with the same references. An asterisk marks gains that stay at a false discovery rate of 5 %.
- **Above free** is the alignment minus the largest of own twins, descriptors that nobody trains, and random features
  of composition.

Intervals are 95 %. They cover the choice of items ({splits} random splits), of the references' lineages and, for
gains, of the twins' seeds; they leave out what another training run would change. Numbers have no digits beyond their
interval. Ranks in brackets are those that the intervals of the differences leave open. *Standardized* is the alignment
before composition is removed; *paper* is the plain CKNNA of arXiv 2512.03750 (rows L2-normalised).
`docs/training.md` in the repository defines the figures.

Built from `results/`, `pairs/` and `remarks.md` of this folder; do not edit.
"""

_LEGEND = (
    "(c) control, (r) reference. {parameters} Contamination (in/out): in, where the target was "
    "trained on a collection that holds these items or near relatives of them, with the share of the very items that "
    "it has seen where its training items are known by id; unknown, where nobody says. It does not affect the rank."
)
_LEGEND_GAIN = _LEGEND + (
    " *linear*: less than a millionth of the embedding's variance is left beyond linear composition; it has no score."
)
_DETAILS = (
    "dCor (distance correlation, unbiased and squared), CKA, mutual kNN, I_dCor (correlation of intrinsic dimension): "
    "higher is more alike; II (information imbalance, to and from the references): lower is more alike; all beyond "
    "composition, as measured, averaged over the references. I_d: TwoNN intrinsic dimension. Energy MAE: the model's "
    "own energies against the data set's without zero-point vibration, composition fitted away on both sides (eV per "
    "item; in sample as in the paper / out of sample). "
    "Probe MAE: ridge from the embedding to the energy per atom beyond composition, out of fold"
)


def render(board: Board, remarks: Mapping[str, str] | None = None, records: Iterable[Record] = ()) -> str:
    """Markdown page of a board.

    Parameters
    ----------
    board
        The board.
    remarks
        Remarks of its folder (`read_remarks`), shown where they belong.
    records
        Its records, for columns of what only they have.
    """
    remarks, records = remarks or {}, list(records)
    settings, states_gain = board.spec.settings, board.spec.measured.states_gain
    head = _HEAD_GAIN if states_gain else _HEAD
    parts = [head.format(board=board.board, title=board.title, k=settings.k, splits=settings.subsamples // 2)]
    if remarks.get(GENERAL):
        parts.append(f"## Remarks\n\n{remarks[GENERAL]}\n")
    words, table_of_training = training_section(board)
    if words:
        lines = "\n".join(f"- {one}" for one in words)
        parts.append(f"## What training adds\n\n{lines}\n\n{tabulated(table_of_training, 'pipe')}\n\n{CAPTION}\n")
    for matter in dict.fromkeys(row.matter for row in board.overall):
        parts.append(_overall([row for row in board.overall if row.matter == matter]))
    if board.generality:
        parts.append(_generality(board.generality))
    for table in board.datasets:
        notes = [remarks[name] for name in (table.name, EVERY_TABLE) if remarks.get(name)]
        parts.append(_dataset(table, board.spec, notes, records))
    if states_gain:
        parts.append(_twins(records))
    return "\n".join(parts)


def discrimination_words(table: DatasetBoard, preset: str) -> str:
    """Put one preset's discrimination in plain words, or return an empty string where it can't be told."""
    found = table.discrimination[preset]
    if found.value is None:
        return ""
    if found.value >= TELLS:
        verdict = "trained pairs nearly always score higher"
    elif found.value >= 0.8:
        verdict = "trained pairs mostly score higher"
    elif found.value >= 0.65:
        verdict = "trained pairs score higher more often than not"
    elif found.value > 0.35:
        verdict = "no clear difference"
    else:
        verdict = "trained pairs score lower more often than not"
    words = f"{PRESET_TITLES[preset]}: {PLAIN.number(found.value, 2)}, {verdict}"
    if found.across_modalities is not None and found.pairs_across > found.trained_pairs:
        words += f" (across modalities {PLAIN.number(found.across_modalities, 2)})"
    return words


def _overall(rows: Sequence[OverallRow]) -> str:
    names = list(rows[0].ranks)
    table = [
        [str(row.rank), row.target, PLAIN.number(row.borda, 2), *(str(row.ranks[name]) for name in names)]
        for row in rows
    ]
    matter = f"{rows[0].matter}s"
    text = f"Borda: the share of competitors that a target outranks, averaged over the data sets of {matter} that\n"
    text += "all their references cover; targets ranked on all of these.\n"
    return f"## Across {matter}\n\n{text}\n" + tabulated([["rank", "target", "Borda", *names], *table], "pipe") + "\n"


def _generality(rows: Sequence[Generality]) -> str:
    head = ["target", "generality", "in distribution", "out of distribution", "in", "out"]
    table = [
        [
            row.target,
            PLAIN.number(row.generality, 2),
            PLAIN.number(row.in_distribution, 2),
            PLAIN.number(row.out_of_distribution, 2),
            ", ".join(row.datasets_in),
            ", ".join(row.datasets_out),
        ]
        for row in rows
    ]
    text = (
        "Alignment as a share of the data set's highest, averaged over the data sets in and out of distribution for\n"
        "each target; generality is their ratio. The ratio of two small shares is noisy.\n"
    )
    return f"## Generality\n\n{text}\n" + tabulated([head, *table], "pipe") + "\n"


def _dataset(table: DatasetBoard, spec: Spec, notes: Sequence[str], records: Sequence[Record]) -> str:
    settings, strata = spec.settings_of(table.name), spec.dataset(table.name).strata
    states_gain = spec.measured.states_gain
    card = table.card
    energy = f"Energies: {markdown(str(card.energy.level_of_theory))}." if card.energy else ""
    scored = lines_of(table, (row for row in table.rows if row.state == "ok"), records)
    others = [row for row in table.rows if row.state != "ok"]
    parts = [
        f"## {table.name}",
        f"{markdown(card.title)}. {card.items:,} {card.matter}s, revision `{code(table.revision[:12])}`, "
        f"{markdown(card.licence)}. {energy}",
        f"References: {', '.join(table.references)}."
        + (f" k = {settings.k}." if states_gain else "")
        + (f" Permutations stay within `{code(strata)}`: agreement explained by it is not credited." if strata else ""),
        tabulated(lay_out("page", scored), "pipe"),
        *notes,
        _LEGEND_GAIN.format(parameters="Parameters are those that act on the rows.")
        if states_gain
        else _LEGEND.format(parameters="Parameters count the weights."),
        _training(table),
        _groups(table, settings.permutations, "alignment" if states_gain else "calibrated CKNNA"),
        _discrimination(table),
        _sanity(table),
        _remarks(scored),
        "<details><summary>Other metrics, energies, speed</summary>",
        tabulated(lay_out("details", scored), "pipe"),
        _DETAILS + (f" (no embedding: {_baseline(table)})." if _baseline(table) else ".") + "\n\n</details>",
    ]
    if others:
        rows = [[row.target, row.state, row.reason or ""] for row in others]
        parts.append("Not scored:\n\n" + tabulated([["target", "state", "reason"], *rows], "pipe"))
    return "\n\n".join(part for part in parts if part) + "\n"


def _training(table: DatasetBoard) -> str:
    """What training adds on a data set, with how much may be chance."""
    training = table.training
    if training is None:
        return ""
    head = (
        "**Training against own untrained twins**: how often a trained model aligns with a reference more than its own "
        "architecture with random weights does; 0.5 is a coin toss."
    )
    gains = (
        f"Gains: {training.targets} targets, {training.clear} clear (95 % interval above 0; "
        f"{PLAIN.number(training.expected_false, 1)} would be expected if training added nothing), {training.stay} at "
        "a false discovery rate of 5 % (marked *). The intervals leave out what another training run would change."
    )
    if (null := training.null) is not None:
        gains += (
            f" Of {null.comparisons} twins measured against the others of their target, {null.clear} are called clear "
            f"(at most {PLAIN.percent(null.bound)} at 95 %)."
        )
    return "\n\n".join([head, "\n".join(f"- {line}" for line in training_lines(table)), gains])


def training_lines(table: DatasetBoard) -> list[str]:
    """Paired discrimination of each kind of models on a data set, in words."""
    training = table.training
    if training is None:
        return []
    return [
        f"{_words(kind)}: {paired_words(one)}"
        + (
            f"; against references trained on other data {paired_words(training.other_training_sets[kind])}"
            if kind in training.other_training_sets
            else ""
        )
        for kind, one in training.paired.items()
    ]


def paired_words(paired: PairedDiscrimination) -> str:
    """Paired discrimination with its numbers of comparisons and lineages.

    Examples
    --------
    >>> one = PairedDiscrimination(
    ...     value=1.0, comparisons=86, targets=13, lineages=8, positive=8, p_value=0.0039, bound=0.688)
    >>> paired_words(one)
    '1.000 (86 comparisons; 8 of 8 lineages gain, sign test p 0.0039, at least 0.69 of lineages at 95 %)'
    """
    return (
        f"{PLAIN.number(paired.value)} ({paired.comparisons} comparisons; {paired.positive} of {paired.lineages} "
        f"lineages gain, sign test p {PLAIN.chance(paired.p_value)}, at least {PLAIN.number(paired.bound, 2)} of "
        "lineages at 95 %)"
    )


def _twins(records: Sequence[Record]) -> str:
    """How own twins are drawn, by family, and why some models have none."""
    cards = {record.card.name: record.card for record in records if record.trained}
    drawn = "all weights as the package draws them"
    texts: dict[tuple[str, str], list[str]] = {}
    for card in cards.values():
        text = card.twin or (drawn if card.untrained else "none")
        texts.setdefault((card.family, text), []).append(card.name)
    rows = [[family, ", ".join(sorted(names)), text] for (family, text), names in sorted(texts.items())]
    table = tabulated([["family", "models", "own twins"], *rows], "pipe")
    return f"## How own twins are drawn\n\nWhat is not named is drawn anew, as the package draws it.\n\n{table}\n"


def _words(modality: str) -> str:
    return modality.replace("_", " ")


def _discrimination(table: DatasetBoard) -> str:
    words = [words for preset in table.discrimination if (words := discrimination_words(table, preset))]
    if not words:
        return ""
    pairs = table.discrimination[RANKED]
    head = (
        "**Discrimination**: the probability that a pair of trained models of different families outscores a pair "
        f"of a trained model and an untrained network ({pairs.trained_pairs} and {pairs.untrained_pairs} pairs, all "
        "reading the same kind of input); 0.5 is a coin toss. The pairs differ in architecture as well as in training: "
        "an untrained network of one architecture can align more than a trained network of another, so a low figure "
        "does not show that training changes nothing."
    )
    if pairs.pairs_across > pairs.trained_pairs:
        head += (
            f" Across modalities counts trained pairs of any two kinds of input ({pairs.pairs_across}), which differ "
            "in what the models read, too."
        )
    return head + "\n\n" + "\n".join(f"- {word}" for word in words)


def _groups(table: DatasetBoard, permutations: int, figure: str) -> str:
    rows = modality_matrix(table)
    if not rows:
        return ""
    smallest = PLAIN.chance(2 / (permutations + 1))
    text = (
        f"**Across modalities**: mean {figure} beyond composition of all pairs of models from different "
        "families, by what the models read; in brackets the number of pairs and a p-value (twice the mean of the "
        f"pairs' permutation p, which holds however they depend on each other; {smallest} is "
        f"the smallest that {permutations} permutations can give). *untrained*: the untrained networks."
    )
    return text + "\n\n" + tabulated(rows, "pipe")


def modality_matrix(table: DatasetBoard) -> list[list[str]]:
    """Lay out how far models that read different things agree: head and one line per modality, or nothing."""
    names = list(dict.fromkeys(name for pair in table.groups for name in (pair.first, pair.second)))
    if len(names) < 2:
        return []
    cells = {(pair.first, pair.second): pair for pair in table.groups}
    rows = [["", *(name.replace("_", " ") for name in names)]]
    for first in names:
        row = [first.replace("_", " ")]
        for second in names:
            pair = cells.get((first, second))
            value = pair.calibrated[RANKED] if pair else None
            if pair is None or value is None:
                row.append("")
                continue
            chance = pair.p_value[RANKED]
            row.append(
                f"{PLAIN.number(value)} ({pair.pairs}" + (")" if chance is None else f", p {PLAIN.chance(chance)})")
            )
        rows.append(row)
    return rows


def _sanity(table: DatasetBoard) -> str:
    sanity = table.sanity
    parts = []
    if sanity.self_alignment is not None:
        parts.append(f"CKNNA of a target with itself is {PLAIN.number(sanity.self_alignment, 6)} (the smallest of all)")
    if sanity.random_gaussian is not None:
        gaussian = sanity.random_gaussian
        parts.append(f"random rows align at {PLAIN.interval(gaussian.value, gaussian.low, gaussian.high)}")
    return f"**Sanity**: {'; '.join(parts)}." if parts else ""


def _remarks(lines: Sequence[Line]) -> str:
    """What has to be known about cells that were scored all the same."""
    return "\n".join(f"- {line.row.target}: {markdown(line.row.reason)}" for line in lines if line.row.reason)


def _baseline(table: DatasetBoard) -> str:
    return next((PLAIN.number(row.probe_baseline, 4) for row in table.rows if row.probe_baseline is not None), "")


def tabulated(rows: list[list[str]], style: str, *, own: bool = False) -> str:
    """Lay out a table whose first row is its head, in one of tabulate's styles.

    Cells are escaped unless they are the suite's own Markdown.
    """
    from tabulate import tabulate

    escape = str if own else markdown if style == "pipe" else one_line
    cells = [[escape(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    return str(tabulate(cells[1:], cells[0], tablefmt=style, disable_numparse=True))
