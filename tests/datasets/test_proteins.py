"""What the embedded data sets of proteins hold."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from consilience.datasets import Items, open_dataset
from consilience.datasets.layout import load_items
from consilience.datasets.tables import DATA, table_of
from consilience.registry import get_dataset

NAME = "proteins-500"
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="module")
def proteins() -> Items:
    return open_dataset(NAME)


def test_five_hundred_unique_chains_ordered_by_id(proteins: Items) -> None:
    assert len(proteins) == proteins.card.items == 500
    assert proteins.ids == sorted(set(proteins.ids))
    assert all(re.fullmatch(r"[0-9][0-9A-Z]{3}_[0-9A-Za-z]", one) for one in proteins.ids)


def test_revision_is_the_hash_of_the_file(proteins: Items) -> None:
    assert proteins.revision == hashlib.sha256((DATA / f"{NAME}.parquet").read_bytes()).hexdigest()


def test_schema() -> None:
    import datasets

    value, rows = datasets.Value, datasets.List
    assert dict(table_of(get_dataset(NAME)).features) == {
        "id": value("string"),
        "sequence": value("string"),
        "backbone": rows(rows(rows(value("float32"), length=3), length=4)),
        "secondary": value("string"),
        "n_residues": value("uint16"),
        "length_bin": value("string"),
    }


def test_card_declares_what_is_there(proteins: Items) -> None:
    for view in proteins.card.views:
        assert len(proteins.view(view)) == 500
    for column in proteins.card.strata:
        assert proteins.strata(column).shape == (500,)
    assert proteins.energy is None
    with pytest.raises(ValueError, match="has no view 'atoms'"):
        proteins.view("atoms")


def test_sequences_are_standard_distinct_and_of_middling_length(proteins: Items) -> None:
    sequences = proteins.view("sequence")
    assert len(set(sequences)) == 500
    assert set("".join(sequences)) == set(LETTERS)
    lengths = [len(one) for one in sequences]
    assert 40 <= min(lengths) < 60
    assert 390 < max(lengths) <= 400
    assert proteins.column("n_residues").tolist() == lengths
    assert [len(one) for one in proteins.column("secondary")] == lengths


def test_chains_fit_their_bins(proteins: Items) -> None:
    bins = {text: tuple(map(int, text.split("-"))) for text in set(proteins.strata("length_bin"))}
    for n, text in zip(proteins.column("n_residues"), proteins.strata("length_bin"), strict=True):
        assert bins[text][0] <= n <= bins[text][1]
    bounds = sorted(bins.values())
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(bounds))
    assert all((last + 1) / first < 1.15 for first, last in bounds)
    assert min(Counter(proteins.strata("length_bin").tolist()).values()) > 1  # nothing to shuffle otherwise


@pytest.mark.parametrize("name", [NAME, "proteins-matched-500"])
def test_backbones_have_the_geometry_of_peptides(name: str) -> None:
    proteins = open_dataset(name)
    lengths: dict[str, list[np.ndarray]] = {"N-CA": [], "CA-C": [], "C-O": [], "C-N": []}
    for backbone, sequence in zip(proteins.view("backbone"), proteins.view("sequence"), strict=True):
        assert backbone.sequence == sequence
        assert backbone.coordinates.shape == (len(sequence), 4, 3)
        assert backbone.coordinates.dtype == np.float32
        assert np.isfinite(backbone.coordinates).all()
        n, ca, c, o = np.moveaxis(backbone.coordinates.astype(float), 1, 0)
        assert abs(ca.mean(axis=0)).max() < 0.0051  # moved by whole hundredths
        pairs = {"N-CA": (n, ca), "CA-C": (ca, c), "C-O": (c, o), "C-N": (c[:-1], n[1:])}
        for bond, (first, second) in pairs.items():
            lengths[bond].append(np.linalg.norm(first - second, axis=-1))
    for bond, usual in {"N-CA": 1.46, "CA-C": 1.525, "C-O": 1.23, "C-N": 1.33}.items():
        found = np.concatenate(lengths[bond])
        assert np.median(found) == pytest.approx(usual, abs=0.01), bond
        assert abs(found - usual).max() < 0.4, bond


def test_helices_turn_to_the_right(proteins: Items) -> None:
    # A mirror image, such as axes in another order give, would leave all bond lengths as they are.
    turns = []
    for backbone, states in zip(proteins.view("backbone"), proteins.column("secondary"), strict=True):
        ca = backbone.coordinates[:, 1].astype(float)
        for i in re.finditer("(?=HHHHHH)", str(states)):
            a, b, c = np.diff(ca[i.start() + 1 : i.start() + 5], axis=0)
            turns.append(np.dot(np.cross(a, b), c))
    assert len(turns) > 10_000
    assert (np.array(turns) > 0).mean() > 0.999


def test_composition_counts_residues(proteins: Items) -> None:
    counts, symbols = proteins.composition()
    assert symbols == tuple(LETTERS)
    assert counts.sum(axis=1).tolist() == proteins.column("n_residues").tolist()
    assert counts[7].tolist() == [proteins.view("sequence")[7].count(one) for one in LETTERS]
    assert proteins.controls().shape == (500, 43)


def test_arrow_reading_equals_row_by_row_reading(proteins: Items) -> None:
    table = table_of(get_dataset(NAME))
    for i in range(0, 500, 50):
        row, (backbone,) = table[i], proteins.view("backbone", [i])
        assert backbone.sequence == row["sequence"]
        assert backbone.coordinates.tolist() == row["backbone"]
        assert proteins.ids[i] == row["id"]


def test_items_file_keeps_chains(proteins: Items, tmp_path: Path) -> None:
    proteins.save(tmp_path / "items.npz", [3, 499, 0], view="backbone")
    for one, i in zip(load_items(tmp_path / "items.npz"), [3, 499, 0], strict=True):
        (same,) = proteins.view("backbone", [i])
        assert one.sequence == same.sequence
        np.testing.assert_array_equal(one.coordinates, same.coordinates)


@pytest.fixture(scope="module")
def matched() -> Items:
    return open_dataset("proteins-matched-500")


def test_fifty_groups_of_ten_chains(matched: Items) -> None:
    assert matched.ids == sorted(set(matched.ids))
    assert matched.revision == hashlib.sha256((DATA / "proteins-matched-500.parquet").read_bytes()).hexdigest()
    groups = Counter(matched.strata("matched_group").tolist())
    assert Counter(groups.values()) == {10: 50}
    assert set(groups) <= set(matched.ids)  # a group is named by its first
    assert len(set(matched.view("sequence"))) == 500
    assert matched.column("n_residues").tolist() == [len(one) for one in matched.view("sequence")]


def test_chains_of_a_group_are_alike_in_length_and_composition(matched: Items) -> None:
    counts, symbols = matched.composition()
    assert symbols == tuple(LETTERS)
    lengths = counts.sum(axis=1)
    fractions = counts / lengths[:, None]
    first = np.array([matched.ids.index(one) for one in matched.strata("matched_group")])
    assert (abs(lengths - lengths[first]) <= 0.05 * lengths[first]).all()
    apart = abs(fractions - fractions[first]).sum(axis=1)
    assert apart.max() <= 0.25 + 2e-5  # found in parts per million, rounded down
    assert (apart > 0).sum() == 450
    shuffled = np.random.default_rng(0).permutation(500)
    assert abs(fractions - fractions[shuffled]).sum(axis=1).mean() > 1.6 * apart[apart > 0].mean()


def test_chains_in_both_data_sets_are_the_same(proteins: Items, matched: Items) -> None:
    shared = sorted(set(proteins.ids) & set(matched.ids))
    assert shared
    for one in shared:
        (here,), (there,) = (items.view("backbone", [items.ids.index(one)]) for items in (proteins, matched))
        assert here.sequence == there.sequence
        np.testing.assert_array_equal(here.coordinates, there.coordinates)
