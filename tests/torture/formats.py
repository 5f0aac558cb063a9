"""Every format that is read: a sample, how it is mutated, how it is read, and what an accepted mutant has to equal.

``sealed`` formats carry a checksum: an accepted mutant equals the sample. Of the others an accepted mutant has to be
read as it stands: a second, simpler reader reads it too, where there is one.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import pickle
import random
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mutate import mutate_bytes, mutate_json, mutate_text

ROOT = Path(__file__).resolve().parents[2]
V1 = ROOT / "leaderboard" / "v1"


class NotApplicableError(Exception):
    """The second reader does not understand the file; there is nothing to compare with."""


@dataclass(frozen=True)
class Format:
    """One format."""

    name: str
    suffix: str
    sample: Callable[[], bytes]
    mutate: Callable[[random.Random, bytes], tuple[str, bytes]]
    read: Callable[[Path], Any]
    sealed: bool = False
    second: Callable[[bytes], Any] | None = None
    missing: bool = False
    """Whether None is a fine answer: as good as none."""
    slow: bool = False
    known: tuple[str, ...] = ()
    """What is said by faults that are known and not yet repaired: they are counted, and do not fail."""


def plain(value: Any) -> Any:
    """Value as nested lists that compare, NaN equal to itself."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value
    return value


# -- files of people -------------------------------------------------------------------------------------------


def items_of(path: Path) -> Any:
    from consilience.user_files import open_file

    table = open_file(path)._table
    names = [name for name in table.column_names if name != "id"]
    return plain({name: table[name].to_pylist() for name in names})


def molecules(count: int = 12) -> Any:
    from consilience.datasets.items import open_dataset

    return open_dataset("qm9-1k").head(count)


def xyz() -> bytes:
    from ase.io import write

    atoms = molecules().view("atoms")
    for place, one in enumerate(atoms):
        one.info = {"energy": place + 0.5}
    text = io.StringIO()
    write(text, atoms, format="extxyz")
    return text.getvalue().encode()


def second_xyz(data: bytes) -> Any:
    """Numbers and positions of an xyz file, read strictly by its columns."""
    from ase.data import atomic_numbers

    lines = data.decode("utf-8").replace("\r\n", "\n").split("\n")
    numbers, positions, place = [], [], 0
    while place < len(lines) and lines[place].strip():
        count = int(lines[place])
        if "Properties=species:S:1:pos:R:3 " not in lines[place + 1] + " ":
            raise NotApplicableError
        rows = [line.split() for line in lines[place + 2 : place + 2 + count]]
        numbers.append([atomic_numbers[row[0]] if not row[0].isdigit() else int(row[0]) for row in rows])
        positions.append([[float(one.replace("d", "e").replace("D", "e")) for one in row[1:4]] for row in rows])
        place += count + 2
    return {"numbers": numbers, "positions": positions}


def cif() -> bytes:
    from ase.io import write

    from consilience.datasets.items import open_dataset

    text = io.BytesIO()
    write(text, open_dataset("mp-1k").head(3).view("atoms"), format="cif")
    return text.getvalue()


def pdb() -> bytes:
    from consilience.datasets.items import open_dataset

    chain = open_dataset("proteins-500").head(1).view("backbone")[0]
    three = {"A": "ALA", "G": "GLY", "L": "LEU", "S": "SER", "V": "VAL", "E": "GLU", "K": "LYS", "D": "ASP"}
    lines, number = [], 0
    for residue, (letter, rows) in enumerate(zip(chain.sequence, chain.coordinates, strict=True), 1):
        for name, (x, y, z) in zip(("N", "CA", "C", "O"), rows.tolist(), strict=True):
            number += 1
            lines.append(
                f"ATOM  {number:5d}  {name:<3s} {three.get(letter, 'GLN')} A{residue:4d}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {name[0]}"
            )
    return ("\n".join([*lines, "TER", "END"]) + "\n").encode()


def mmcif() -> bytes:
    import gemmi

    return str(gemmi.read_pdb_string(pdb().decode()).make_mmcif_document().as_string()).encode()


