"""In or out of distribution: what cards say, and what counted ids say."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from consilience import Card, list_datasets
from consilience.datasets import Items, open_dataset
from consilience.registry import PACKAGE, Target, get_target, list_targets
from consilience.scoring.lineage import DRAWN_FROM, Distribution, collections, distribution
from consilience.weights import Weights


def trained(folder: Path = Path(), **fields: Any) -> Target:
    """A target of which only the card matters."""

    def load(card: Card, weights: Weights, device: str) -> Any:
        raise AssertionError("nothing is embedded here")

    return Target(Card(name="toy", family="toy", modality="atoms", **fields), load, folder / "target_toy.py", Weights())


@pytest.mark.parametrize(
    ("collection", "dataset", "label"),
    [
        ("MPtrj", "mp-1k", "in"),
        ("MPtrj", "mp-polymorphs", "in"),
        ("MPtrj", "qm9-1k", "out"),
        ("OMat24", "mp-1k", "out"),  # drawn from Alexandria
        ("UniRef50", "proteins-500", "in"),
        ("UniRef50", "proteins-matched-500", "in"),
        ("OAS", "proteins-500", "out"),
        ("CATH", "proteins-500", "in"),
        ("ODAC23", "mof-500", "in"),
        ("MPtrj", "mof-500", "out"),
        ("PDB-ligands", "ccd-1k", "in"),
        ("ChEMBL", "ccd-1k", "out"),
    ],
)
def test_what_a_collection_was_drawn_from_counts(collection: str, dataset: str, label: str) -> None:
    found = distribution(trained(trained_on=("another", collection)), open_dataset(dataset))
    assert found == Distribution(label, None)  # type: ignore[arg-type]


def test_names_are_compared_without_case_and_followed_to_the_end() -> None:
    assert collections(["ODAC23"]) == {"odac23", "core-mof", "csd"}
    assert collections(["MpTrj", "x"]) == {"mptrj", "materials-project", "x"}
    assert all(name == name.lower() for pair in DRAWN_FROM.items() for name in (pair[0], *pair[1]))


def test_targets_of_the_suite() -> None:
    mp, proteins, mof = (open_dataset(name) for name in ("mp-1k", "proteins-500", "mof-500"))
    assert distribution(get_target("chgnet-0.3.0"), mp).label == "in"
    assert distribution(get_target("dpa4-mini-omat24"), mp).label == "out"
    assert distribution(get_target("esm2-8m"), proteins).label == "in"
    assert distribution(get_target("antiberty"), proteins).label == "out"
    assert distribution(get_target("uma-s-1p1"), mof).label == "in"
    assert distribution(get_target("transformers"), mp).label == "unknown"  # a card that is silent


def test_outside_its_domain_a_target_is_out_of_distribution_whatever_it_was_trained_on() -> None:
    proteins = open_dataset("proteins-500")
    assert distribution(trained(trained_on=("PDB",)), proteins).label == "in"
    assert distribution(trained(trained_on=("PDB",), domain="antibodies"), proteins).label == "out"
    of_antibodies = Items(proteins.card.model_copy(update={"domain": "antibodies"}), proteins._table)
    assert distribution(trained(trained_on=("PDB",), domain="antibodies"), of_antibodies).label == "in"
    assert {get_target(name).card.domain for name in ("antiberty", "sapiens-vh", "sapiens-vl")} == {"antibodies"}


def test_what_was_not_trained_lies_nowhere() -> None:
    mp = open_dataset("mp-1k")
    assert distribution(get_target("soap"), mp) == Distribution(None)
    assert distribution(get_target("chgnet-0.3.0@untrained"), mp) == Distribution(None)


def test_every_embedded_data_set_says_what_it_was_drawn_from() -> None:
    own = [entry for entry in list_datasets().values() if entry.path.is_relative_to(PACKAGE)]  # not a user's file
    assert own
    for entry in own:
        assert entry.card.lineage, entry.name


def test_collections_that_targets_name_and_data_sets_name_are_written_alike() -> None:
    """A target trained on what a data set is drawn from, spelled otherwise, would be out of distribution."""
    told = {name for entry in list_datasets().values() for name in entry.card.lineage}
    told |= {name for target in list_targets().values() for name in target.card.trained_on or ()}
    plain = {"".join(filter(str.isalnum, name.casefold())) for name in told}
    assert len(plain) == len({name.casefold() for name in told})


def test_a_silent_card_is_unknown() -> None:
    assert distribution(trained(), open_dataset("qm9-1k")) == Distribution("unknown")


def own_items() -> Items:
    """Items of a user's file: nobody said where they come from."""
    qm9 = open_dataset("qm9-1k")
    card = qm9.card.model_copy(update={"name": "mine", "lineage": (), "revision": None})
    return Items(card, qm9._table)


def test_of_a_users_file_only_ids_can_tell(tmp_path: Path) -> None:
    assert distribution(trained(trained_on=("QM9",)), own_items()) == Distribution("unknown")
    (tmp_path / "ids").write_text("something-else\n")
    assert distribution(trained(tmp_path, training_ids="ids"), own_items()) == Distribution("out", 0.0)


def test_items_shared_with_a_data_set_that_the_card_names_are_counted() -> None:
    qm9, isomers = open_dataset("qm9-1k"), open_dataset("qm9-isomers-1k")
    assert distribution(trained(trained_on=("qm9-isomers-1k",)), qm9) == Distribution("out", 0.004)
    assert distribution(trained(trained_on=("QM9-1k",)), isomers) == Distribution("out", 0.004)
    assert distribution(trained(trained_on=("qm9-1k",)), qm9) == Distribution("in", 1.0)
    both = trained(trained_on=("qm9-1k", "qm9-isomers-1k"))
    assert distribution(both, isomers.select(range(10))) == Distribution("in", 1.0)


def test_ids_that_mean_something_else_are_not_compared() -> None:
    proteins = open_dataset("proteins-500")
    assert distribution(trained(trained_on=("qm9-1k",)), proteins) == Distribution("out", None)


def test_a_data_set_that_is_not_built_is_not_counted(own_cache: Path) -> None:
    assert distribution(trained(trained_on=("qm9",)), open_dataset("qm9-1k")) == Distribution("in", None)


@pytest.mark.parametrize("name", ["ids.txt", "ids.txt.gz"])
def test_a_file_of_ids_is_counted(tmp_path: Path, name: str) -> None:
    qm9 = open_dataset("qm9-1k")
    text = "\n".join([*qm9.ids[:370], "of-no-data-set-here"]) + "\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    assert distribution(trained(tmp_path, training_ids=name), qm9) == Distribution("in", 0.37)
    assert distribution(trained(tmp_path, training_ids=name), open_dataset("mp-1k")) == Distribution("out", 0.0)


def test_a_few_items_seen_are_not_a_home(tmp_path: Path) -> None:
    qm9 = open_dataset("qm9-1k")
    for count, label in ((9, "out"), (10, "in")):
        (tmp_path / "ids").write_text("\n".join(qm9.ids[:count]))
        assert distribution(trained(tmp_path, training_ids="ids"), qm9) == Distribution(label, count / 1000)  # type: ignore[arg-type]


def test_ids_and_cards_add_up(tmp_path: Path) -> None:
    """None of the items was seen, but what they were drawn from was."""
    (tmp_path / "ids").write_text("mp-0\n")
    found = distribution(trained(tmp_path, training_ids="ids", trained_on=("MPtrj",)), open_dataset("mp-1k"))
    assert found == Distribution("in", 0.0)
