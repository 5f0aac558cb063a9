"""A board as Markdown, and the columns of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consilience.records.board import Board, DatasetBoard, Generality, OverallRow, Row
from consilience.records.record import PRESET_TITLES, PRESETS, RANKED, Interval, PresetName
from consilience.registry import get_metric

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

_LEGEND = (
    "(c) control, (r) reference. Parameters count the weights. Contamination (in/out): in, where the target was "
    "trained on a collection that holds these items or near relatives of them, with the share of the very items that "
    "it has seen where its training items are known by id; unknown, where nobody says. It does not affect the rank."
)
_DETAILS = (
    "dCor (distance correlation, unbiased and squared), CKA, mutual kNN, I_dCor (correlation of intrinsic dimension): "
    "higher is more alike; II (information imbalance, to and from the references): lower is more alike; all beyond "
    "composition, as measured, averaged over the references. I_d: TwoNN intrinsic dimension. Energy MAE: the model's "
    "own energies against the data set's without zero-point vibration, composition fitted away on both sides (eV per "
    "item; in sample as in the paper / out of sample). "
    "Probe MAE: ridge from the embedding to the energy per atom beyond composition, out of fold"
)


def render(board: Board, remarks: Mapping[str, str] | None = None) -> str:
    """Markdown page of a board, with the remarks of its folder (`read_remarks`) where they belong."""
    remarks = remarks or {}
    settings = board.spec.settings
    parts = [_HEAD.format(board=board.board, title=board.title, k=settings.k, splits=settings.subsamples // 2)]
    if remarks.get(GENERAL):
        parts.append(f"## Remarks\n\n{remarks[GENERAL]}\n")
    for matter in dict.fromkeys(row.matter for row in board.overall):
        parts.append(_overall([row for row in board.overall if row.matter == matter]))
    if board.generality:
        parts.append(_generality(board.generality))
    for table in board.datasets:
        notes = [remarks[name] for name in (table.name, EVERY_TABLE) if remarks.get(name)]
        parts.append(_dataset(table, settings.permutations, board.spec.dataset(table.name).strata, notes))
    return "\n".join(parts)


def discrimination_words(table: DatasetBoard, preset: PresetName) -> str:
    """Put one preset's discrimination in plain words, or return an empty string where it can't be told."""
    found = table.discrimination[preset]
    if found.value is None:
        return ""
    if found.value >= 0.95:
        verdict = "trained pairs nearly always score higher"
    elif found.value >= 0.8:
        verdict = "trained pairs mostly score higher"
    elif found.value >= 0.65:
        verdict = "trained pairs score higher more often than not"
    elif found.value > 0.35:
        verdict = "no clear difference"
    else:
        verdict = "trained pairs score lower more often than not"
    words = f"{PRESET_TITLES[preset]}: {found.value:.2f}, {verdict}"
    if found.across_modalities is not None and found.pairs_across > found.trained_pairs:
        words += f" (across modalities {found.across_modalities:.2f})"
    return words


def _overall(rows: Sequence[OverallRow]) -> str:
    names = list(rows[0].ranks)
    table = [[str(row.rank), row.target, f"{row.borda:.2f}", *(str(row.ranks[name]) for name in names)] for row in rows]
    matter = f"{rows[0].matter}s"
    text = f"Borda: the share of competitors that a target outranks, averaged over the data sets of {matter} that\n"
    text += "all their references cover; targets ranked on all of these.\n"
    return f"## Across {matter}\n\n{text}\n" + tabulated([["rank", "target", "Borda", *names], *table], "pipe") + "\n"


def _generality(rows: Sequence[Generality]) -> str:
    head = ["target", "generality", "in distribution", "out of distribution", "in", "out"]
    table = [
        [
            row.target,
            _number(row.generality, 2),
            f"{row.in_distribution:.2f}",
            f"{row.out_of_distribution:.2f}",
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


def _dataset(table: DatasetBoard, permutations: int, strata: str | None, notes: Sequence[str]) -> str:
    card = table.card
    energy = f"Energies: {card.energy.level_of_theory}." if card.energy else ""
    ok = [row for row in table.rows if row.state == "ok"]
    others = [row for row in table.rows if row.state != "ok"]
    parts = [
        f"## {table.name}",
        f"{card.title}. {card.items:,} {card.matter}s, revision `{table.revision[:12]}`, {card.licence}. {energy}",
        f"References: {', '.join(table.references)}."
        + (f" Permutations stay within `{strata}`: agreement explained by it is not credited." if strata else ""),
        tabulated(main_columns(ok), "pipe"),
        *notes,
        _LEGEND,
        _groups(table, permutations),
        _discrimination(table),
        _sanity(table),
        _remarks(ok),
        "<details><summary>Other metrics, energies, speed</summary>\n\n" + tabulated(detail_columns(ok), "pipe"),
        _DETAILS + (f" (no embedding: {_baseline(table)})." if _baseline(table) else ".") + "\n\n</details>",
    ]
    if others:
        rows = [[row.target, row.state, row.reason or ""] for row in others]
        parts.append("Not scored:\n\n" + tabulated([["target", "state", "reason"], *rows], "pipe"))
    return "\n\n".join(part for part in parts if part) + "\n"


def main_columns(rows: Sequence[Row], *, ranked: bool = True, narrow: bool = False) -> list[list[str]]:
    """Lay out the main table: head and one line per row.

    Parameters
    ----------
    rows
        Scored rows, in order.
    ranked
        False where not every competitor is in the table: ranks would mean nothing.
    narrow
        Only what fits a terminal.
    """
    head = ["rank", "target", "modality", "parameters", "trained on", "in/out", "covered", "alignment [95 %]",
            "standardized", "paper", "twin distance"]  # fmt: skip
    left_out = ({"rank"} if not ranked else set()) | ({"parameters", "trained on", "covered"} if narrow else set())
    table = [head]
    for row in rows:
        marks = "".join(mark for mark, shown in (("c", row.control), ("r", row.reference)) if shown)
        table.append(
            [
                _rank(row),
                f"{row.target} ({marks})" if marks else row.target,
                row.modality,
                _count(row.parameters) if not (row.control and row.modality == "baseline") else "",
                ", ".join(row.trained_on or ()) or "",
                (row.distribution or "") + (f" ({row.overlap:.0%} seen)" if row.overlap is not None else ""),
                f"{row.coverage:.0%}",
                _interval(row.alignment.get(RANKED)),
                _value(row.alignment.get("standardized")),
                _number(row.cknna.get("paper")),
                _number(row.twin_distance),
            ]
        )
    kept = [i for i, name in enumerate(head) if name not in left_out]
    return [[line[i] for i in kept] for line in table]


def detail_columns(rows: Sequence[Row]) -> list[list[str]]:
    """Table of everything else: head and one line per row."""
    names = sorted({name for row in rows for name in row.metrics})
    head = ["target", *map(metric_title, names), "I_d", "energy MAE, eV", "probe MAE, eV/atom", "items/s"]
    table = [head]
    for row in rows:
        energy = ""
        if row.energy_mae is not None:
            energy = f"{_number(row.energy_mae)} / {_number(row.energy_mae_out_of_sample)}"
        table.append(
            [
                row.target,
                *(_number(row.metrics.get(name)) for name in names),
                _number(row.intrinsic_dimension, 1),
                energy,
                _number(row.probe_mae, 4),
                _count(row.items_per_second),
            ]
        )
    return table


def metric_title(name: str) -> str:
    """Title of a metric; a directed one appears twice, to and from the references."""
    base, _, direction = name.rpartition("_")
    if direction in ("to", "from"):
        return f"{get_metric(base).card.title} {direction}"
    return get_metric(name).card.title


def _discrimination(table: DatasetBoard) -> str:
    words = [words for preset in PRESETS if (words := discrimination_words(table, preset))]
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


def _groups(table: DatasetBoard, permutations: int) -> str:
    rows = modality_matrix(table)
    if not rows:
        return ""
    text = (
        "**Across modalities**: mean calibrated CKNNA beyond composition of all pairs of models from different "
        "families, by what the models read; in brackets the number of pairs and a p-value (twice the mean of the "
        f"pairs' permutation p, which holds however they depend on each other; {_chance(2 / (permutations + 1))} is "
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
            row.append(f"{value:.3f} ({pair.pairs}" + (")" if chance is None else f", p {_chance(chance)})"))
        rows.append(row)
    return rows


def _chance(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def _sanity(table: DatasetBoard) -> str:
    sanity = table.sanity
    parts = []
    if sanity.self_alignment is not None:
        parts.append(f"CKNNA of a target with itself is {sanity.self_alignment:.6f} (the smallest of all)")
    if sanity.random_gaussian is not None:
        parts.append(f"random rows align at {_interval(sanity.random_gaussian)}")
    return f"**Sanity**: {'; '.join(parts)}." if parts else ""


def _remarks(rows: Sequence[Row]) -> str:
    """What has to be known about cells that were scored all the same."""
    return "\n".join(f"- {row.target}: {row.reason}" for row in rows if row.reason)


def _baseline(table: DatasetBoard) -> str:
    return next((_number(row.probe_baseline, 4) for row in table.rows if row.probe_baseline is not None), "")


def _rank(row: Row) -> str:
    if row.rank is None:
        return "–"
    if row.rank_interval is None:
        return str(row.rank)
    low, high = row.rank_interval
    return str(row.rank) if low == high == row.rank else f"{row.rank} ({low}–{high})"


def _interval(interval: Interval | None) -> str:
    if interval is None or interval.value is None:
        return ""
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _value(interval: Interval | None) -> str:
    return _number(interval.value) if interval is not None else ""


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _count(number: float | None) -> str:
    if number is None:
        return ""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"


def tabulated(rows: list[list[str]], style: str) -> str:
    """Lay out a table whose first row is its head, in one of tabulate's styles."""
    from tabulate import tabulate

    return str(tabulate(rows[1:], rows[0], tablefmt=style, disable_numparse=True))
