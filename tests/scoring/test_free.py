"""Alignment above free, on records."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.scoring.free import OWN_TWINS, above_free

from .test_gain import DRAWS, REFERENCES, over_references, record

DESCRIPTORS = {"atoms": [["soap"], ["composition-relu-1", "composition-relu-2"], ["morgan"]]}


def test_it_is_the_alignment_above_the_largest() -> None:
    records = [
        record("diep-fold1", over_references(0.5, 0.4, 0.45, 0.35)),
        record("diep-fold1@untrained:1", over_references(0.2, 0.2, 0.1, 0.1)),
        record("soap", over_references(0.3, 0.3, 0.3, 0.3)),
        record("composition-relu-1", over_references(0.1, 0.1, 0.1, 0.1)),
        record("composition-relu-2", over_references(0.2, 0.2, 0.2, 0.2)),
        record("vicgae", over_references(0.2, 0.2, 0.2, 0.2)),
    ]
    found = above_free(records, DESCRIPTORS)
    assert list(found) == ["diep-fold1"], "of strings the descriptors are not named here, and there is no twin"
    one = found["diep-fold1"]
    assert one.best == "soap"
    assert one.free == pytest.approx({"soap": 0.3, "composition-relu": 0.15, OWN_TWINS: 0.15})
    assert one.estimate.value == pytest.approx(0.125)
    assert one.estimate.degrees == len(REFERENCES) - 1
    differences = np.array([0.2, 0.1, 0.15, 0.05])
    assert one.estimate.parts["lineages"] == pytest.approx(differences.std(ddof=1) / 2)


def test_the_largest_is_taken_anew_in_every_draw() -> None:
    """Where two are alike, the larger one of a draw counts, not the larger one on the whole."""
    random = np.random.default_rng(0)
    first, second = ({name: 0.1 * random.normal(size=DRAWS) for name in REFERENCES} for _ in range(2))
    none = {name: np.zeros(DRAWS) for name in REFERENCES}
    records = [
        record("diep-fold1", over_references(*[0.5] * 4), none),
        record("soap", over_references(*[0.3] * 4), first),
        record("diep-fold1@untrained:1", over_references(*[0.29] * 4), second),
    ]
    one = above_free(records, DESCRIPTORS)["diep-fold1"]
    means = [0.3 + np.mean(list(first.values()), axis=0), 0.29 + np.mean(list(second.values()), axis=0)]
    expected = 0.5 - np.max(means, axis=0)
    assert one.estimate.value == pytest.approx(0.2)
    assert one.estimate.parts["items"] == pytest.approx(np.sqrt(np.mean((expected - 0.2) ** 2)))


def test_seeds_count_where_the_twins_are_the_largest() -> None:
    records = [
        record("diep-fold1", over_references(*[0.5] * 4)),
        record("diep-fold1@untrained:1", over_references(*[0.4] * 4)),
        record("diep-fold1@untrained:2", over_references(*[0.3] * 4)),
        record("soap", over_references(*[0.1] * 4)),
    ]
    one = above_free(records, DESCRIPTORS)["diep-fold1"]
    assert one.best == OWN_TWINS
    assert one.estimate.value == pytest.approx(0.15)
    assert one.estimate.parts["seeds"] == pytest.approx(np.std([0.3, 0.4], ddof=1) / np.sqrt(2))


def test_only_references_that_all_are_compared_with_count() -> None:
    """A descriptor is compared with all; a target not with those of its own lineage, which say nothing here then."""
    own = dict(list(over_references(0.5, 0.5, 0.5, 0.5).items())[:3])
    records = [record("chgnet-r2scan", own), record("soap", over_references(0.1, 0.1, 0.1, 0.9))]
    one = above_free(records, DESCRIPTORS)["chgnet-r2scan"]
    assert one.estimate.value == pytest.approx(0.4)
    assert above_free(records[:1], DESCRIPTORS) == {}
