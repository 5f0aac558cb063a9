"""Data sets of the hub and of archives linked there, built from small files that the formats' own libraries wrote."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consilience.building.build import BuildFailedError, build_dataset
from consilience.building.built import BuiltTable
from consilience.building.draft import choose
from consilience.cache import cache_dir
from consilience.datasets import open_dataset
from consilience.isolation.environments import Header, ensure
from consilience.registry import DatasetEntry, get_dataset

pytestmark = pytest.mark.environment

Rows = list[dict[str, Any]]

# Run with the recipe's own interpreter: writes as fairchem's data sets were written, extra data in `data`.
WRITE = """
import json, sys
import ase.db
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
for path, rows in json.load(open(sys.argv[1])).items():
    with ase.db.connect(path, type="aselmdb") as database:
        for row in rows:
            atoms = Atoms(row["numbers"], row["positions"], cell=row["cell"], pbc=row["pbc"])
            if row["energy"] is not None:
                forces = [[0.1, 0.2, 0.3]] * len(atoms)
                atoms.calc = SinglePointCalculator(atoms, energy=row["energy"], forces=forces)
            database.write(atoms, data=row["data"])
"""


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, but for the environments: building one takes longer than any test."""
    shared = cache_dir() / "environments"
    shared.mkdir(parents=True, exist_ok=True)
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "environments").symlink_to(shared)
    monkeypatch.setenv("CONSILIENCE_CACHE", str(folder))
    return folder


def items(name: str, count: int, **data: Any) -> Rows:
    """Structures of an embedded data set."""
    found = open_dataset(name).head(count)
    return [
        {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
            "energy": float(energy),
            "data": data | {"place": place},
        }
        for place, (atoms, energy) in enumerate(zip(found.view("atoms"), found.energy, strict=True))
    ]


def crystals(count: int = 20) -> Rows:
    return items("mp-1k", count)


def ions(count: int = 20) -> Rows:
    """Molecules with charges and spins of all kinds; what they say is not chemistry here."""
    rows = items("qm9-1k", count, data_id="elytes")
    for place, row in enumerate(rows):
        row["data"] |= {"charge": place % 21 - 10, "spin": place % 11 + 1}
    return rows


def write_lmdb(name: str, folder: Path, files: dict[str, Rows]) -> None:
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    job = folder.parent / "rows.json"
    job.write_text(json.dumps({str(folder / path): rows for path, rows in files.items()}))
    python = ensure(Header.of(get_dataset(name).path))
    subprocess.run([python, "-I", "-c", WRITE, str(job)], check=True)


