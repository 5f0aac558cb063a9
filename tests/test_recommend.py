from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from consilience.board.groups import read_pairs
from consilience.cli import main
from consilience.datasets.items import Items, open_dataset
from consilience.embedding.store import Store
from consilience.recommend import Candidate, Recommendation, choose_candidates, property_of
from consilience.recommend.analysis import CandidatePair, ProbedProperty, _group, _rank, _sentence
from consilience.records.migrations import read_record
from consilience.records.record import Interval
from consilience.scoring.presets import RANKED
from consilience.user_files import open_file

V1 = Path(__file__).parents[1] / "leaderboard" / "v1"
REFERENCES = ("chgnet-0.3.0", "diep-fold1", "sevennet-0")


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Run the command as the suite's own command line does, which turns errors into a line and exit code 2."""
    result = CliRunner().invoke(main, ["recommend", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def on_mp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommendation, Path]:
    """The shipped embeddings of mp-1k compared; and the folder of what was written."""
    folder = tmp_path_factory.mktemp("recommend")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSILIENCE_CACHE", str(folder / "cache"))
        label = open_dataset("mp-1k").card.energy
        assert label is not None
        code, text, _ = invoke(
            *("--structures", "mp-1k", "--property", label.name, "--cached", "--json"),
            *("--targets", ",".join((*REFERENCES, "soap", "size", "minimol"))),
            *("--output", str(folder / "found.csv")),
        )
    assert code == 0
    return Recommendation.model_validate_json(text), folder


def test_errors_are_those_of_the_published_records(on_mp: tuple[Recommendation, Path]) -> None:
    found = on_mp[0]
    candidates = {one.target: one for one in found.candidates}
    assert set(candidates) == {*REFERENCES, "soap", "size"}
    assert found.probed is not None
    errors = [one.probe.value for one in found.candidates]  # type: ignore[union-attr]
    for name, one in candidates.items():
        record = read_record(V1 / "results" / "mp-1k" / f"{name}.json")
        assert record.probe is not None
        assert one.probe is not None
        assert one.probe.value == pytest.approx(record.probe.mae, rel=1e-4)
        assert found.probed.baseline.value == pytest.approx(record.probe.baseline, rel=1e-4)
        assert one.behind is not None
        assert one.behind.value == pytest.approx(one.probe.value - min(errors), abs=2e-6)
        assert one.probe.low < one.probe.value < one.probe.high  # type: ignore[operator]
        assert one.seconds_per_1000 == pytest.approx(1000 / record.items_per_second, rel=1e-4)  # type: ignore[operator]


def test_alignment_is_that_of_the_published_records(on_mp: tuple[Recommendation, Path]) -> None:
    found = on_mp[0]
    # With the board's references as candidates, each is compared with what the board compares it with.
    for one in found.candidates:
        record = read_record(V1 / "results" / "mp-1k" / f"{one.target}.json")
        published = record.scores[RANKED].alignment
        # Which of two embeddings is relabelled decides the null, a little.
        assert one.alignment.value == pytest.approx(published.value, abs=0.005)
        assert one.alignment.low == pytest.approx(published.low, abs=0.01)
        assert one.alignment.high == pytest.approx(published.high, abs=0.01)
    pairs = read_pairs(V1, "mp-1k")
    assert pairs is not None
    published_pairs = {frozenset((p.first, p.second)): p.scores[RANKED] for p in pairs.pairs}
    assert len(found.pairs) == 10
    for pair in found.pairs:
        old = published_pairs[frozenset((pair.first, pair.second))]
        assert pair.calibrated == pytest.approx(old.calibrated, abs=0.005)


def test_ranks_follow_the_errors_and_what_is_left_out_says_why(on_mp: tuple[Recommendation, Path]) -> None:
    found, folder = on_mp
    assert [one.rank for one in found.candidates] == [1, 2, 3, 4, 5]
    best = min(found.candidates, key=lambda one: one.probe.value)  # type: ignore[arg-type, return-value, union-attr]
    first = found.candidates[0]
    assert first is best or (first.tied and best.tied)
    assert first.target in found.sentence
    assert {one.target: one.reason for one in found.left_out} == {"minimol": "reads smiles, which mp-1k does not have"}
    with (folder / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["target"] for row in rows] == [one.target for one in found.candidates]
    assert float(rows[0]["probe_error"]) == pytest.approx(first.probe.value, rel=1e-5)  # type: ignore[union-attr]


@pytest.mark.slow
def test_unasked_only_what_is_at_hand_or_quick_is_compared(own_cache: Path) -> None:
    items = open_dataset("mp-1k")
    chosen, left = choose_candidates(items, Store(), cached=True)
    reasons = {one.target: one.reason for one in left}
    # What the package ships is at hand; a list of names says nothing of the items.
    assert {target.name for target in chosen} == {*REFERENCES, "soap", "composition", "size"}
    assert "smiles" in reasons["minimol"]
    assert "--cached" in reasons["chgnet-0.2.0"]
    assert "random-gaussian" not in reasons
    random_features = {f"composition-relu-{draw}" for draw in (1, 2, 3)}
    quick = {target.name for target in choose_candidates(items, Store(), quick=0)[0]}
    assert quick == {*REFERENCES, "soap", "composition", "size", *random_features}


@pytest.fixture
def crystals(tmp_path: Path) -> Path:
    """Sixty crystals of mp-1k as a user's file, with columns of their own."""
    from ase.io import write

    items = open_dataset("mp-1k").head(60)
    label = items.energy
    assert label is not None
    structures = items.view("atoms")
    for name, atoms, energy in zip(items.ids, structures, label, strict=True):
        volume = atoms.get_volume() / len(atoms)
        atoms.info = {"id": name, "energy": float(energy), "volume_per_atom": volume, "volume": atoms.get_volume(),
                      "origin": "mp", "same": 1.0}  # fmt: skip
    path = tmp_path / "mine.extxyz"
    write(path, structures)
    return path


def test_a_users_column_is_read_from_the_file(crystals: Path) -> None:
    items = open_file(crystals)
    assert items.energy is not None
    sizes = np.array([len(atoms) for atoms in items.view("atoms")])
    energy = property_of(items, "energy", path=crystals)
    assert (energy.unit, energy.per_atom) == ("eV/atom", True)
    np.testing.assert_allclose(energy.values, items.energy / sizes)
    wanted = [atoms.get_volume() for atoms in items.view("atoms")]
    volume = property_of(items, "volume", path=crystals)
    assert not volume.per_atom
    np.testing.assert_allclose(volume.values, wanted, rtol=1e-6)
    each = property_of(items, "volume", path=crystals, per_atom=True)
    np.testing.assert_allclose(each.values, property_of(items, "volume_per_atom", path=crystals).values, rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("gap", "mine has no such column; columns of numbers: energy, n_atoms, same, volume, volume_per_atom"),
        ("origin", "--property origin: expected numbers, found 'mp' for item 1"),
        ("same", "--property same: found the same, 1, for all 60 items"),
    ],
)
def test_a_column_that_is_no_property_is_refused(crystals: Path, column: str, said: str) -> None:
    with pytest.raises(ValueError, match="--property") as caught:
        property_of(open_file(crystals), column, path=crystals)
    assert said in str(caught.value)


