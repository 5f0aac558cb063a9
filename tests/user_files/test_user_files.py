"""A user's own files as data sets."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rdkit import Chem
from rdkit.Chem import AllChem

from consilience.checks import MalformedDataError
from consilience.datasets import Items, open_dataset
from consilience.records.spec import DEFAULT_SPEC, read_spec
from consilience.registry import UnknownNameError, get_dataset
from consilience.session.plan import default_references, extend
from consilience.user_files import dataset_name, is_path, open_file, register_file

SPEC = read_spec(DEFAULT_SPEC)
DATA = DEFAULT_SPEC.parent


@pytest.fixture(scope="module")
def molecules() -> Items:
    return open_dataset("qm9-1k").select(np.arange(100, 160))


def stated(items: Items) -> list[Atoms]:
    """Molecules with all that a file may say of them."""
    found = items.view("atoms")
    for i, atoms in enumerate(found):
        atoms.info |= {"id": items.ids[i], "smiles": str(items.column("smiles")[i])}
        atoms.calc = SinglePointCalculator(atoms, energy=items.energy[i])
    return found


CRYSTALS = open_dataset("mp-1k").head(3)


def crystals() -> list[Atoms]:
    return CRYSTALS.view("atoms")


def assert_same_structures(found: Items, wanted: list[Atoms], tolerance: float = 1e-6) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found.view("atoms"), wanted, strict=True):
        assert one.numbers.tolist() == other.numbers.tolist()
        assert one.pbc.tolist() == other.pbc.tolist()
        np.testing.assert_allclose(one.positions, other.positions, atol=tolerance)
        np.testing.assert_allclose(one.cell.array, other.cell.array, atol=tolerance)


# -- what is read ------------------------------------------------------------------------------------------


def test_extxyz_keeps_everything_it_states(tmp_path: Path, molecules: Items) -> None:
    path = tmp_path / "My molecules (2).extxyz"
    write(path, stated(molecules))
    items = open_file(path)
    assert items.name == "my-molecules-2"
    assert items.card.matter == "molecule"
    assert items.card.views == ("id", "smiles", "atoms")
    assert items.ids == molecules.ids
    assert items.view("smiles") == molecules.view("smiles")
    assert_same_structures(items, molecules.view("atoms"))
    assert items.card.energy is not None
    assert items.card.energy.level_of_theory is None
    np.testing.assert_allclose(items.energy, molecules.energy)
    assert items.column("formula").tolist() == molecules.column("formula").tolist()
    assert items.strata("n_atoms").tolist() == [len(atoms) for atoms in molecules.view("atoms")]
    assert str(tmp_path) not in items.card.model_dump_json()


@pytest.mark.parametrize("name", ["a.xyz", "a.xyz.gz", "a.traj", "a.db", "a.json"])
def test_what_ase_reads_is_read(tmp_path: Path, molecules: Items, name: str) -> None:
    wanted = molecules.view("atoms")
    write(tmp_path / name, wanted, format="extxyz" if ".xyz" in name else None)
    items = open_file(tmp_path / name)
    assert_same_structures(items, wanted)
    assert items.name == "a"
    assert items.ids[-1] == "a-60"


def test_sdf_is_read_to_its_end(tmp_path: Path) -> None:
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for smiles in ("CCO", "C[NH3+]", "C[CH2]"):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMolecule(mol, randomSeed=1)
            mol.SetProp("_Name", smiles)
            writer.write(mol)
    items = open_file(tmp_path / "a.sdf")
    assert items.ids == ["CCO", "C[NH3+]", "C[CH2]"]
    assert items.structures.charge.tolist() == [0, 1, 0]
    assert items.structures.spin.tolist() == [1, 1, 2]
    assert items.column("formula").tolist() == ["C2H6O", "CH6N", "C2H5"]


def test_charge_and_multiplicity_are_as_stated_or_the_lowest_there_are(tmp_path: Path) -> None:
    hydroxyl = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    stated = [{}, {"charge": -1}, {"charge": 1, "spin": 3}, {"multiplicity": 4}]
    write(tmp_path / "a.extxyz", [Atoms(hydroxyl, info=info) for info in stated])
    structures = open_file(tmp_path / "a.extxyz").structures
    assert structures.charge.tolist() == [0, -1, 1, 0]
    assert structures.spin.tolist() == [2, 1, 3, 4]


def test_energies_need_every_structure(tmp_path: Path, molecules: Items) -> None:
    found = stated(molecules)
    found[7].calc = None
    write(tmp_path / "a.extxyz", found)
    assert open_file(tmp_path / "a.extxyz").energy is None


def test_names_that_repeat_are_not_ids(tmp_path: Path) -> None:
    found = crystals()
    for atoms in found:
        atoms.info = {"name": "same", "material_id": atoms.get_chemical_formula()}
    write(tmp_path / "a.extxyz", found)
    assert open_file(tmp_path / "a.extxyz").ids == [atoms.get_chemical_formula() for atoms in found]
    for atoms in found:
        atoms.info.pop("material_id")
    write(tmp_path / "a.extxyz", found)
    assert open_file(tmp_path / "a.extxyz").ids == ["a-1", "a-2", "a-3"]


def test_a_folder_of_cifs_is_a_set_of_crystals(tmp_path: Path) -> None:
    wanted = crystals()
    for name, atoms in zip("bca", wanted, strict=True):
        write(tmp_path / f"{name}.cif", atoms)
    (tmp_path / "notes.txt").write_text("not a structure")
    items = open_file(tmp_path)
    assert items.ids == ["a", "b", "c"]
    assert items.card.matter == "crystal"
    for found, other in zip(items.view("atoms"), [wanted[2], wanted[0], wanted[1]], strict=True):
        assert found.get_chemical_formula() == other.get_chemical_formula()
        assert found.cell.volume == pytest.approx(other.cell.volume, rel=1e-4)
    write(tmp_path / "POSCAR", wanted[0], format="vasp")
    assert len(open_file(tmp_path)) == 4
    assert_same_structures(open_file(tmp_path / "POSCAR"), wanted[:1])


def test_the_suites_own_parquet_reads_the_same(tmp_path: Path) -> None:
    for name in ("qm9-1k", "mp-1k", "proteins-500"):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes((DATA / path.name).read_bytes())
        items, own = open_file(path), open_dataset(name)
        assert items.ids == own.ids
        assert items.card.matter == own.card.matter
        assert items.card.views == own.card.views
        for view in own.card.views:
            content = items._content(view, None), own._content(view, None)
            assert all(np.array_equal(one, other) for one, other in zip(*content, strict=True))
        if own.electronic_energy is not None:
            np.testing.assert_array_equal(items.electronic_energy, own.electronic_energy)


def test_smiles_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO ethanol\n\nc1ccccc1\tbenzene ring\n")
    assert open_file(tmp_path / "a.smi").ids == ["ethanol", "benzene ring"]
    (tmp_path / "a.csv").write_text('Name,Canonical_SMILES\n"x, y",CCO\nz,CC#N\n')
    items = open_file(tmp_path / "a.csv")
    assert items.ids == ["x, y", "z"]
    assert items.view("smiles") == ["CCO", "CC#N"]
    assert items.card.views == ("id", "smiles")
    counts, symbols = items.composition()
    assert dict(zip(symbols, counts[0], strict=True)) == {"H": 6, "C": 2, "N": 0, "O": 1}
    (tmp_path / "a.tsv").write_text("SMILES\tmass\nCCO\t46\nCC\t30\n")
    assert open_file(tmp_path / "a.tsv").ids == ["a-1", "a-2"]


def test_fasta_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text(">sp|1 first\nMKV\nlla*\n\n>sp|2\nGGX\n")
    items = open_file(tmp_path / "a.fasta")
    assert items.ids == ["sp|1", "sp|2"]
    assert items.view("sequence") == ["MKVLLA", "GGX"]
    assert items.card.matter == "protein"


def protein(chains: dict[str, tuple[str, np.ndarray]], *, lacking: int = -1) -> gemmi.Structure:
    """Chains of a backbone each, with a water behind; residue `lacking` is without its O."""
    structure, model = gemmi.Structure(), gemmi.Model(1)
    for name, (sequence, coordinates) in chains.items():
        chain = gemmi.Chain(name)
        for place, (letter, positions) in enumerate(zip(sequence, coordinates, strict=True)):
            residue = gemmi.Residue()
            residue.name = gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA)
            residue.seqid = gemmi.SeqId(place + 1, " ")
            for kind, position in zip(("N", "CA", "C", "O"), positions, strict=True):
                if place != lacking or kind != "O":
                    atom = gemmi.Atom()
                    atom.name, atom.element = kind, gemmi.Element(kind[0])
                    atom.pos = gemmi.Position(*map(float, position))
                    residue.add_atom(atom)
            chain.add_residue(residue)
        water, oxygen = gemmi.Residue(), gemmi.Atom()
        water.name, water.seqid = "HOH", gemmi.SeqId(900, " ")
        oxygen.name, oxygen.element = "O", gemmi.Element("O")
        water.add_atom(oxygen)
        chain.add_residue(water)
        model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    return structure


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_a_folder_of_proteins_is_a_set_of_chains(tmp_path: Path, suffix: str) -> None:
    one, two, three = open_dataset("proteins-500").head(3).view("backbone")
    for name, structure in {
        "one": protein({"A": one}),
        "pair": protein({"A": two, "B": three}, lacking=4),
    }.items():
        if suffix == ".pdb":
            structure.write_pdb(str(tmp_path / f"{name}.pdb"))
        else:
            structure.make_mmcif_document().write_file(str(tmp_path / f"{name}.cif"))
    items = open_file(tmp_path)
    assert items.ids == ["one", "pair_A", "pair_B"]
    assert items.card.views == ("id", "sequence", "backbone")
    kept = [np.arange(len(one.sequence)), *(np.delete(np.arange(len(b.sequence)), 4) for b in (two, three))]
    for found, wanted, places in zip(items.view("backbone"), (one, two, three), kept, strict=True):
        assert found.sequence == "".join(wanted.sequence[i] for i in places)
        np.testing.assert_allclose(found.coordinates, wanted.coordinates[places], atol=2e-3)
    assert "2 residues" in items.card.selection
    assert open_file(tmp_path / f"one{suffix}").ids == ["one"]


def test_a_small_molecule_in_a_pdb_file_is_no_protein(tmp_path: Path, molecules: Items) -> None:
    write(tmp_path / "a.pdb", molecules.view("atoms")[0])
    assert open_file(tmp_path / "a.pdb").card.views == ("id", "atoms")


# -- what is refused ---------------------------------------------------------------------------------------


def three_crystals(change: Callable[[Atoms], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        found = crystals()
        change(found[1])
        for atoms in found:
            atoms.info = {}
        write(path, found)

    return make


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def parquet(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(change(pq.read_table(DATA / "mp-1k.parquet")), path)


def truncated(path: Path) -> None:
    path.write_bytes((DATA / "qm9-1k.parquet").read_bytes()[:-500])


WATER = "3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("a.parquet", truncated, ["not a whole parquet file"]),
        ("a.parquet", text(""), ["the file is empty"]),
        ("a.parquet", parquet(lambda t: t.slice(0, 0)), ["there are no items"]),
        ("a.parquet", parquet(lambda t: t.drop_columns("positions")), ["column 'positions'", "expected", "energy"]),
        ("a.parquet", parquet(lambda t: t.select(["id", "energy"])), ["smiles", "sequence", "there are id, energy"]),
        ("a.parquet", parquet(lambda t: pa.concat_tables([t, t])), ["item 1001, column 'id'", "item 1 already"]),
        ("a.extxyz", text(""), ["the file is empty"]),
        ("a.extxyz", text("\n\n"), ["no structures"]),
        ("a.xyz", text(WATER + WATER.replace("H -", "Qq -")), ["item 2, column 'numbers'", "unknown element 'Qq'"]),
        ("a.xyz", text(WATER + WATER.replace("H -", "X -")), ["item 2, column 'numbers'", "unknown element"]),
        ("a.xyz", text(WATER + WATER.replace("0.96", "nan")), ["item 2, column 'positions'", "not finite"]),
        ("a.xyz", text(WATER + WATER.replace("0.96", "0.1")), ["item 2, column 'positions'", "Angstrom apart"]),
        ("a.xyz", text(WATER + WATER[:-15]), ["item 2", "Frame has 2 atoms, expected 3"]),
        ("a.xyz", text(WATER + "three\n" + WATER[2:]), ["item 2, column 'numbers'", "line 6", "'three'"]),
        ("a.extxyz", three_crystals(lambda a: a.set_cell([0, 0, 0])), ["item 2", "pbc"]),
        ("a.json", three_crystals(lambda a: a.set_cell([0, 0, 0])), ["item 2, column 'cell'", "is zero"]),
        ("a.json", three_crystals(lambda a: a.set_pbc(False)), ["item 2, column 'pbc'", "two files"]),
        ("a.extxyz", three_crystals(lambda a: a.numbers.fill(0)), ["item 2, column 'numbers'", "unknown element"]),
        ("a.xyz", text(WATER.replace("\n\n", "\nspin=0\n")), ["item 1, column 'spin'", "0 is no multiplicity"]),
        ("a.xyz", text(WATER.replace("\n\n", "\ncharge=0.5\n")), ["item 1, column 'charge'", "no whole number"]),
        ("a.xyz", text(WATER.replace("\n\n", "\nsmiles=C1\n")), ["item 1, column 'smiles'", "C1"]),
        ("a.xyz", text(WATER.replace("\n\n", "\nenergy=nan\n")), ["item 1, column 'energy'", "no energy"]),
        ("a.smi", text("CCO\nc1ccc\n"), ["line 2, column 'smiles'", "c1ccc"]),
        ("a.csv", text("id,smile\n1,CC\n"), ["line 1, column 'smiles'", "there are id, smile"]),
        ("a.csv", text("id,SMILES\n1,CC\n2,\n"), ["line 3, column 'SMILES'", "is empty"]),
        ("a.csv", lambda path: path.write_bytes(b"smiles\n\xff\n"), ["not a text file"]),
        ("a.fasta", text(">a\nMKV\n>b\nMK1\n"), ["line 3, column 'sequence'", "residue 3 is '1'"]),
        ("a.fasta", text("MKV\n"), ["line 1, column 'sequence'", "begins with '>'"]),
        ("a.pdb", text("HEADER    junk\nEND\n"), ["no atoms"]),
        ("a.cif", text("data_x\n_cell_length_a foo\n"), ["no structures"]),
        ("a.what", text("hello\n"), ["not a format that ase.io knows"]),
        ("a.pckl", lambda path: path.write_bytes(pickle.dumps([WATER])), ["can run code"]),
        ("a.traj", lambda path: path.write_bytes(pickle.dumps([WATER])), ["can run code"]),
        ("a.traj", lambda path: path.write_bytes(pickle.dumps([WATER], protocol=0)), ["not an ULM"]),
    ],
)
def test_malformed_files_are_one_line(
    tmp_path: Path, own_cache: Path, name: str, make: Callable[[Path], object], told: list[str]
) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(MalformedDataError) as caught:
        register_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in told:
        assert part in message
    assert not own_cache.exists(), "something was cached"
    with pytest.raises(UnknownNameError):
        get_dataset("a")


def test_a_folder_names_the_file_at_fault(tmp_path: Path) -> None:
    with pytest.raises(MalformedDataError, match="holds no structure files"):
        open_file(tmp_path)
    write(tmp_path / "a.cif", crystals()[0])
    (tmp_path / "b.cif").write_text("data_x\n_cell_length_a foo\n")
    with pytest.raises(MalformedDataError, match=r"b\.cif: there are no structures"):
        open_file(tmp_path)


class Bomb:
    """Leaves a file behind wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["a.traj", "a.pckl", "a.extxyz", "a.parquet", "a.json", "a.db", "a.npz"])