def sdf() -> bytes:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    text = io.StringIO()
    writer = Chem.SDWriter(text)
    for place, smiles in enumerate(["CCO", "c1ccccc1O", "CC(=O)N", "C#N"]):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(mol, randomSeed=1)
        mol.SetProp("_Name", f"n{place}")
        writer.write(mol)
    writer.close()
    return text.getvalue().encode()


def ase_file(kind: str) -> Callable[[], bytes]:
    def sample() -> bytes:
        import tempfile

        from ase.io import write

        from consilience.datasets.items import open_dataset

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"a.{kind}"
            write(path, open_dataset("mp-1k").head(1).view("atoms")[0], format=kind)
            return path.read_bytes()

    return sample


def smi() -> bytes:
    return "".join(f"{one} id{i}\n" for i, one in enumerate(molecules(20).view("smiles"))).encode()


def second_smi(data: bytes) -> Any:
    lines = io.StringIO(data.decode("utf-8-sig"), newline="")
    rows = [line.split(maxsplit=1) for line in lines if line.split()]
    return {
        "smiles": [row[0] for i, row in enumerate(rows) if i or row[0].lower() not in ("smiles", "canonical_smiles")]
    }


def table() -> bytes:
    return (
        "id,smiles,y\n" + "".join(f'id{i},"{s}",{i}.5\n' for i, s in enumerate(molecules(20).view("smiles")))
    ).encode()


def second_table(data: bytes) -> Any:
    import csv

    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    names = [name.strip().lower() for name in rows[0]]
    column = names.index("smiles") if "smiles" in names else names.index("canonical_smiles")
    return {"smiles": [row[column].strip() for row in rows[1:] if row]}


def fasta() -> bytes:
    from consilience.datasets.items import open_dataset

    chains = open_dataset("proteins-500").head(6).view("sequence")
    return "".join(f">p{i} text\n{one[:60]}\n{one[60:120]}\n" for i, one in enumerate(chains)).encode()


def second_fasta(data: bytes) -> Any:
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    entries = re.split(r"(?m)^\s*>", text)[1:]
    sequences = ["".join(one.partition("\n")[2].split()).upper().removesuffix("*") for one in entries]
    return {"sequence": sequences}


def parquet(dataset: str) -> Callable[[], bytes]:
    def sample() -> bytes:
        import pyarrow.parquet as pq

        from consilience.datasets.items import open_dataset

        file = io.BytesIO()
        pq.write_table(open_dataset(dataset).head(15)._table, file, compression="zstd")
        return file.getvalue()

    return sample


def npz() -> bytes:
    from consilience.datasets.layout import save_items

    items = molecules()
    file = Path(_scratch(), "sample.npz")
    save_items(file, view="atoms", ids=items.ids, content=items.structures)
    return file.read_bytes()


def read_npz(path: Path) -> Any:
    from consilience.datasets.layout import load_ids, load_items

    atoms = load_items(path)
    return plain([[one.numbers, one.positions, one.info] for one in atoms]) + load_ids(path)


# -- what the suite writes ---------------------------------------------------------------------------------------


def dumped(model: Any) -> Any:
    return plain(json.loads(model.model_dump_json()))


def held(content: Any, model: Any, at: str = "") -> None:
    """Assert that a model holds each value of a file, of the very type."""
    if isinstance(content, dict):
        for key, one in content.items():
            if one in (None, [], {}) and isinstance(model, dict) and key not in model:
                continue  # left out where it is empty
            held(one, model[key], f"{at}.{key}")
    elif isinstance(content, list):
        assert len(content) == len(model), at
        for place, (one, other) in enumerate(zip(content, model, strict=True)):
            held(one, other, f"{at}[{place}]")
    else:
        number = isinstance(content, int | float) and not isinstance(content, bool)
        if number and isinstance(model, int | float) and not isinstance(model, bool):
            same = float(content) == float(model)
        else:
            same = type(content) is type(model) and content == model
        assert same, f"{at}: {content!r} is read as {model!r}"