def write_mirror(path: Path, rows: Rows, metadata: Callable[[dict[str, Any]], str] = lambda _: "{}") -> None:
    """Columns and types as ColabFit's mirrors have them, those that we do not read included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "configuration_id": pa.array([f"CO_{place}" for place in range(len(rows))]),
        "names": pa.array([[f"name_{place}"] for place in range(len(rows))]),
        "nsites": pa.array([len(row["numbers"]) for row in rows], pa.int32()),
        "atomic_numbers": pa.array([row["numbers"] for row in rows], pa.list_(pa.int32())),
        "positions": pa.array([row["positions"] for row in rows], pa.list_(pa.list_(pa.float64()))),
        "cell": pa.array([row["cell"] for row in rows], pa.list_(pa.list_(pa.float64()))),
        "pbc": pa.array([row["pbc"] for row in rows], pa.list_(pa.bool_())),
        "energy": pa.array([row["energy"] for row in rows], pa.float64()),
        "multiplicity": pa.array([row["data"].get("spin") for row in rows], pa.int32()),
        "property_metadata": pa.array([metadata(row) for row in rows]),
    }
    pq.write_table(pa.table(columns), path, row_group_size=7)


def build(name: str, local: Path, output: Path, entry: DatasetEntry | None = None) -> tuple[BuiltTable, Rows]:
    built = build_dataset(entry or get_dataset(name), local=local, output=output, fresh=True)
    return built, pq.read_table(built.path).to_pylist()


def expect_same(found: Rows, given: Rows) -> None:
    assert len(found) == len(given)
    for one, other in zip(found, given, strict=True):
        for column in ("numbers", "positions", "cell", "pbc", "energy"):
            assert one[column] == other[column], column  # to the last digit
        assert one["charge"] == other["data"].get("charge", 0)
        assert one["spin"] == other["data"].get("spin", 1)
        assert one["n_atoms"] == len(other["numbers"])


def smaller(name: str, folder: Path, sample: int) -> DatasetEntry:
    """The same recipe with a smaller sample."""
    entry = get_dataset(name)
    text = entry.path.read_text("utf-8")
    assert "SAMPLE = 50_000" in text
    folder.mkdir(exist_ok=True)
    path = folder / entry.path.name
    path.write_text(text.replace("SAMPLE = 50_000", f"SAMPLE = {sample}"), "utf-8")
    return replace(entry, path=path)


def test_crystals_of_several_lmdb_files_come_back_equal(own_cache: Path, tmp_path: Path) -> None:
    rows = crystals(30)
    files = {
        "val/rattled-1000/data.0000.aselmdb": rows[10:20],
        "val/aimd-from-PBE-1000-npt/data.0001.aselmdb": rows[5:10],
        "val/aimd-from-PBE-1000-npt/data.0000.aselmdb": rows[:5],
        "val/rattled-relax/data.0000.aselmdb": rows[20:],
    }
    write_lmdb("omat24", tmp_path / "mine", files)
    built, found = build("omat24", tmp_path / "mine", tmp_path / "out")
    expect_same(found, rows)
    assert [row["id"] for row in found[4:6]] == [
        "aimd-from-PBE-1000-npt/data.0000/5",
        "aimd-from-PBE-1000-npt/data.0001/1",
    ]
    assert [row["subset"] for row in found][::10] == ["aimd-from-PBE-1000-npt", "rattled-1000", "rattled-relax"]
    origin = pq.read_schema(built.path).metadata[b"source"].decode()
    assert built.manifest["sources"][0]["sha256"] in origin
    assert built.manifest["dropped"] == {}


def test_files_of_another_data_set_are_refused(own_cache: Path, tmp_path: Path) -> None:
    write_lmdb("omat24", tmp_path / "mine", {"val/data.0000.aselmdb": crystals(2)})
    with pytest.raises(BuildFailedError, match="val: no sub-dataset of OMat24"):
        build("omat24", tmp_path / "mine", tmp_path / "out")


def test_archives_hold_the_same_items_as_what_is_in_them(own_cache: Path, tmp_path: Path) -> None:
    rows = crystals()
    write_lmdb("salex", tmp_path / "mine", {"val/data.0000.aselmdb": rows[:12], "val/data.0001.aselmdb": rows[12:]})
    _, plain = build("salex", tmp_path / "mine", tmp_path / "out")
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "val.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "mine" / "val", "val")
    _, unpacked = build("salex", packed, tmp_path / "out2")
    assert unpacked == plain
    expect_same(plain, rows)
    both = tmp_path / "mine"
    (packed / "val.tar.gz").rename(both / "val.tar.gz")
    with pytest.raises(BuildFailedError, match="an archive beside what was unpacked"):
        build("salex", both, tmp_path / "out3")


def test_charges_and_spins_come_back(own_cache: Path, tmp_path: Path) -> None:
    rows = ions()
    write_lmdb("omol25", tmp_path / "mine", {"val/data0000.aselmdb": rows})
    _, found = build("omol25", tmp_path / "mine", tmp_path / "out")
    expect_same(found, rows)
    assert {row["charge"] for row in found} == set(range(-10, 10))
    assert {row["subset"] for row in found} == {"elytes"}


def test_items_without_what_is_needed_are_left_out_and_counted(own_cache: Path, tmp_path: Path) -> None:
    rows = ions(6)
    rows[1]["energy"] = None
    del rows[2]["data"]["charge"]
    rows[3]["positions"][1] = rows[3]["positions"][0]
    write_lmdb("omol25", tmp_path / "mine", {"val/data0000.aselmdb": rows})
    built, found = build("omol25", tmp_path / "mine", tmp_path / "out")
    expect_same(found, [rows[0], *rows[4:]])
    dropped = built.manifest["dropped"]
    assert dropped["no energy"] == dropped["no charge or spin"] == 1
    assert dropped["two atoms closer than half the sum of their covalent radii"] == 1


def test_a_sample_is_drawn_by_rank(own_cache: Path, tmp_path: Path) -> None:
    rows = crystals(40)
    write_lmdb("salex", tmp_path / "mine", {"val/data.0000.aselmdb": rows})
    entry = smaller("salex", tmp_path / "recipe", 10)
    first, found = build("salex", tmp_path / "mine", tmp_path / "out", entry)
    ids = [f"val/data.0000/{row}" for row in range(1, 41)]
    drawn = choose(ids, 10, seed="salex/0")
    assert [row["id"] for row in found] == [one for one in ids if one in drawn]
    expect_same(found, [row for row, one in zip(rows, ids, strict=True) if one in drawn])
    again, _ = build("salex", tmp_path / "mine", tmp_path / "out2", entry)
    assert again.manifest["sha256"] == first.manifest["sha256"]


@pytest.mark.parametrize("share", [0.001, 0.4, 0.95, 1.0])
def test_a_truncated_lmdb_file_is_named(own_cache: Path, tmp_path: Path, share: float) -> None:
    write_lmdb("salex", tmp_path / "mine", {"val/data.0000.aselmdb": crystals(40)})
    path = tmp_path / "mine" / "val" / "data.0000.aselmdb"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share) if share < 1 else len(whole) - 4096])
    with pytest.raises(BuildFailedError, match=r"data\.0000\.aselmdb: is (truncated|not an ASE-LMDB file)") as caught:
        build("salex", tmp_path / "mine", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_damaged_row_is_named(own_cache: Path, tmp_path: Path) -> None:
    write_lmdb("salex", tmp_path / "mine", {"val/data.0000.aselmdb": crystals(3)})
    path = tmp_path / "mine" / "val" / "data.0000.aselmdb"
    content = bytearray(path.read_bytes())
    longest = max((match.start() for match in re.finditer(rb"x\x9c", content)), key=lambda at: at)
    content[longest + 100 : longest + 140] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(BuildFailedError, match=r"data\.0000\.aselmdb: row [123] can't be read"):
        build("salex", tmp_path / "mine", tmp_path / "out")


def test_a_table_from_a_mirror_opens_as_a_data_set(own_cache: Path, tmp_path: Path) -> None:
    rows = crystals(30)
    write_mirror(tmp_path / "mine" / "co" / "co_0.parquet", rows[:18])
    write_mirror(tmp_path / "mine" / "co" / "co_1.parquet", rows[18:])
    build_dataset(get_dataset("salex-open"), local=tmp_path / "mine")
    found = open_dataset("salex-open")
    assert found.ids == [f"co_0/{place}" for place in range(18)] + [f"co_1/{place}" for place in range(12)]
    assert found.energy is not None
    assert found.energy.tolist() == [row["energy"] for row in rows]
    for atoms, row in zip(found.view("atoms"), rows, strict=True):
        assert atoms.positions.tolist() == row["positions"]
        assert atoms.cell.array.tolist() == row["cell"]
        assert atoms.pbc.all()


def test_a_mirror_of_one_sub_dataset(own_cache: Path, tmp_path: Path) -> None:
    rows = crystals(30)
    write_mirror(tmp_path / "mine" / "co" / "co_0.parquet", rows)
    entry = smaller("omat24-rattled-1000", tmp_path / "recipe", 12)
    _, found = build("omat24-rattled-1000", tmp_path / "mine", tmp_path / "out", entry)
    drawn = choose([f"co_0/{place}" for place in range(30)], 12, seed="omat24-rattled-1000/0")
    assert {row["id"] for row in found} == drawn
    expect_same(found, [row for place, row in enumerate(rows) if f"co_0/{place}" in drawn])


def test_mirrors_state_charge_in_json(own_cache: Path, tmp_path: Path) -> None:
    rows = ions()

    def metadata(row: dict[str, Any]) -> str:
        return json.dumps({"charge": row["data"]["charge"], "spin": row["data"]["spin"], "data_id": "spice"})

    write_mirror(tmp_path / "mine" / "co" / "co_0.parquet", rows, metadata)
    _, found = build("omol25-open", tmp_path / "mine", tmp_path / "out")
    expect_same(found, rows)
    assert {row["subset"] for row in found} == {"spice"}
    write_mirror(tmp_path / "mine" / "co" / "co_0.parquet", rows)  # without: which charge it is can't be known
    with pytest.raises(BuildFailedError, match=rf"no item is left \(no charge or spin: {len(rows)}\)"):
        build("omol25-open", tmp_path / "mine", tmp_path / "out2")


def test_neutral_molecules_need_no_charge(own_cache: Path, tmp_path: Path) -> None:
    rows = items("qm9-1k", 20)
    write_mirror(tmp_path / "mine" / "co_0.parquet", rows)
    _, found = build("omol25-neutral", tmp_path / "mine", tmp_path / "out")
    expect_same(found, rows)


def test_a_mirror_with_other_columns_is_refused(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine" / "co" / "co_0.parquet"
    write_mirror(path, crystals(3))
    pq.write_table(pq.read_table(path).drop_columns(["energy"]), path)
    with pytest.raises(BuildFailedError, match=r"co_0\.parquet: has no column energy"):
        build("salex-open", tmp_path / "mine", tmp_path / "out")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BuildFailedError, match=r"co_0\.parquet: is not a parquet file, or damaged"):
        build("salex-open", tmp_path / "mine", tmp_path / "out")


def test_qm9_of_the_hub(own_cache: Path, tmp_path: Path) -> None:
    from ase.data import chemical_symbols

    from consilience.datasets.qm9_hub import HARTREE

    given = open_dataset("qm9-1k").head(20)
    columns = {
        "num_atoms": [len(atoms) for atoms in given.view("atoms")],
        "atomic_symbols": [[chemical_symbols[number] for number in atoms.numbers] for atoms in given.view("atoms")],
        "pos": [atoms.positions.tolist() for atoms in given.view("atoms")],
        "smiles": given.view("smiles"),
        "zpve": (given.column("zero_point_energy") / HARTREE).tolist(),
        "u0": (given.energy / HARTREE).tolist(),
        "canonical_smiles": given.view("smiles"),
    }
    (tmp_path / "mine" / "data").mkdir(parents=True)
    pq.write_table(pa.table(columns), tmp_path / "mine" / "data" / "train-00000-of-00001-baa918c342229731.parquet")
    _, found = build("qm9-hub", tmp_path / "mine", tmp_path / "out")
    assert [row["id"] for row in found] == [f"qm9-{place:06d}" for place in range(1, 21)]
    for column in ("smiles", "formula", "scaffold"):
        assert [row[column] for row in found] == given.column(column).tolist()
    assert [row["positions"] for row in found] == columns["pos"]
    assert np.allclose([row["energy"] for row in found], given.energy, rtol=1e-14)
    assert np.allclose([row["zero_point_energy"] for row in found], given.column("zero_point_energy"), rtol=1e-14)


def test_without_files_or_hub_the_way_to_them_is_told(own_cache: Path, tmp_path: Path) -> None:
    for name, told in (
        ("omat24", "https://huggingface.co/datasets/facebook/OMAT24"),
        ("salex", "https://huggingface.co/datasets/facebook/OMAT24"),
        ("omol25", "Ask for access at https://huggingface.co/facebook/OMol25"),
        ("salex-open", "colabfit/sAlex_validation is not on this machine and HF_HUB_OFFLINE forbids to fetch it"),
        ("omol25-neutral", "colabfit/OMol25_neutral_validation is not on this machine"),
        ("rcsb", "PISCES"),
    ):
        with pytest.raises(BuildFailedError) as caught:
            build_dataset(get_dataset(name))
        assert told in str(caught.value)
        assert "--from FOLDER" in str(caught.value)
        assert "\n" not in str(caught.value)


# -- Protein Data Bank ---------------------------------------------------------------------------------------


def write_entry(path: Path, chains: dict[str, tuple[str, Any]], unseen: int = 0) -> None:
    """Write an mmCIF file with gemmi; a chain is its three-letter residues and their N, CA, C, O."""
    import gemmi

    structure = gemmi.Structure()
    structure.name = path.name[:4].upper()
    model = gemmi.Model(1)
    for name, (residues, backbone) in chains.items():
        chain = gemmi.Chain(name)
        for number, (letters, places) in enumerate(zip(residues, backbone, strict=True), 1):
            residue = gemmi.Residue()
            residue.name, residue.seqid, residue.label_seq = letters, gemmi.SeqId(number, " "), number
            residue.entity_type = gemmi.EntityType.Polymer
            for symbol, place in zip(("N", "CA", "C", "O"), places, strict=True):
                atom = gemmi.Atom()
                atom.name, atom.element, atom.pos = symbol, gemmi.Element(symbol[0]), gemmi.Position(*map(float, place))
                residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    for entity, (residues, _) in zip(structure.entities, chains.values(), strict=True):
        entity.full_sequence = list(residues) + ["GLY"] * unseen
    content = structure.make_mmcif_document().as_string().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def three(sequence: str) -> list[str]:
    import gemmi

    return gemmi.expand_one_letter_sequence(sequence, gemmi.ResidueKind.AA)


LIST = """\
PDBchain        len  method   resol   rfac    freerfac
1AAAA           {0}  XRAY     1.90    0.21    0.25
1AAABC          {1}  XRAY     3.00    0.25    NA
2BBBA           {2}  NMR      NA      NA      NA
3CCCA           100  EM       2.50    NA      NA
4DDDA           100  XRAY     3.10    0.20    0.25
5EEEA           100  XRAY     2.00    0.26    0.30
6FFFA           1001 XRAY     2.00    0.20    0.25
7GGGA           100  XRAY     2.00    0.20    0.25
2BBBQ           100  NMR      NA      NA      NA
"""
NAME = "cullpdb_pc70.0_res0.0-3.0_len40-1000_R0.25_Xray+NMR_d2024_05_21_chains9"


def protein_files(folder: Path) -> Any:
    chains = open_dataset("proteins-500").head(3).view("backbone")
    residues = [three(chain.sequence) for chain in chains]
    (folder / "aa").mkdir(parents=True)
    modified = ["MSE" if one == "MET" else one for one in residues[0]]
    write_entry(
        folder / "aa" / "1aaa.cif.gz",
        {"A": (modified, chains[0].coordinates), "BC": (residues[1], chains[1].coordinates)},
        unseen=3,
    )
    write_entry(folder / "2BBB.cif", {"A": (residues[2], chains[2].coordinates)})
    (folder / NAME).write_text(LIST.format(*(len(chain.sequence) for chain in chains)))
    (folder / f"{NAME}.fasta").write_text(">1AAAA\n")
    return chains


def test_chains_of_a_list_come_back_equal(own_cache: Path, tmp_path: Path) -> None:
    chains = protein_files(tmp_path / "mine")
    built, found = build("rcsb", tmp_path / "mine", tmp_path / "out")
    assert [row["id"] for row in found] == ["1AAA_A", "1AAA_BC", "2BBB_A"]
    assert [row["sequence"] for row in found] == [chain.sequence for chain in chains]
    assert [row["missing"] for row in found] == [3, 3, 0]
    for row, chain in zip(found, chains, strict=True):
        given = chain.coordinates - chain.coordinates[:, 1].mean(axis=0)
        assert np.allclose(row["backbone"], given, atol=2e-3)  # an mmCIF file has three decimals
        assert row["n_residues"] == len(chain.sequence)
    assert built.manifest["dropped"] == {
        "neither X-ray nor NMR": 1,
        "resolution beyond 3 Angstrom": 1,
        "R factor above 0.25": 1,
        "not of 40 to 1000 residues": 1,
        "no mmCIF file of the entry": 1,
        "no such chain in the entry, or no polymer": 1,
    }


def test_residues_without_a_backbone_are_counted(own_cache: Path, tmp_path: Path) -> None:
    import gemmi

    protein_files(tmp_path / "mine")
    path = tmp_path / "mine" / "2BBB.cif"
    structure = gemmi.read_structure(str(path))
    for place in (0, 4):
        residue = structure[0]["A"][place]
        residue.remove_atom("O", "\0", gemmi.Element("O"))
    structure.make_mmcif_document().write_file(str(path))
    _, found = build("rcsb", tmp_path / "mine", tmp_path / "out")
    whole = open_dataset("proteins-500").view("backbone", [2])[0].sequence
    assert found[2]["sequence"] == whole[1:4] + whole[5:]
    assert found[2]["missing"] == 2


def test_lists_that_are_not_right_are_refused(own_cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    protein_files(mine)
    (mine / NAME).rename(mine / NAME.replace("pc70.0", "pc90.0"))
    with pytest.raises(BuildFailedError, match="culled at 90 % identity"):
        build("rcsb", mine, tmp_path / "out")
    (mine / NAME).write_text("PDBchain len method resol rfac freerfac\n1AAAA many XRAY 1.9 0.2 0.2\n")
    with pytest.raises(BuildFailedError, match="expected one list"):
        build("rcsb", mine, tmp_path / "out")
    (mine / NAME.replace("pc70.0", "pc90.0")).unlink()
    with pytest.raises(BuildFailedError, match="line 2 is not one of a PISCES list"):
        build("rcsb", mine, tmp_path / "out")


def test_a_damaged_entry_is_named(own_cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    protein_files(mine)
    path = mine / "2BBB.cif"
    path.write_text(path.read_text()[:-1000])
    with pytest.raises(BuildFailedError, match=r"2BBB\.cif: can't be read"):
        build("rcsb", mine, tmp_path / "out")


def test_heavy_packages_are_imported_by_the_recipe_alone() -> None:
    for name in ("omat24", "salex", "omol25", "qm9-hub", "rcsb"):
        text = get_dataset(name).path.read_text("utf-8")
        head = text[: text.index("@recipe")]
        assert not re.search(r"^(import|from) (ase|gemmi|huggingface_hub|lmdb|pyarrow|rdkit)", head, re.MULTILINE)
