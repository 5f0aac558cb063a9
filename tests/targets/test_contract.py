"""Every target of the suite keeps the contract in its own environment.

Targets whose weights come with their packages are examined with these weights. Where weights have to be downloaded
the untrained twin stands in: the package's own architecture with random weights, saved and loaded again through the
package's own loader. A new target file is found by itself; nothing has to be added here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest

from consilience import get_dataset, get_target, list_targets
from consilience.cards import UNTRAINED
from consilience.datasets.items import Items, open_dataset
from consilience.embedding.embed import covered_items
from consilience.embedding.errors import EmbeddingSkippedError
from consilience.isolation.environments import Header, ensure
from consilience.registry import PACKAGE, Target
from consilience.testing import EmbeddingFailedError, Report, check_target, check_targets, sample_datasets


@cache
def _opened(dataset: str) -> Items:
    return open_dataset(dataset)


def _kinds_of_matter(target: Target) -> dict[str, str]:
    """One data set of each kind of matter that the target reads."""
    found: dict[str, str] = {}
    for dataset in sample_datasets():
        try:
            covered_items(target, _opened(dataset))
        except EmbeddingSkippedError:
            continue
        # Composition is constant among isomers: nothing there is distinct to a control that sees only it.
        if dataset != "qm9-isomers-1k":
            found.setdefault(get_dataset(dataset).card.matter, dataset)
    return found


def _group(target: Target) -> pytest.MarkDecorator:
    """Tests of one file go to one process of pytest-xdist, which examines all of its cards at once."""
    return pytest.mark.xdist_group(target.path.stem)


def _marks(target: Target) -> list[pytest.MarkDecorator]:
    """The group of a target; one whose environment is small is a smoke test of isolation as well."""
    return [_group(target), *([pytest.mark.smoke] if target.card.name == SMOKE else [])]


class Reports:
    """Reports by cell; the first that is asked for examines all cells of its file in the same two processes."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str, int], Report | Exception] = {}

    def of(self, name: str, dataset: str, n: int, cells: Iterable[tuple[str, str, int]]) -> Report:
        """Report of a cell; `cells` are all that may be examined with it. Raises what the examination raised."""
        if (name, dataset, n) not in self._reports:
            path = get_target(name).path
            mine = [cell for cell in cells if get_target(cell[0]).path == path]
            names, datasets, sizes = (list(part) for part in zip(*mine, strict=True))
            try:
                reports = check_targets(names, dataset=datasets, n=sizes)
            except (EmbeddingFailedError, EmbeddingSkippedError):  # one of them: each for itself says which
                self._reports |= {cell: self._alone(*cell) for cell in mine}
            else:
                self._reports |= dict(zip(mine, reports, strict=True))
        report = self._reports[name, dataset, n]
        if isinstance(report, Exception):
            raise report
        return report

    def _alone(self, name: str, dataset: str, n: int) -> Report | Exception:
        try:
            return check_target(name, dataset=dataset, n=n)
        except (EmbeddingFailedError, EmbeddingSkippedError) as error:
            return error


@pytest.fixture(scope="session")
def reports() -> Reports:
    return Reports()


#: A real model whose environment holds three small packages: its contract is among the quick tests.
SMOKE = "foldseek-3di"
#: Items of a data set in a contract, by day and by night; proteins are slow.
FEW, MANY = (8, 4), (24, 8)
#: Files whose twin has over a thousand million weights: by night.
LARGE = {"esm3"}


def _number(dataset: str, sizes: tuple[int, int]) -> int:
    return sizes[dataset == "proteins-500"]


@lru_cache(maxsize=2)
def _with_weights(many: bool = False) -> list[Any]:
    """Every card on one kind of matter; the first of a file, whose code the others share, on all kinds.

    With `many`, the first of a file alone, on more items.
    """
    cells, seen = [], set()
    for name, target in list_targets().items():
        if target.card.access == "package":
            kinds = sorted(_kinds_of_matter(target).items())
            first = target.path not in seen
            seen.add(target.path)
            for matter, dataset in kinds if first else [] if many else kinds[:1]:
                n = _number(dataset, MANY if many else FEW)
                marks = [_group(target)] if many else _marks(target)
                cells.append(pytest.param(name, dataset, n, id=f"{name}-{matter}", marks=marks))
    return cells