def test_nothing_is_unpickled(tmp_path: Path, name: str, protocol: int) -> None:
    trace = tmp_path / "trace"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(trace), protocol=protocol))
    with pytest.raises(MalformedDataError):
        open_file(tmp_path / name)
    assert not trace.exists()


# -- as a data set -----------------------------------------------------------------------------------------


def test_a_registered_file_works_by_name(tmp_path: Path, molecules: Items) -> None:
    path = tmp_path / "own-molecules.extxyz"
    write(path, stated(molecules))
    name = register_file(path)
    assert name == "own-molecules"
    assert register_file(path) == name
    items = open_dataset(name)
    assert items.ids == molecules.ids
    assert items.revision == open_file(path).revision
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / path.name, stated(molecules)[:55])
    assert register_file(tmp_path / "other" / path.name) == "own-molecules-file"
    assert len(open_dataset("own-molecules-file")) == 55
    assert len(open_dataset("own-molecules")) == 60


def test_a_name_of_the_suites_is_left_alone(tmp_path: Path, molecules: Items) -> None:
    write(tmp_path / "qm9-1k.extxyz", molecules.view("atoms"))
    assert register_file(tmp_path / "qm9-1k.extxyz") == "qm9-1k-file"
    assert len(open_dataset("qm9-1k")) == 1000