def test_a_column_of_a_table_of_smiles(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("name,smiles,solubility\na,CCO,1.5\nb,CCC,\nc,CCN,-2\n")
    found = property_of(open_file(path), "solubility", path=path)
    np.testing.assert_array_equal(found.values, [1.5, np.nan, -2.0])


def test_a_users_file_from_end_to_end(crystals: Path, write_target: Callable[..., Path], own_cache: Path) -> None:
    body = "return Embedded([[a.get_volume() / len(a), a.get_volume(), len(a)] for a in items])\n"
    own = write_target(body, name="volumes")
    arguments = ("--structures", str(crystals), "--property", "volume_per_atom", "--targets", f"{own},composition,size")
    code, text, said = invoke(*arguments)
    assert code == 0
    assert "embedding volumes (1 of 3)" in said
    assert text.startswith("Take volumes: lowest probe error (")
    assert "no embedding" in text
    # What was embedded is stored: nothing is embedded again.
    code, text, said = invoke(*arguments, "--json")
    assert (code, said) == (0, "")
    found = json.loads(text)
    assert found["schema_version"] == 1
    assert found["candidates"][0]["target"] == "volumes"
    assert found["candidates"][0]["gain"]["low"] > 0


def test_what_could_not_run_is_one_line_and_code_2(crystals: Path, own_cache: Path) -> None:
    code, _, said = invoke("--structures", "no-such-file.extxyz")
    assert (code, said) == (2, "consilience: no file or folder at no-such-file.extxyz\n")
    code, _, said = invoke("--structures", str(crystals), "--targets", "chgnet-0.3.0", "--cached")
    assert code == 2
    assert "no candidate is left to compare (chgnet-0.3.0: its embedding is not available locally (--cached))" in said
    code, _, said = invoke("--structures", str(crystals), "--targets", "chgnet")
    assert code == 2
    assert "no target is named 'chgnet'" in said
    code, _, said = invoke("--structures", str(crystals), "--per-atom")
    assert code == 2
    assert "--property" in said


def test_too_few_items_are_refused(tmp_path: Path, crystals: Path, own_cache: Path) -> None:
    from ase.io import read, write

    path = tmp_path / "few.extxyz"
    write(path, read(crystals, ":40"))
    code, _, said = invoke("--structures", str(path), "--targets", "composition,size")
    assert (code, said.splitlines()[-1]) == (
        2,
        "consilience: few: 40 items are embedded by all candidates, 51 are needed",
    )


def _made(name: str, error: float, cost: float, *, gain: float = 0.5, trained: bool = True) -> Candidate:
    """Make a candidate whose error's interval is +- 0.1."""
    return Candidate(
        target=name, title=name, family=name, modality="atoms", trained=trained, distribution=None, coverage=1,
        dimension=1, parameters=None, alignment=Interval(value=1 - error), seconds_per_1000=cost,
        probe=Interval(value=error, low=error - 0.1, high=error + 0.1),
        gain=Interval(value=gain, low=gain - 0.1, high=gain + 0.1),
    )  # fmt: skip


def _drawn(made: list[Candidate], *, noise: float = 0.06) -> dict[str, NDArray[np.float64]]:
    """Errors in resamples that deviate independently: a difference of 0.17 and less is none."""
    random = np.random.default_rng(0)
    return {one.target: one.probe.value + random.normal(0, noise, 4000) for one in made}  # type: ignore[union-attr]


def test_of_ties_the_cheaper_comes_first() -> None:
    # b and e can't be told from a, d not from c; e costs nothing and reads nothing
    made = [_made("d", 1.3, 9), _made("c", 1.25, 10), _made("a", 1.0, 10), _made("b", 1.12, 1)]
    made.append(_made("e", 1.1, 0, gain=0.05))
    ranked = _rank(made, _drawn(made))
    assert [(one.target, one.rank, one.tied) for one in ranked] == [
        ("b", 1, True),
        ("a", 2, True),
        ("e", 3, True),
        ("d", 4, True),
        ("c", 5, True),
    ]
    # The same errors, but they rise and fall together from item to item: no ties.
    ranked = _rank(made, _drawn(made, noise=0))
    assert [one.target for one in ranked] == ["a", "e", "b", "c", "d"]
    assert not any(one.tied for one in ranked)
    by_alignment = _rank([_made("x", 0.7, 1), _made("y", 0.2, 9), _made("z", 0.1, 1, trained=False)], None)
    assert [(one.target, one.rank) for one in by_alignment] == [("y", 1), ("x", 2), ("z", None)]


def _ranked(*made: Candidate) -> list[Candidate]:
    return _rank(list(made), _drawn(list(made)))


def _pair(first: str, second: str, value: float) -> CandidatePair:
    return CandidatePair(
        first=first, second=second, calibrated=value, low=None, high=None, p_value=None, same_group=False
    )


def test_what_says_the_same_is_one_group_by_average_linkage() -> None:
    ranked = _ranked(_made("a", 1.0, 1), _made("b", 1.5, 1), _made("c", 2.0, 4), _made("d", 3.0, 1))
    # a-b join at 0.8; c is 0.45 from them on average: together from 0.45 on, apart above
    pairs = [_pair("a", "b", 0.8), _pair("a", "c", 0.6), _pair("b", "c", 0.3), _pair("a", "d", 0.1)]
    assert _group(ranked, pairs, 0.5) == [["a", "b"], ["c"], ["d"]]
    assert [pair.same_group for pair in pairs] == [True, False, False, False]
    ranked = _ranked(_made("a", 1.0, 1), _made("b", 1.5, 1), _made("c", 2.0, 4), _made("d", 3.0, 1))
    assert _group(ranked, pairs, 0.45) == [["a", "b", "c"], ["d"]]
    assert [one.representative for one in ranked] == [True, False, False, True]
    probed = ProbedProperty(name="x", unit="eV", per_atom=False, items=99, baseline=Interval(value=4, low=3, high=5))
    assert _sentence(ranked, probed) == (
        "Take a: lowest probe error (1 [0.9, 1.1] eV; 4 [3, 5] from composition and size alone), 4 times as fast as "
        "c, which says the same; distil from it, too: it is the most central."
    )


def test_no_model_is_recommended_that_reads_no_more_than_composition() -> None:
    ranked = _ranked(_made("a", 1.0, 1, gain=0.0), _made("b", 1.5, 1, gain=-0.5))
    probed = ProbedProperty(name="x", unit="", per_atom=False, items=99, baseline=Interval(value=1))
    assert _sentence(ranked, probed).startswith("No candidate is shown to read more of x than composition and size do")


def test_a_lone_candidate_has_an_error_and_no_alignment(own_cache: Path) -> None:
    code, text, _ = invoke("--structures", "mp-1k", "--targets", "soap", "--cached")
    assert code == 0
    assert text.startswith("Nothing can be said: alignment takes trained candidates of two families at least.")


def test_items_are_those_of_the_data_set(on_mp: tuple[Recommendation, Path]) -> None:
    items: Items = open_dataset("mp-1k")
    assert (on_mp[0].items, on_mp[0].revision) == (len(items), items.revision)
    assert on_mp[0].compared_on == 1000