def _hub_targets() -> dict[str, Target]:
    """Targets whose weights are not at hand; an adapter that builds nothing by itself has no twin to examine."""
    found = {name: target for name, target in list_targets().items() if target.card.access != "package"}
    return {name: target for name, target in found.items() if target.card.untrained}


@lru_cache(maxsize=1)
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
            marks = [_group(target), *([pytest.mark.nightly] if target.path.stem in LARGE else [])]
            cells.append(pytest.param(name + UNTRAINED, dataset, id=f"{name}-{matter}", marks=marks))
    return cells


@pytest.mark.environment
@pytest.mark.parametrize(("name", "dataset", "n"), _with_weights())
def test_the_contract_holds(name: str, dataset: str, n: int, reports: Reports) -> None:
    report = reports.of(name, dataset, n, [cell.values for cell in _with_weights()])
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


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "dataset", "n"), _with_weights(many=True))
def test_the_contract_holds_on_many_items(name: str, dataset: str, n: int, reports: Reports) -> None:
    reports.of(name, dataset, n, [cell.values for cell in _with_weights(many=True)]).raise_for_failures()


@pytest.mark.environment
@pytest.mark.parametrize(("name", "dataset"), _without_weights())
def test_the_contract_holds_of_the_untrained_twin(name: str, dataset: str, reports: Reports) -> None:
    cells = [(*cell.values, _number(str(cell.values[1]), FEW)) for cell in _without_weights()]
    report = reports.of(name, dataset, _number(dataset, FEW), cells)
    print(report)
    report.raise_for_failures()
    rules = {check.name for check in report.checks}
    assert {"independent of batch size", "deterministic across processes", "saved and loaded again"} <= rules
    view = get_target(name).card.input_view
    assert ("rotation, translation, atom order" in rules) == (view == "atoms")
    assert ("rotation, translation" in rules) == (view == "backbone")


def _not_examined() -> dict[Path, list[str]]:
    """Cards without weights at hand whose twin is in no contract, since another of their file is: by file."""
    examined = {str(cell.values[0]) for cell in _without_weights()}
    names: dict[Path, list[str]] = {}
    for name, target in _hub_targets().items():
        if name + UNTRAINED not in examined:
            names.setdefault(target.path, []).append(name)
    return names


#: Runs inside a family's environment: the twins of the named cards, one after another.
EMBED_TWINS = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from consilience.datasets.layout import load_items
from consilience.registry import load_target_file
from consilience.weights import Weights, as_features
for target in load_target_file(sys.argv[2]):
    if target.name in sys.argv[4:]:
        items = load_items(f"{sys.argv[3]}/{target.card.input_view}.npz")
        embedded = target.load(target.card, Weights(kind="random"), "cpu")(items)
        features = as_features(embedded.features)
        assert target.card.dimension in (None, features.shape[1]), (target.name, features.shape)
        assert np.isfinite(features).all(), (target.name, embedded.reasons)
        print("embedded", target.name)
"""


@pytest.mark.environment
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=pytest.mark.xdist_group(path.stem)) for path in sorted(_not_examined())],
)
def test_every_other_card_of_a_file_has_a_twin_that_embeds(path: Path, tmp_path: Path) -> None:
    names = _not_examined()[path]
    for dataset in ("qm9-1k", "proteins-500"):
        items = open_dataset(dataset).head(2)
        for view in ("smiles", "selfies", "atoms", "sequence", "backbone"):
            if items.has_view(view):
                items.save(tmp_path / f"{view}.npz", view=view)
    python = ensure(Header.of(path))
    command = [str(python), "-I", "-c", EMBED_TWINS, str(PACKAGE.parent), str(path), str(tmp_path), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("embedded ")}
    assert found == set(names)


def test_a_target_without_weights_at_hand_has_a_twin_and_reads_checkpoints() -> None:
    for name, target in list_targets().items():
        if target.card.access != "package":
            assert target.card.untrained or target.card.access == "file", name
            assert target.card.accepts, name