def test_the_revision_follows_the_content(tmp_path: Path, molecules: Items) -> None:
    found = stated(molecules)
    write(tmp_path / "a.extxyz", found)
    write(tmp_path / "b.extxyz", found)
    assert open_file(tmp_path / "a.extxyz").revision == open_file(tmp_path / "b.extxyz").revision
    found[3].positions[0] += 0.01
    write(tmp_path / "b.extxyz", found)
    assert open_file(tmp_path / "a.extxyz").revision != open_file(tmp_path / "b.extxyz").revision


def test_paths_and_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_path("qm9-1k")
    assert not is_path("no-such-data")
    assert all(is_path(text) for text in ("a.extxyz", "folder/", "./x", "a.xyz.gz", "a.CIF"))
    (tmp_path / "POSCAR").touch()
    (tmp_path / "qm9-1k").touch()
    assert is_path("POSCAR")
    assert not is_path("qm9-1k"), "a data set's name means the data set, whatever lies around"
    assert dataset_name("qm9-1k") == "qm9-1k"
    with pytest.raises(FileNotFoundError, match=r"no file or folder at absent\.extxyz"):
        dataset_name("absent.extxyz")


def test_default_references_are_those_that_read_the_items(tmp_path: Path, molecules: Items) -> None:
    write(tmp_path / "own-a.extxyz", molecules.view("atoms"))
    write(tmp_path / "own-b.extxyz", crystals())
    (tmp_path / "own-c.smi").write_text("CCO\nCC\n")
    (tmp_path / "own-d.fasta").write_text(">a\nMKV\n>b\nMKL\n")
    gold = Atoms("Au2", [[0, 0, 0], [0, 0, 2.5]])
    write(tmp_path / "own-e.xyz", [gold])
    names = [register_file(path) for path in sorted(tmp_path.iterdir())]
    spec = extend(SPEC, [*names, "proteins-500", "qm9-1k"])
    references = {entry.name: entry.references for entry in spec.datasets}
    assert references["own-a"] == SPEC.dataset("qm9-1k").references
    assert references["own-b"] == SPEC.dataset("mp-1k").references
    assert references["own-c"] == ("minimol", "rxnfp-pretrained", "chemnet")
    assert references["own-d"] == ("unirep-1900", "antiberty")
    assert references["proteins-500"] == ("proteinmpnn-v-48-020", "unirep-1900", "foldseek-3di")
    assert "aimnet2-wb97m-d3" not in references["own-e"], "it knows no gold"
    assert references["own-e"]
    assert len(SPEC.datasets) == len(read_spec(DEFAULT_SPEC).datasets), "the board itself stays as it is"
    assert spec.dataset("own-a").revision == open_dataset("own-a").revision


def test_a_data_set_that_no_reference_reads_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", [Atoms("Og", [[0, 0, 0]])])
    with pytest.raises(ValueError, match="no default reference reads it"):
        default_references(open_file(tmp_path / "a.xyz"), 0.95)
