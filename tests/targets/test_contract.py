"""Every target of the suite keeps the contract in its own environment.

Targets whose weights come with their packages are examined with these weights. Where weights have to be downloaded
the untrained twin stands in: the package's own architecture with random weights, saved and loaded again through the
package's own loader. A new target file is found by itself; nothing has to be added here.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from consilience import get_dataset, get_target, list_targets
from consilience.cards import UNTRAINED
from consilience.datasets.items import open_dataset
from consilience.embedding.embed import EmbeddingSkippedError, covered_items
from consilience.isolation.environments import Header, ensure
from consilience.registry import PACKAGE, Target
from consilience.testing import check_target, sample_datasets


def _kinds_of_matter(target: Target) -> dict[str, str]:
    """One data set of each kind of matter that the target reads."""
    found: dict[str, str] = {}
    for dataset in sample_datasets():
        try:
            covered_items(target, open_dataset(dataset))
        except EmbeddingSkippedError:
            continue
        # Composition is constant among isomers: nothing there is distinct to a control that sees only it.
        if dataset != "qm9-isomers-1k":
            found.setdefault(get_dataset(dataset).card.matter, dataset)
    return found


#: Items of a data set in a contract: many for the first card of a file, fewer for the others; proteins are slow.
MANY = {"proteins-500": 8}
FEW = {"proteins-500": 4}


def _with_weights() -> list[Any]:
    """Every card on one kind of matter; the first of a file, whose code the others share, on all and on more items."""
    cells, seen = [], set()
    for name, target in list_targets().items():
        if target.card.access == "package":
            kinds = sorted(_kinds_of_matter(target).items())
            first = target.path not in seen
            seen.add(target.path)
            for matter, dataset in kinds if first else kinds[:1]:
                n = MANY.get(dataset, 24) if first else FEW.get(dataset, 8)
                cells.append(pytest.param(name, dataset, n, id=f"{name}-{matter}"))
    return cells


def _hub_targets() -> dict[str, Target]:
    """Targets whose weights are not at hand; an adapter that builds nothing by itself has no twin to examine."""
    found = {name: target for name, target in list_targets().items() if target.card.access != "package"}
    return {name: target for name, target in found.items() if target.card.untrained}


def _without_weights() -> list[Any]:
    """Twins of cards whose weights are elsewhere, on crystals where they read them: these ask more of a model.

    Of cards in one file that differ in training data or size alone the smallest is examined; that each has a twin which
    embeds is another test's matter.
    """
    cells, seen = [], set()
    for name, target in sorted(_hub_targets().items(), key=lambda found: found[1].card.parameters or 0):
        card = target.card
        network = (target.path, card.family, card.input_view, card.layer, card.pooling, card.invariant)
        if network not in seen:
            seen.add(network)
            matter, dataset = min(_kinds_of_matter(target).items())
            cells.append(pytest.param(name + UNTRAINED, dataset, id=f"{name}-{matter}"))
    return cells


@pytest.mark.environment
@pytest.mark.parametrize(("name", "dataset", "n"), _with_weights())
def test_the_contract_holds(name: str, dataset: str, n: int) -> None:
    report = check_target(name, dataset=dataset, n=n)
    print(report)
    report.raise_for_failures()
    rules = {check.name for check in report.checks}
    card = get_target(name).card
    assert "deterministic across processes" in rules
    if card.input_view == "atoms":
        assert "rotation, translation, atom order" in rules
        assert ("supercell" in rules) == (dataset == "mp-1k")
    if card.input_view == "backbone":
        assert "rotation, translation" in rules
    if card.untrained:
        assert "the untrained twin differs" in rules


@pytest.mark.environment
@pytest.mark.parametrize(("name", "dataset"), _without_weights())
def test_the_contract_holds_of_the_untrained_twin(name: str, dataset: str) -> None:
    report = check_target(name, dataset=dataset, n=FEW.get(dataset, 8))
    print(report)
    report.raise_for_failures()
    rules = {check.name for check in report.checks}
    assert {"independent of batch size", "deterministic across processes", "saved and loaded again"} <= rules
    view = get_target(name).card.input_view
    assert ("rotation, translation, atom order" in rules) == (view == "atoms")
    assert ("rotation, translation" in rules) == (view == "backbone")


#: Runs inside a family's environment: the twins of all its cards, one after another.
EMBED_TWINS = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from consilience.embedding.items_file import load_items
from consilience.registry import load_target_file
from consilience.weights import Weights, as_features
for target in load_target_file(sys.argv[2]):
    if target.card.access != "package" and target.card.untrained:
        items = load_items(f"{sys.argv[3]}/{target.card.input_view}.npz")
        embedded = target.load(target.card, Weights(kind="random"), "cpu")(items)
        features = as_features(embedded.features)
        assert target.card.dimension in (None, features.shape[1]), (target.name, features.shape)
        assert np.isfinite(features).all(), (target.name, embedded.reasons)
        print("embedded", target.name)
"""


@pytest.mark.environment
@pytest.mark.parametrize(
    "path", sorted({target.path for target in _hub_targets().values()}), ids=lambda path: path.stem
)
def test_every_card_of_a_file_has_a_twin_that_embeds(path: Path, tmp_path: Path) -> None:
    names = [name for name, target in _hub_targets().items() if target.path == path]
    for dataset in ("qm9-1k", "proteins-500"):
        items = open_dataset(dataset).head(2)
        for view in ("smiles", "selfies", "atoms", "sequence", "backbone"):
            if items.has_view(view):
                items.save(tmp_path / f"{view}.npz", view=view)
    python = ensure(Header.of(path))
    command = [str(python), "-I", "-c", EMBED_TWINS, str(PACKAGE.parent), str(path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("embedded ")}
    assert found == set(names)


def test_a_target_without_weights_at_hand_has_a_twin_and_reads_checkpoints() -> None:
    for name, target in list_targets().items():
        if target.card.access != "package":
            assert target.card.untrained or target.card.access == "file", name
            assert target.card.accepts, name
