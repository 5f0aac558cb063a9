"""The contract check itself: it has to find what is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from consilience.testing import check_target

GOOD = "return Embedded([np.sort(a.get_all_distances().ravel())[-8:] for a in items])\n"


def test_a_good_target_passes_every_check(write_target: Callable[..., Path]) -> None:
    report = check_target(write_target(GOOD, name="check-good", card=", dimension=8"), dataset="qm9-1k", n=8)
    assert report.passed, str(report)
    assert "ok" in str(report)


@pytest.mark.parametrize(
    ("body", "card", "rule"),
    [
        ("return Embedded([a.positions.ravel()[:9] for a in items])\n", "", "rotation, translation, atom order"),
        ("return Embedded(np.sort(np.random.rand(len(items), 4)))\n", "", "repeatable"),
        (
            "return Embedded([[len(items), a.get_all_distances().max()] for a in items])\n",
            "",
            "independent of batch size",
        ),
        ("return Embedded([[1.0, len(set(a.numbers))] for a in items])\n", "", "distinct items, distinct rows"),
        (
            # Drawn once in each process. (Its id would do, but neighbouring ids agree to 1e-4.)
            "own = load.__dict__.setdefault('own', np.random.default_rng().normal(size=8))\n"
            "return Embedded([[*own, a.get_all_distances().max()] for a in items])\n",
            "",
            "deterministic across processes",
        ),
        (GOOD, ", untrained=True", "the untrained twin differs"),
        (
            # The same random network whatever the seed, hence whatever the card.
            "scale = np.random.default_rng(5 if weights.random else 6).normal(size=8)\n"
            "return Embedded([scale * np.sort(a.get_all_distances().ravel())[-8:] for a in items])\n",
            ", untrained=True",
            "no twin is shared",
        ),
        (
            # UniRep's twin, when the gains of its normalisation were drawn around zero.
            "return Embedded([[1 + 1e-9 * a.get_all_distances().max() + 2 / len(a), 3 - 1 / len(a)] for a in items])\n",
            "",
            "rows say more than the size",
        ),
        (GOOD, ', charge="used"', "total charge is used, as the card says"),
        (
            "return Embedded([[*np.sort(a.get_all_distances().ravel())[-8:], a.info['charge']] for a in items])\n",
            "",
            "total charge is ignored, as the card says",
        ),
        (
            "own = load.__dict__.setdefault('own', np.zeros((32, 8), np.float32))\n"
            "own[: len(items)] = [np.sort(a.get_all_distances().ravel())[-8:] for a in items]\n"
            "return Embedded(own[: len(items)])\n",
            "",
            "a result of its own for each batch",
        ),
        (
            "own = load.__dict__.setdefault('own', np.zeros(32))\n"
            "own[: len(items)] = [a.positions.std() for a in items]\n"
            "return Embedded([np.sort(a.get_all_distances().ravel())[-8:] for a in items], own[: len(items)])\n",
            "",
            "a result of its own for each batch",
        ),
        pytest.param(
            "for a in items:\n    a.positions -= a.positions.mean(axis=0)\n" + GOOD,
            "",
            "items left as they were",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "import subprocess\nload.__dict__.setdefault('all', []).append(subprocess.Popen(['sleep', '86400']))\n"
            + GOOD,
            "",
            "no process left behind",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_broken_rule_is_named(write_target: Callable[..., Path], body: str, card: str, rule: str) -> None:
    report = check_target(
        write_target(body, name=f"check-{abs(hash(body + card)) % 10**8}", card=card), dataset="qm9-1k", n=8
    )
    assert not report.passed
    assert rule in {check.name for check in report.checks if not check.passed}
    with pytest.raises(AssertionError, match=rule):
        report.raise_for_failures()


def test_a_crystal_is_the_same_in_a_larger_cell(write_target: Callable[..., Path]) -> None:
    extensive = "return Embedded([[len(a), a.get_volume()] for a in items])\n"
    report = check_target(write_target(extensive, name="check-extensive"), dataset="mp-1k", n=8)
    assert "supercell" in {check.name for check in report.checks if not check.passed}
    intensive = "return Embedded([[len(a) / a.get_volume(), a.numbers.mean()] for a in items])\n"
    assert check_target(write_target(intensive, name="check-intensive"), dataset="mp-1k", n=8).passed


SAVES = """
import pathlib
scale = float(weights.path.read_text()) if weights.kind == "file" else 2.0
def embed(items):
    return Embedded([scale * np.sort(a.get_all_distances().ravel())[-8:] for a in items])
embed.save = lambda path: pathlib.Path(path).write_text(str({scale}))
return embed
"""


@pytest.mark.parametrize(("scale", "passed"), [("scale", True), ("scale + 1", False)])
def test_what_a_target_saves_it_has_to_load(write_target: Callable[..., Path], scale: str, passed: bool) -> None:
    path = write_target(
        "return None\n",
        name=f"check-saves-{passed}".lower(),
        card=', accepts="a number"',
        preamble=SAVES.format(scale=scale),
    )
    report = check_target(path, dataset="qm9-1k", n=8)
    assert report.passed is passed
    (check,) = [check for check in report.checks if check.name == "saved and loaded again"]
    assert check.passed is passed


def test_the_report_says_where_it_ran_and_how_fast(write_target: Callable[..., Path]) -> None:
    report = check_target(write_target(GOOD, name="check-facts"), dataset="qm9-1k", n=4)
    assert {"environment", "weights", "loaded in", "speed"} <= set(report.facts)
    assert "all 14 rules hold" in str(report)


def test_an_exception_of_known_size_stands_on_the_card(write_target: Callable[..., Path]) -> None:
    body = "return Embedded([[100 + a.positions[:, 0].std(), a.get_all_distances().max()] for a in items])\n"
    card = ", invariant=False, rotation_deviation=0.05"
    assert check_target(write_target(body, name="check-not-invariant", card=card), dataset="qm9-1k", n=8).passed
