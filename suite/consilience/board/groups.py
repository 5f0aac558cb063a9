"""Agreement within and between modalities, from all pairs of the targets of a data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from statistics import mean

from consilience.bounds import parse_json
from consilience.cards import MODALITIES
from consilience.files import write_atomically
from consilience.records.pairs import PAIRS_VERSION, AllPairs, GroupPair, Pair
from consilience.records.record import Record
from consilience.records.schema import refuse_newer, to_json, validated
from consilience.records.values import mean_value
from consilience.scoring.lineage import lineage_of

from .tolerance import same_model

#: Name of the group of untrained networks.
UNTRAINED_GROUP = "untrained"


def pairs_path(folder: Path, dataset: str) -> Path:
    """Where the pairs of a data set lie in a board's folder."""
    return folder / "pairs" / f"{dataset}.json"


def read_pairs(folder: Path, dataset: str) -> AllPairs | None:
    """Published pairs of a data set; raises `ValueError` naming the file where it holds something else."""
    path = pairs_path(folder, dataset)
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_bytes())
        refuse_newer(content.get("schema_version"), PAIRS_VERSION)
        return validated(AllPairs, content)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} does not hold pairs of schema version 1 or 2: {error}") from error


def has_stale(folder: Path, dataset: str, keys: Mapping[str, str | None]) -> bool:
    """Whether published pairs are of other embeddings than the records state, given the keys of these by target."""
    published = read_pairs(folder, dataset)
    return published is not None and any(not _is_of(pair, keys) for pair in published.pairs)


def _is_of(pair: Pair, keys: Mapping[str, str | None]) -> bool:
    """Whether a pair is of these embeddings; yes, where it does not say of which it is (schema 1)."""
    return pair.keys is None or pair.keys == (keys.get(pair.first), keys.get(pair.second))


def write_pairs(
    folder: Path,
    new: AllPairs,
    scored: set[str],
    renewed: Collection[str] = (),
    keys: Mapping[str, str | None] | None = None,
) -> None:
    """Write pairs; published pairs are kept if the embedding of a target is not available locally.

    Parameters
    ----------
    folder
        The board's folder.
    new
        Pairs just scored.
    scored
        Targets that have a score on the board: pairs of others go.
    renewed
        Targets whose embedding is another than before: published pairs of theirs go, too.
    keys
        Keys of the embeddings that the records state, by target: published pairs of others go as well.
    """
    pairs = {(pair.first, pair.second): pair for pair in new.pairs}
    old = read_pairs(folder, new.dataset)
    path = pairs_path(folder, new.dataset)
    if old is not None and (old.board, old.revision) == (new.board, new.revision):
        for pair in old.pairs:
            names = {pair.first, pair.second}
            if not names <= scored.difference(renewed) or (pair.second, pair.first) in pairs:
                continue
            if keys is not None and not _is_of(pair, keys):
                continue
            key = (pair.first, pair.second)
            if key not in pairs or same_model(pair, pairs[key]):
                pairs[key] = pair  # as it was published, digit for digit
    ordered = sorted(pairs.values(), key=lambda pair: (pair.first, pair.second))
    text = to_json(new.model_copy(update={"pairs": ordered}))
    if not path.is_file() or path.read_text("utf-8", errors="replace") != text:
        write_atomically(path, text)


def agreement(pairs: Sequence[Pair], records: Mapping[str, Record], presets: Sequence[str]) -> list[GroupPair]:
    """Condense pairs by modality; the untrained twins are a group of their own.

    Pairs within a family, and a network with its own twin, are left out: they share the architecture.
    """
    found: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        first, second = records.get(pair.first), records.get(pair.second)
        if first is None or second is None or first.card.family == second.card.family:
            continue
        groups = sorted(filter(None, (_group(first), _group(second))), key=_ORDER.index)
        if len(groups) == 2:
            found[groups[0], groups[1]].append(pair)
    condensed = []
    for key in combinations_with_replacement(_ORDER, 2):
        if members := found.get(key):
            shares = {p: [m.scores[p].alignment for m in members if p in m.scores] for p in presets}
            chances = {p: [m.scores[p].p_value for m in members if p in m.scores] for p in presets}
            condensed.append(
                GroupPair(
                    first=key[0],
                    second=key[1],
                    pairs=len(members),
                    calibrated={p: mean_value(values) for p, values in shares.items()},
                    p_value={p: None if (m := mean_value(v)) is None else min(1.0, 2 * m) for p, v in chances.items()},
                )
            )
    return condensed


def with_all_lineages(pairs: Sequence[Pair], records: Mapping[str, Record], preset: str) -> dict[str, float]:
    """Mean alignment of each trained target with those of all other lineages, each lineage counted once."""
    lineages = {name: lineage_of(record.card) for name, record in records.items() if record.trained}
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        first, second = lineages.get(pair.first), lineages.get(pair.second)
        figures = pair.scores.get(preset)
        if first is None or second is None or first == second or figures is None or figures.alignment is None:
            continue
        values[pair.first][second].append(figures.alignment)
        values[pair.second][first].append(figures.alignment)
    return {name: mean(map(mean, of_lineage.values())) for name, of_lineage in values.items()}


_ORDER = [*(name for name in MODALITIES if name != "baseline"), UNTRAINED_GROUP]


def _group(record: Record) -> str | None:
    if record.untrained:
        return UNTRAINED_GROUP
    return record.card.modality if record.trained else None
