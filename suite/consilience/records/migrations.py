"""Reading records of any schema version, and writing those of an older one: all in this place.

Older records are migrated on the way in. A board whose spec is of schema 1 keeps records of schema 1 on disk
(:func:`as_version`); a file of a newer schema is refused in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from statistics import NormalDist
from typing import Any

from consilience.bounds import parse_json
from consilience.cards import Card

from .record import RECORD_VERSION, Record
from .schema import refuse_newer, validated

#: Where a record of schema 1, which has no field for it, states what is known of submitted rows: among the free fields
#: of the embedding's provenance. A receiver removes what a submitter wrote there.
SUBMISSION = "submission"
#: Fields of cards that schema 1 does not have, but for the ancestor: without it a copy would be ranked on its own.
_NEW_ON_CARDS = tuple(
    name for name, field in Card.model_fields.items() if field.exclude_if is not None and name != "ancestor"
)
Migration = Callable[[dict[str, Any]], dict[str, Any]]
#: Normal quantile of the 95 % intervals.
_Z = NormalDist().inv_cdf(0.975)


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 had one set of presets, all of version 1, and ranked by the last."""
    new = {**content, "schema_version": 2, "ranked": "beyond_composition"}
    new["scores"] = {preset: _with_centre(score) for preset, score in (content.get("scores") or {}).items()}
    if content.get("provenance") is not None:
        embedding = dict(content["provenance"].get("embedding") or {})
        submission = embedding.pop(SUBMISSION, None)
        new["provenance"] = {
            **content["provenance"],
            "embedding": embedding,
            "presets": dict.fromkeys(new["scores"], 1),
        }
        if submission is not None:
            new["submission"] = submission
    return new


def _with_centre(score: dict[str, Any]) -> dict[str, Any]:
    """Derive what schema 2 states: the mean before anything was cut off at 0, and its deviation from the upper end."""
    terms = [(pair["cknna"], pair["null_quantile"]) for pair in score["pairs"].values()]
    if not terms or any(c is None or q is None or not q < 1 for c, q in terms):
        return score
    centre = sum((c - q) / (1 - q) for c, q in terms) / len(terms)
    high = score["alignment"].get("high")
    deviation = None if high is None or not isfinite(high) else (high - centre) / _Z
    return {**score, "centre": centre, "deviation": deviation}


#: By version: turns a record of that version into one of the next.
RECORD_MIGRATIONS: dict[int, Migration] = {1: _from_1}


def read_record(path: Path) -> Record:
    """Read a record, migrating older versions; raises `ValueError` naming the file when it is not one."""
    return parse_record(path.read_bytes(), str(path))


def parse_record(text: bytes, name: str) -> Record:
    """Record of a text, migrated; raises `ValueError` that begins with `name` when it is not one."""
    try:
        content = parse_json(text)
        refuse_newer(content.get("schema_version"), RECORD_VERSION)
        return validated(Record, migrated(content))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{name} is not a record of schema version 1 to {RECORD_VERSION}: {error}") from error


def migrated(content: dict[str, Any]) -> dict[str, Any]:
    """Content of a record as the newest version writes it."""
    version = content.get("schema_version")
    while type(version) is int and version in RECORD_MIGRATIONS:  # true and 1.0 are no versions
        content = RECORD_MIGRATIONS[version](content)
        version = content["schema_version"]
    return content


def as_version(record: Record, version: int) -> Record:
    """Return a record as it is written in a schema version: what that version does not have is left out."""
    if version == RECORD_VERSION:
        return record
    scores = {
        preset: score.model_copy(update={"centre": None, "deviation": None, "uncut_draws": []})
        for preset, score in record.scores.items()
    }
    provenance = record.provenance
    if provenance is not None:
        embedding = provenance.embedding
        if record.submission is not None:
            embedding = {**embedding, SUBMISSION: record.submission.model_dump(mode="json")}
        provenance = provenance.model_copy(update={"presets": {}, "controls_sha256": {}, "embedding": embedding})
    card = record.card.model_copy(update={name: Card.model_fields[name].default for name in _NEW_ON_CARDS})
    fields = {"card": card, "ranked": None, "scores": scores, "provenance": provenance, "submission": None}
    return record.model_copy(update={"schema_version": version, **fields})
