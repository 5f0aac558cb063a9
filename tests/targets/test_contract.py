"""Every target of the suite, with its real weights in its own environment, keeps the contract.

A new target file is found by itself; nothing has to be added here.
"""

from __future__ import annotations

from typing import Any

import pytest

from consilience import get_target, list_datasets, list_targets
from consilience.datasets.items import open_dataset
from consilience.embedding.process import EmbeddingSkippedError, covered_items
from consilience.testing import check_target


def _cells() -> list[Any]:
    """One data set of each kind of matter for each target."""
    cells: list[Any] = []
    for name, target in list_targets().items():
        kinds: set[str] = set()
        for dataset, entry in list_datasets().items():
            try:
                covered_items(target, open_dataset(dataset))
            except EmbeddingSkippedError:
                continue
            # Composition is constant among isomers: nothing there is distinct to a control that sees only it.
            if entry.card.matter not in kinds and dataset != "qm9-isomers-1k":
                kinds.add(entry.card.matter)
                cells.append(pytest.param(name, dataset, id=f"{name}-{entry.card.matter}"))
    return cells


@pytest.mark.environment
@pytest.mark.parametrize(("name", "dataset"), _cells())
def test_the_contract_holds(name: str, dataset: str) -> None:
    report = check_target(name, dataset=dataset)
    print(report)
    report.raise_for_failures()
    rules = {check.name for check in report.checks}
    assert "deterministic across processes" in rules
    if get_target(name).card.input_view == "atoms":
        assert "rotation, translation, atom order" in rules
    if get_target(name).card.untrained:
        assert "the untrained twin differs" in rules
