"""Tolerances for equal results, by field: values agree across machines to fewer digits than are published.

`verify` finds what differs by more; `publish` leaves a file as it is, byte for byte, where nothing does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from pydantic import BaseModel

from consilience.cards import Card
from consilience.records.migrations import as_version
from consilience.records.record import Record
from consilience.records.schema import to_json
from consilience.registry import get_target

#: Figures are published to 6 digits. Measured: 149 cells of board v1 (all data sets, 65,000 figures), scored again from
#: the published embeddings by later code, agree in all of them. What follows from counts alone may differ by rounding.
TOLERANCE = 1e-5
#: Scores of rows that another machine embedded differ by up to this: the rows do, within the contract of a target.
_SCORE = 2e-4
#: Fields with another tolerance, by their last name.
TOLERANCES: Mapping[str, float] = {
    **dict.fromkeys(("cknna", "calibrated", "null_mean", "null_quantile", "centre", "deviation", "distance"), _SCORE),
    **dict.fromkeys(("value", "low", "high", "draws", "uncut_draws"), _SCORE),
    **dict.fromkeys(("cka", "distance_correlation", "mutual_knn", "intrinsic_dimension_correlation"), _SCORE),
    **dict.fromkeys(("information_imbalance_to", "information_imbalance_from"), _SCORE),
    **dict.fromkeys(("mae", "mae_out_of_sample", "mae_per_atom", "baseline"), _SCORE),
    "intrinsic_dimension": 1e-3,  # relative: it is above 1
    "p_value": 0.005,  # one permutation of 200
}
#: What of a record's provenance says how it was measured, and from what; the rest are circumstances of a run.
_MEASURED = ("settings", "metric_versions", "presets", "controls_sha256", "references", "sources")


def tolerance_of(field: str) -> float:
    """Tolerance of a field, such as ``scores.paper.alignment.low`` or ``scores.paper.draws[3]``.

    Examples
    --------
    >>> tolerance_of("scores.paper.pairs.chgnet-0.3.0.cknna") == TOLERANCE
    True
    """
    return TOLERANCES.get(field.rpartition(".")[2].partition("[")[0], TOLERANCE)


def differences(
    published: Any, recomputed: Any, tolerance: float | None = None, at: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, published, recomputed) wherever two JSON values differ; numbers may, by a tolerance.

    The tolerance is absolute below 1 and relative above: that of the field (`tolerance_of`) unless one is given.
    """
    if isinstance(published, dict) and isinstance(recomputed, dict):
        for key in [*published, *(key for key in recomputed if key not in published)]:
            old, new = published.get(key, "(absent)"), recomputed.get(key, "(absent)")
            yield from differences(old, new, tolerance, f"{at}.{key}" if at else str(key))
    elif isinstance(published, list) and isinstance(recomputed, list):
        for number, (old, new) in enumerate(zip_longest(published, recomputed, fillvalue="(absent)")):
            yield from differences(old, new, tolerance, f"{at}[{number}]")
    elif _is_number(published) and _is_number(recomputed):
        # Written so that a NaN differs from everything.
        allowed = tolerance_of(at) if tolerance is None else tolerance
        if not abs(published - recomputed) <= allowed * max(1.0, abs(recomputed)):
            yield at, published, recomputed
    elif published != recomputed:
        yield at, published, recomputed


def record_differences(published: Record, recomputed: Record, version: int) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs between a record and the same cell scored again; circumstances of the runs may differ.

    Both are compared as schema `version` states them. A field of the card that was corrected since is no difference.
    """
    card = _with_corrections(recomputed.card).as_published(published.card)
    recomputed = recomputed.model_copy(update={"card": card})
    old, new = (_json(as_version(one, version)) for one in (published, recomputed))
    embeddings = [(one.pop("provenance") or {}).get("embedding", {}) for one in (old, new)]
    if embeddings[0].get("finished") != embeddings[1].get("finished"):
        # Embedded again, elsewhere or later: as fast as it was, only the record knows.
        new["items_per_second"] = embeddings[0].get("items_per_second")
        embeddings = [{key: one.get(key) for key in ("identity", "weights_sha256")} for one in embeddings]
    yield from differences(old, new)
    yield from differences(embeddings[0], embeddings[1], at="provenance.embedding")


def _with_corrections(card: Card) -> Card:
    """Card with what it said wrongly before, which records don't hold: one that was read from a file has lost it."""
    try:
        known = get_target(card.name).card
    except LookupError:  # a user's own
        return card
    return card if card.corrections else card.model_copy(update={"corrections": known.corrections})


def is_unchanged(published: Record, new: Record, version: int) -> bool:
    """Whether a cell was measured in the same way from the same embeddings, and every figure is the same."""
    sides = []
    for record in (published, new):
        provenance = as_version(record, version).provenance
        content = {} if provenance is None else provenance.model_dump(mode="json")
        sides.append({name: content.get(name) for name in _MEASURED})
    return sides[0] == sides[1] and not any(record_differences(published, new, version))


def same_content(published: str, new: str) -> bool:
    """Whether two JSON texts state the same, numbers within the tolerance."""
    try:
        return not any(differences(json.loads(published), json.loads(new)))
    except (ValueError, RecursionError):
        return False


def same_model(published: BaseModel, new: BaseModel) -> bool:
    """Whether two models state the same as they are published, numbers within the tolerance."""
    return not any(differences(_json(published), _json(new)))


def _json(model: BaseModel) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(to_json(model))
    return content


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