def second_json(data: bytes) -> Any:
    return json.loads(data)


def record(version: int) -> Callable[[], bytes]:
    return (ROOT / "tests" / "records" / "golden" / f"record.v{version}.json").read_bytes


def read_record(path: Path) -> Any:
    from consilience.records.migrations import read_record

    return dumped(read_record(path))


def read_pairs(path: Path) -> Any:
    from consilience.board.groups import read_pairs

    folder = path.parent / "board"
    (folder / "pairs").mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder / "pairs" / "x.json")
    found = read_pairs(folder, "x")
    assert found is not None
    return dumped(found)


def pairs() -> bytes:
    content = json.loads((V1 / "pairs" / "mp-1k.json").read_bytes())
    content["pairs"] = content["pairs"][:20]
    return json.dumps(content).encode()


def run() -> bytes:
    from consilience.records.migrations import read_record
    from consilience.records.run import SavedRun
    from consilience.records.schema import to_json
    from consilience.records.spec import DEFAULT_SPEC, read_spec

    records = [read_record(path) for path in sorted((V1 / "results" / "mp-1k").glob("*.json"))[:2]]
    saved = SavedRun(created="x", suite_version="0", spec=read_spec(DEFAULT_SPEC), records=records)
    return to_json(saved).encode()


def read_run(path: Path) -> Any:
    from consilience.records.run import read_run

    return dumped(read_run(path))


def spec() -> bytes:
    return (V1 / "spec.toml").read_bytes()


def read_spec(path: Path) -> Any:
    from consilience.records.spec import read_spec

    return dumped(read_spec(path))


def second_toml(data: bytes) -> Any:
    import tomllib

    return tomllib.loads(data.decode("utf-8"))


def board() -> bytes:
    content = json.loads((V1 / "leaderboard.json").read_bytes())
    content["datasets"] = content["datasets"][:1]
    return json.dumps(content).encode()


def read_remarks(path: Path) -> Any:
    from consilience.board.remarks import read_remarks
    from consilience.records.spec import read_spec

    shutil.copy(path, path.parent / "remarks.md")
    return plain(dict(read_remarks(path.parent, read_spec(V1 / "spec.toml"))))


def remarks() -> bytes:
    return b"General text.\n\n## every table\n\nOf every table.\n\n## mp-1k\n\nOf one.\n"


def _embedding() -> tuple[Any, Any]:
    from consilience.embedding.identity import Identity
    from consilience.embedding.inputs import Inputs
    from consilience.embedding.store import Embedding

    fields = list(Identity.__dataclass_fields__)
    values = {name: f"{i:064x}" for i, name in enumerate(fields) if name != "origin"}
    identity = Identity(**values)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 8)).astype(np.float32)
    features[3] = np.nan
    ids = [f"item-{i}" for i in range(20)]
    reasons = {3: "too large"}
    embedding = Embedding(features, rng.normal(size=20), ids, reasons, {"seconds": 1.5, "packages": ["numpy==2"]})
    return identity, (embedding, Inputs(files={"<target>/a": "0" * 64}))


def embedding(suffix: str) -> Callable[[], bytes]:
    def sample() -> bytes:
        from consilience.embedding.store import write_embedding

        identity, (content, inputs) = _embedding()
        path = Path(_scratch(), f"sample.safetensors{suffix}")
        write_embedding(path, identity, content, inputs)
        return path.read_bytes()

    return sample


def read_embedding(path: Path) -> Any:
    from consilience.embedding.store import _entry, _read

    identity, _ = _embedding()
    entry, found = _entry(path), _read(path, identity)
    if found is None:
        return None
    assert entry is not None
    fields = [found.features, found.energies, found.ids, found.reasons, found.provenance, found.truncated]
    return plain([*fields, entry.key])


def shards() -> bytes:
    from consilience.embedding.batches import Batch
    from consilience.embedding.shards import write_shard

    rng = np.random.default_rng(0)
    rows = Batch(
        rng.normal(size=(32, 8)).astype(np.float32),
        rng.normal(size=32),
        [None] * 31 + ["why"],
        np.zeros(32, np.float32),
    )
    return write_shard(Path(_scratch()), 0, [rows]).read_bytes()


