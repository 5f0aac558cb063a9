"""The class through which the suite reads any data set, on a small table of its own."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import selfies
from ase import Atoms
from rdkit import Chem

import datasets
from consilience.cards import DatasetCard, Label
from consilience.datasets import Items, open_dataset
from consilience.datasets.layout import Structures, load_ids, load_items, save_items
from consilience.registry import UnknownNameError

WATER, HYDROGEN, CESIUM_CHLORIDE = [8, 1, 1], [1, 1], [55, 17]


def make_card(**changes: Any) -> DatasetCard:
    fields: dict[str, Any] = {
        "name": "small",
        "title": "three structures",
        "matter": "molecule",
        "views": ("id", "smiles", "atoms"),
        "items": 3,
        "energy": Label(name="energy", unit="eV", description="made up"),
        "strata": ("formula",),
        "licence": "CC0-1.0",
        "citation": "none",
        "source": "this file",
        "recipe": "this file",
        "selection": "all",
    }
    return DatasetCard(**fields | changes)


def make_columns() -> dict[str, list[Any]]:
    zero, cube = [[0.0] * 3] * 3, [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]
    return {
        "id": ["water", "hydrogen", "Cäsiumchlorid"],
        "smiles": ["O", "[H][H]", "[Cs+].[Cl-]"],
        "numbers": [WATER, HYDROGEN, CESIUM_CHLORIDE],
        "positions": [
            [[0.0, 0.0, 0.1], [0.0, 0.8, -0.5], [0.0, -0.8, -0.5]],
            [[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]],
            [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]],
        ],
        "cell": [zero, zero, cube],
        "pbc": [[False] * 3, [False] * 3, [True] * 3],
        "energy": [-1.0, -2.0, -3.0],
        "charge": [0, 1, 0],
        "spin": [1, 2, 1],
        "formula": ["H2O", "H2", "ClCs"],
    }


@pytest.fixture
def table() -> datasets.Dataset:
    return datasets.Dataset.from_dict(make_columns())


@pytest.fixture
def items(table: datasets.Dataset) -> Items:
    return Items.from_dataset(make_card(), table)


def test_views(items: Items) -> None:
    assert items.view("id") == ["water", "hydrogen", "Cäsiumchlorid"]
    assert items.view("smiles", [2, 0]) == ["[Cs+].[Cl-]", "O"]
    water, hydrogen, salt = items.view("atoms")
    assert water.numbers.tolist() == WATER
    assert hydrogen.info == {"charge": 1, "spin": 2}
    assert hydrogen.get_distance(0, 1) == pytest.approx(0.74)
    assert salt.pbc.all()
    assert salt.get_volume() == pytest.approx(64)
    assert not water.pbc.any()


def test_atoms_are_the_callers_own(items: Items) -> None:
    items.view("atoms")[0].positions += 1
    assert items.view("atoms")[0].positions[0].tolist() == [0.0, 0.0, 0.1]


def test_unknown_view_names_what_exists(items: Items) -> None:
    assert items.has_view("smiles")
    assert not items.has_view("sequence")
    with pytest.raises(ValueError, match=r"'small' has no view 'sequence'; it has: id, smiles, atoms"):
        items.view("sequence")


def test_selfies_are_made_of_the_smiles() -> None:
    qm9 = open_dataset("qm9-1k").head(50)
    assert qm9.has_view("selfies")
    made = [Chem.CanonSmiles(selfies.decoder(one)) for one in qm9.view("selfies")]
    assert made == [Chem.CanonSmiles(one) for one in qm9.view("smiles")]
    assert not open_dataset("mp-1k").has_view("selfies")


def test_a_molecule_beyond_selfies_is_empty() -> None:
    card = make_card(views=("id", "smiles"), items=2, energy=None, strata=())
    odd = Items.from_dataset(
        card, datasets.Dataset.from_dict({"id": ["a", "b"], "smiles": ["CCO", "F[I](F)(F)(F)(F)(F)(F)F"]})
    )
    assert odd.view("selfies") == ["[C][C][O]", ""]


def test_backbones_come_back_chain_by_chain(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    chains = {"a": "MKT", "b": "GA"}
    coordinates = {name: rng.normal(size=(len(s), 4, 3)).astype(np.float32) for name, s in chains.items()}
    card = make_card(matter="protein", views=("id", "sequence", "backbone"), items=2, energy=None, strata=())
    table = {
        "id": list(chains),
        "sequence": list(chains.values()),
        "backbone": [c.tolist() for c in coordinates.values()],
    }
    proteins = Items.from_dataset(card, datasets.Dataset.from_dict(table))
    for name, chain in zip(chains, proteins.view("backbone"), strict=True):
        assert chain.sequence == chains[name]
        np.testing.assert_array_equal(chain.coordinates, coordinates[name])
    assert [chain.sequence for chain in proteins.view("backbone", [1])] == ["GA"]
    proteins.save(tmp_path / "items.npz", view="backbone")
    second = load_items(tmp_path / "items.npz")[1]
    np.testing.assert_array_equal(second.coordinates, coordinates["b"])


def test_a_sequence_and_a_backbone_that_do_not_fit_are_refused() -> None:
    card = make_card(matter="protein", views=("id", "sequence", "backbone"), items=1, energy=None, strata=())
    table = {"id": ["a"], "sequence": ["MKT"], "backbone": [np.zeros((2, 4, 3)).tolist()]}
    with pytest.raises(ValueError, match="sequence and backbone do not fit each other"):
        Items.from_dataset(card, datasets.Dataset.from_dict(table)).view("backbone")


def test_unknown_stratum_and_column(items: Items) -> None:
    assert items.strata("formula").tolist() == ["H2O", "H2", "ClCs"]
    with pytest.raises(ValueError, match="no stratum 'scaffold'; it has: formula"):
        items.strata("scaffold")
    with pytest.raises(ValueError, match="no column 'colour'; there are id, smiles"):
        items.column("colour")
    with pytest.raises(ValueError, match="nested"):
        items.column("numbers")


def test_composition_and_controls(items: Items) -> None:
    counts, symbols = items.composition()
    assert symbols == ("H", "O", "Cl", "Cs")
    assert counts.tolist() == [[2, 1, 0, 0], [2, 0, 0, 0], [0, 0, 1, 1]]
    assert items.elements == [{"H", "O"}, {"H"}, {"Cl", "Cs"}]
    controls = items.controls()
    assert controls.dtype == np.float64
    np.testing.assert_allclose(controls[0], [2, 1, 0, 0, 2 / 3, 1 / 3, 0, 0, 3, 1 / 3, 9])


def test_energy(items: Items, table: datasets.Dataset) -> None:
    assert items.energy is not None
    assert items.energy.tolist() == [-1, -2, -3]
    assert Items.from_dataset(make_card(energy=None), table).energy is None


def test_selection_is_a_data_set_of_its_own(items: Items) -> None:
    part = items.select([2, 0])
    assert part.ids == ["Cäsiumchlorid", "water"]
    assert part.view("atoms")[1].numbers.tolist() == WATER
    assert part.energy is not None
    assert part.energy.tolist() == [-3, -1]
    assert part.revision == items.revision
    assert part.items_sha256 != items.items_sha256
    assert part.items_sha256 != items.select([0, 2]).items_sha256
    assert items.select([True, False, True]).ids == ["water", "Cäsiumchlorid"]
    assert items.head(2).items_sha256 == items.select([0, 1]).items_sha256
    assert items.head(10) is items
    assert items.select([0, 1, 2]).items_sha256 == items.items_sha256


def test_a_sample_is_the_same_on_every_machine() -> None:
    found = open_dataset("qm9-1k").sample(5, seed=0).ids
    assert found == ["dsgdb9nsd_107564", "dsgdb9nsd_126238", "dsgdb9nsd_098200", "dsgdb9nsd_100913", "dsgdb9nsd_131094"]


def test_a_sample_is_the_same_in_another_process() -> None:
    code = (
        "from consilience.datasets import open_dataset\n"
        "print(*open_dataset('ccd-1k').sample(50, seed=3, stratify='scaffold').ids)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == open_dataset("ccd-1k").sample(50, seed=3, stratify="scaffold").ids


@pytest.mark.parametrize("stratify", [None, "scaffold"])
def test_samples_are_nested_and_seeded(stratify: str | None) -> None:
    qm9 = open_dataset("qm9-1k")
    large = qm9.sample(300, stratify=stratify)
    assert len(large) == len(set(large.ids)) == 300
    assert set(large.ids) <= set(qm9.ids)
    for n in (1, 7, 100):
        assert qm9.sample(n, stratify=stratify).ids == large.ids[:n]
        assert qm9.sample(n, stratify=stratify).items_sha256 == large.head(n).items_sha256
    other = qm9.sample(300, seed=1, stratify=stratify)
    assert 60 < len(set(other.ids) & set(large.ids)) < 120  # 90 by chance
    assert large.revision == qm9.revision


@pytest.mark.parametrize("stratify", [None, "formula"])
def test_a_sample_does_not_depend_on_the_order_of_the_items(stratify: str | None) -> None:
    qm9 = open_dataset("qm9-1k")
    turned = qm9.select(np.random.default_rng(0).permutation(1000))
    assert turned.sample(200, stratify=stratify).ids == qm9.sample(200, stratify=stratify).ids


def test_a_sample_of_all_or_more_has_all() -> None:
    mof = open_dataset("mof-500")
    assert set(mof.sample(500).ids) == set(mof.sample(501, stratify="metals").ids) == set(mof.ids)


@pytest.mark.parametrize("n", [10, 137, 500, 901])
def test_every_group_gives_its_share(n: int) -> None:
    mp = open_dataset("mp-prototypes-1k").select(np.r_[0:300, 350:1000])  # groups of different sizes
    sizes = Counter(mp.strata("prototype").tolist())
    drawn = Counter(mp.sample(n, stratify="prototype").strata("prototype").tolist())
    assert len(set(sizes.values())) > 2
    assert max(abs(drawn[group] - n * size / len(mp)) for group, size in sizes.items()) < 1


@pytest.mark.parametrize("name", ["qm9-1k", "ccd-1k"])
@pytest.mark.parametrize("n", [30, 100, 300])
def test_groups_of_few_items_give_their_share_together(name: str, n: int) -> None:
    """Of 400 scaffolds that occur once in qm9-1k, 120 are in a sample of 300."""
    items = open_dataset(name)
    sizes = Counter(items.strata("scaffold").tolist())
    assert sum(size == 1 for size in sizes.values()) > 100
    found = items.sample(n, stratify="scaffold").strata("scaffold").tolist()
    drawn = Counter(sizes[group] for group in found)
    for size, groups in Counter(sizes.values()).items():
        assert abs(drawn[size] - n * size * groups / len(items)) < 1


def test_a_sample_that_cannot_be_drawn(items: Items) -> None:
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n: expected at least 1 item, found {n}"):
            items.sample(n)
    with pytest.raises(ValueError, match="no stratum 'scaffold'; it has: formula"):
        items.sample(1, stratify="scaffold")


@pytest.mark.parametrize(
    ("indices", "message"),
    [([3], r"0\.\.2"), ([-1], r"0\.\.2"), ([0, 0], "not unique"), ([0.5], "integers"), ([True], "mask")],
)
def test_bad_selection(items: Items, indices: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        items.select(indices)


def test_shuffled_table_is_read_in_its_order(table: datasets.Dataset) -> None:
    turned = Items.from_dataset(make_card(), table.select([2, 1, 0]))
    assert turned.ids[0] == "Cäsiumchlorid"
    assert turned.view("atoms")[0].numbers.tolist() == CESIUM_CHLORIDE
    part = Items.from_dataset(make_card(items=2), table.select(range(1, 3)))
    assert part.view("atoms")[0].numbers.tolist() == HYDROGEN
    assert part.view("atoms")[1].positions[1].tolist() == [2.0, 2.0, 2.0]


def test_several_chunks_are_one_table(table: datasets.Dataset) -> None:
    parts = [table.select([i]) for i in range(3)]
    joined = Items.from_dataset(make_card(), datasets.concatenate_datasets(parts))
    assert joined.view("atoms") == Items.from_dataset(make_card(), table).view("atoms")


def test_fixed_length_and_array_columns_read_alike(table: datasets.Dataset) -> None:
    features = datasets.Features(
        {
            **table.features,
            "positions": datasets.Array2D((None, 3), "float32"),
            "cell": datasets.Array2D((3, 3), "float64"),
        }
    )
    arrays = Items.from_dataset(make_card(), datasets.Dataset.from_dict(make_columns(), features=features))
    expected = Items.from_dataset(make_card(), table).view("atoms")
    for found, wanted in zip(arrays.view("atoms"), expected, strict=True):
        np.testing.assert_allclose(found.positions, wanted.positions, atol=1e-6)
        assert found.cell.array.tolist() == wanted.cell.array.tolist()


def test_revision_without_one_on_the_card_is_the_content(table: datasets.Dataset) -> None:
    first = Items.from_dataset(make_card(), table)
    assert first.revision == Items.from_dataset(make_card(title="another"), table).revision
    moved = make_columns()
    moved["positions"][0][0][2] += 1e-9
    assert Items.from_dataset(make_card(), datasets.Dataset.from_dict(moved)).revision != first.revision
    assert Items.from_dataset(make_card(revision="v7"), table).revision == "v7"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ["a", "b", "a"]}, "ids are not unique"),
        ({"smiles": None}, r"does not hold|do not hold: \['smiles'\]"),
        ({"smiles": ["O", None, "C"]}, "1 empty fields"),
        ({"energy": [1.0, None, 2.0]}, "1 empty fields"),
        ({"numbers": [[8], [1, 1], [55, 17]]}, "do not fit each other"),
    ],
)
def test_a_table_that_breaks_its_card_is_refused(change: dict[str, Any], message: str) -> None:
    columns = {name: values for name, values in {**make_columns(), **change}.items() if values is not None}
    with pytest.raises(ValueError, match=message):
        Items.from_dataset(make_card(), datasets.Dataset.from_dict(columns))


def test_number_of_items_is_checked(table: datasets.Dataset) -> None:
    with pytest.raises(ValueError, match="has 3 items, its card says 4"):
        Items.from_dataset(make_card(items=4), table)


def test_sequences_are_counted_by_residue() -> None:
    card = make_card(matter="protein", views=("id", "sequence"), items=2, energy=None, strata=())
    proteins = Items.from_dataset(card, datasets.Dataset.from_dict({"id": ["a", "b"], "sequence": ["ACCA", "GA"]}))
    counts, letters = proteins.composition()
    assert letters == ("A", "C", "G")
    assert counts.tolist() == [[2, 2, 0], [1, 0, 1]]
    assert proteins.controls().shape == (2, 9)
    with pytest.raises(ValueError, match="no view 'atoms'"):
        _ = proteins.elements


@pytest.mark.parametrize("view", ["id", "smiles", "atoms"])
@pytest.mark.parametrize("indices", [None, [1], [2, 0]])
def test_round_trip_through_a_file(items: Items, tmp_path: Path, view: str, indices: list[int] | None) -> None:
    path = tmp_path / "items.data"
    items.save(path, indices, view=view)
    assert load_items(path) == items.view(view, indices)
    assert load_ids(path) == items.view("id", indices)
    if view == "atoms":
        assert [one.info for one in load_items(path)] == [one.info for one in items.view(view, indices)]


def test_file_holds_no_pickles_and_states_its_format(items: Items, tmp_path: Path) -> None:
    path = tmp_path / "items.npz"
    items.save(path, view="atoms")
    with np.load(path, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    np.savez(path, **content | {"format": np.array(99)})
    with pytest.raises(ValueError, match="format 99, expected 1"):
        load_items(path)


def test_empty_strings_and_no_items_survive(tmp_path: Path) -> None:
    save_items(tmp_path / "a", view="smiles", ids=["x", "y"], content=["", "C"])
    assert load_items(tmp_path / "a") == ["", "C"]
    save_items(tmp_path / "b", view="smiles", ids=[], content=[])
    assert load_items(tmp_path / "b") == []
    with pytest.raises(ValueError, match="1 ids but 2 items"):
        save_items(tmp_path / "c", view="smiles", ids=["x"], content=["C", "N"])


def test_reading_needs_numpy_and_ase_only(items: Items, tmp_path: Path) -> None:
    items.save(tmp_path / "items.npz", view="atoms")
    code = (
        "import sys\n"
        "for name in ('datasets', 'pyarrow', 'rdkit', 'pandas'): sys.modules[name] = None\n"
        "from consilience.datasets.layout import load_items\n"
        "assert 'ase' not in sys.modules\n"
        f"assert len(load_items({str(tmp_path / 'items.npz')!r})) == 3\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_take_keeps_structures_whole(items: Items) -> None:
    rng = np.random.default_rng(0)
    big = open_dataset("mp-1k").structures
    chosen = rng.permutation(1000)[:50]
    assert isinstance(items.structures, Structures)
    whole: list[Atoms] = big.to_atoms()
    assert big.take(chosen).to_atoms() == [whole[i] for i in chosen]


def test_unknown_data_set_suggests() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'qm9-1k'"):
        open_dataset("qm9-1000")


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from consilience.registry import list_datasets\n"
        "assert {'mp-1k', 'qm9-1k', 'qm9-isomers-1k'} <= set(list_datasets())\n"
        "print({'datasets', 'pyarrow', 'ase', 'rdkit', 'pandas', 'torch'} & set(sys.modules))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"