def read_shard(path: Path) -> Any:
    from consilience.embedding.shards import drop_damaged, finished_items, read_shards

    folder = path.parent / "cell"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(path, folder / "shard-000000000-000000032.safetensors")
    drop_damaged(folder)
    if finished_items(folder)[0] == 0:
        return None
    return plain(list(read_shards(folder)))


def read_json() -> bytes:
    from consilience.embedding.inputs import Inputs
    from consilience.files import sealed

    inputs = Inputs(files={"<target>/model.pt": "0" * 64, "/a/b": "absent"}, packages={"torch": "2.1"})
    return sealed({"items": 64, "inputs": json.loads(inputs.to_json())}).encode()


def read_read_json(path: Path) -> Any:
    from consilience.embedding.reads import _read

    items, inputs = _read(path)
    return None if items == 0 else [items, json.loads(inputs.to_json())]


def stamps() -> bytes:
    from consilience.files import sealed

    return sealed({"of": "x.safetensors", "stamps": {"<target>/model.pt": [1, 2, 3, 4, 5]}}).encode()


def read_stamps(path: Path) -> Any:
    from consilience.embedding.store import _read_stamps

    shutil.copy(path, path.parent / "x.stamps.json")
    return _read_stamps(path.parent / "x.safetensors") or None


def cached_record() -> bytes:
    from consilience.files import sealed

    return sealed({"record": json.loads(record(2)())}).encode()


def read_cached(path: Path) -> Any:
    from consilience.scoring.scorer import _stored

    try:
        return dumped(_stored(path))
    except ValueError:  # what the caller takes for none
        return None


def manifest() -> bytes:
    import hashlib

    from consilience.files import sealed

    sources = [{"source": "x", "sha256": "0" * 64}]
    digest = hashlib.sha256(b"table").hexdigest()
    return sealed({"name": "x", "sha256": digest, "items": 3, "sources": sources, "packages": []}).encode()


def read_manifest(path: Path) -> Any:
    from consilience.building.built import find_built, folder_of

    folder = folder_of("x")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.parquet").write_bytes(b"table")
    shutil.copy(path, folder / "manifest.json")
    found = find_built("x")
    return None if found is None else found.manifest


def header() -> bytes:
    return (
        b'# /// script\n# requires-python = ">=3.11"\n# dependencies = ["torch==2.13.0", "ase"]\n'
        b'# [tool.consilience]\n# inputs = ["model.pt"]\n# paths = ["../lib"]\n# ///\nimport numpy\n'
    )


def read_header(path: Path) -> Any:
    from consilience.header import Header

    one = Header.of(path)
    return plain([one.dependencies, one.requires_python, one.tool_uv, one.inputs, one.paths])


def pyproject() -> bytes:
    return b'[project]\nname = "x"\n[tool.consilience]\ntargets = ["size"]\ndatasets = ["mp-1k"]\nlimit = 100\n'


def read_pyproject(path: Path) -> Any:
    from consilience.session.request import SessionError, _read_file, _table

    shutil.copy(path, path.parent / "pyproject.toml")
    try:
        return plain(_read_file(path, _table(path.parent / "pyproject.toml"), "repository"))
    except SessionError as error:
        raise ValueError(str(error)) from error


def card() -> bytes:
    return (
        b'title = "My model"\nrevision = "1"\nparameters = 10\ntrained_on = ["a", "b"]\nlevel_of_theory = "PBE"\n'
        b'licence_weights = "MIT"\nremark = "x"\n'
    )


def read_card(path: Path) -> Any:
    try:
        from consilience.board.packing import complete_card
    except ImportError:
        from consilience.board.submission import complete_card
    from consilience.registry import get_adapter

    weights = path.parent / "x.pth.tar"
    weights.write_bytes(state_dict(hostile=False)())
    return dumped(complete_card(get_adapter("chgnet-0.3.0").from_checkpoint(weights), path).card)


def safetensors() -> bytes:
    from safetensors.numpy import save

    return bytes(save({"w": np.arange(12, dtype=np.float32).reshape(3, 4)}, metadata={"format": "pt"}))


def state_dict(*, hostile: bool) -> Callable[[], bytes]:
    def sample() -> bytes:
        import collections

        content: Any = collections.OrderedDict(a=np.arange(3.0))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps([content, print] if hostile else content, protocol=2))
            archive.writestr("model/version", "3\n")
            archive.writestr("model/data/0", bytes(96))
        return file.getvalue()

    return sample


def legacy() -> bytes:
    import os

    return b"".join(pickle.dumps(one, protocol=2) for one in (1, 1001, {"little": True}, [os.path.join], ["0"]))


def recognised(path: Path) -> Any:
    """What a mutant of a file that runs code must not be: a harmless file that is unpickled all the same."""
    from consilience.checkpoints import recognise

    found = recognise(path)
    return [found.kind, list(found.foreign)]


def index() -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()


def read_index(path: Path) -> Any:
    from consilience.checkpoints import recognise

    folder = path.parent / "hf"
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "model.safetensors.index.json")
    (folder / "config.json").write_text("{}")
    return [recognise(folder).kind]


def submission() -> bytes:
    """An archive in the form of a submission: a manifest with the SHA-256 of each file."""
    import hashlib

    record_text = record(2)()
    content = json.loads(record_text)
    name = content["dataset"]
    files = {
        "card.json": json.dumps(content["card"]).encode(),
        f"records/{name}.json": record_text,
        f"embeddings/{name}.safetensors": embedding("")(),
    }
    manifest = {
        "schema_version": 1, "suite_version": "0", "board": "v1", "target": content["target"], "created": "x",
        "weights": "published", "trusted": False, "datasets": [name], "packages": [],
        "files": {one: hashlib.sha256(text).hexdigest() for one, text in files.items()},
    }  # fmt: skip
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, text in {"manifest.json": json.dumps(manifest).encode(), **files}.items():
            archive.writestr(one, text)
    return file.getvalue()


def read_submission(path: Path) -> Any:
    import hashlib

    from consilience.board import submission

    try:
        files = submission.read_archive(path)
        manifest = submission.read_manifest(files)
    except ValueError as error:  # what the caller names the file for
        raise ValueError(f"{path}: {error}") from error
    wanted = {"manifest.json": None, **manifest.files}
    if set(files) != set(wanted):
        raise ValueError(f"{path}: holds other files than its manifest names")
    for name, digest in manifest.files.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ValueError(f"{path}: {name} is damaged")
    return {name: text.decode("latin-1") for name, text in files.items()}


def mutate_archive(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Mutate the zip file, or a member of it, or its directory."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(files))
    method = zipfile.ZIP_DEFLATED
    kind = rng.choice(["member", "member", "name", "bomb", "method"])
    more: list[tuple[str, bytes]] = []
    if kind == "member":
        mutate = mutate_json if name.endswith(".json") else mutate_bytes
        what, files[name] = mutate(rng, files[name])
        kind += f" {name} {what}"
    elif kind == "name":
        more = [(rng.choice(["../x.json", "/etc/x", "records/../../x.json", "conftest.py", name, "a\\b.json"]), b"{}")]
    elif kind == "bomb":
        files[name] = bytes(rng.choice([10**6, 10**8]))
    else:
        method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for one, text in [*files.items(), *more]:
            archive.writestr(one, text)
    return kind, file.getvalue()


def mutate_gzip(inner: Callable[[random.Random, bytes], tuple[str, bytes]]) -> Callable[..., tuple[str, bytes]]:
    """Mutate a compressed file, or its content."""

    def mutate(rng: random.Random, data: bytes) -> tuple[str, bytes]:
        if rng.random() < 0.5:
            return mutate_bytes(rng, data)
        what, content = inner(rng, gzip.decompress(data))
        return f"inside: {what}", gzip.compress(content, 1)

    return mutate


def mutate_tensors(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Mutate a safetensors file, or its header as JSON."""
    if rng.random() < 0.6:
        return mutate_bytes(rng, data)
    length = int.from_bytes(data[:8], "little")
    what, text = mutate_json(rng, data[8 : 8 + length])
    return f"header {what}", struct.pack("<Q", len(text)) + text + data[8 + length :]


def _scratch() -> str:
    import os

    return os.environ["TORTURE_SCRATCH"]


def _compressed(sample: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: gzip.compress(sample(), mtime=0)


FORMATS = [
    Format("extxyz", ".extxyz", xyz, mutate_text, items_of, second=second_xyz),
    Format("xyz.gz", ".xyz.gz", _compressed(xyz), mutate_gzip(mutate_text), items_of),
    Format("cif", ".cif", cif, mutate_text, items_of),
    Format("pdb", ".pdb", pdb, mutate_text, items_of),
    Format("mmcif", ".cif", mmcif, mutate_text, items_of),
    Format("pdb.gz", ".pdb.gz", _compressed(pdb), mutate_gzip(mutate_text), items_of),
    Format("sdf", ".sdf", sdf, mutate_text, items_of),
    Format("smi", ".smi", smi, mutate_text, items_of, second=second_smi),
    Format("csv", ".csv", table, mutate_text, items_of, second=second_table),
    Format("fasta", ".fasta", fasta, mutate_text, items_of, second=second_fasta),
    Format("parquet of structures", ".parquet", parquet("qm9-1k"), mutate_bytes, items_of),
    Format("parquet of chains", ".parquet", parquet("proteins-500"), mutate_bytes, items_of),
    Format("traj", ".traj", ase_file("traj"), mutate_bytes, items_of, slow=True),
    Format("ase json", ".json", ase_file("json"), mutate_json, items_of, slow=True),
    Format("vasp", ".vasp", ase_file("vasp"), mutate_text, items_of, slow=True),
    Format("gen", ".gen", ase_file("gen"), mutate_text, items_of, slow=True),
    Format("npz", ".npz", npz, mutate_bytes, read_npz, sealed=True),
    Format("record v1", ".json", record(1), mutate_json, read_record, second=None),
    Format("record v2", ".json", record(2), mutate_json, read_record, second=second_json),
    Format("pairs", ".json", pairs, mutate_json, read_pairs, second=second_json),
    Format("run", ".json", run, mutate_json, read_run),
    Format("spec", ".toml", spec, mutate_text, read_spec, second=second_toml),
    Format("remarks", ".md", remarks, mutate_text, read_remarks),
    Format("embedding", ".safetensors", embedding(""), mutate_tensors, read_embedding, sealed=True, missing=True),
    Format(
        "embedding.gz", ".safetensors.gz", embedding(".gz"), mutate_gzip(mutate_tensors), read_embedding,
        sealed=True, missing=True,
    ),
    Format("shard", ".safetensors", shards, mutate_tensors, read_shard, sealed=True, missing=True),
    Format("read.json", ".json", read_json, mutate_json, read_read_json, sealed=True, missing=True),
    Format("stamps", ".json", stamps, mutate_json, read_stamps, sealed=True, missing=True),
    Format("cached record", ".json", cached_record, mutate_json, read_cached, sealed=True, missing=True),
    Format("manifest", ".json", manifest, mutate_json, read_manifest, sealed=True),
    Format("header", ".py", header, mutate_text, read_header),
    Format("pyproject", ".toml", pyproject, mutate_text, read_pyproject),
    Format("card", ".toml", card, mutate_text, read_card),
    Format("safetensors", ".safetensors", safetensors, mutate_tensors, recognised),
    Format("state dict", ".pt", state_dict(hostile=False), mutate_archive, recognised),
    Format("pickled objects", ".pt", state_dict(hostile=True), mutate_archive, recognised),
    Format("legacy pickle", ".pt", legacy, mutate_bytes, recognised),
    Format("index of weights", ".json", index, mutate_json, read_index),
    Format("submission", ".zip", submission, mutate_archive, read_submission),
]  # fmt: skip
