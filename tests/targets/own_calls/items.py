"""Ten items of each view on which targets meet their packages' own calls: ions, odd cells, salts, gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell, molecule

from consilience.cards import DatasetCard
from consilience.datasets.items import Items, open_dataset

#: A bicyclic ester, a drug with three rings and six centres, and a peptide: the long ones at the end.
SMILES = {
    "benzene": "c1ccccc1",
    "acid": "OC(=O)CCc1ccccc1Cl",
    "salt": "CC(=O)[O-].[Na+]",
    "betaine": "C[N+](C)(C)CC(=O)[O-]",
    "ammonium": "CCC[NH3+]",
    "stereo": "C[C@@H](O)[C@H](N)/C=C/C(F)(F)F",
    "nitro": "O=[N+]([O-])c1cc(Br)c(S(N)(=O)=O)cc1I",
    "bridged": "COC(=O)[C@H]1[C@@H](OC(=O)c2ccccc2)C[C@@H]2CC[C@H]1N2C",
    "small": "CO",
    "long": "CC[C@H](C)[C@H](NC(=O)[C@H](Cc1ccc(O)cc1)NC(=O)[C@H](CCCNC(=N)N)NC(=O)[C@@H](N)CC(=O)O)C(=O)N[C@@H]"
    "(Cc1c[nH]cn1)C(=O)N1CCC[C@H]1C(=O)N[C@@H](Cc1ccccc1)C(=O)N[C@@H](CCSC)C(=O)NCC(=O)O",
}
#: Variable domains of an antibody, for the models of antibodies.
HEAVY = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTV"
    "SS"
)
LIGHT = "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQGTKVEIK"


PEROVSKITE = ((0, 0, 0), (1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))


def atoms() -> Items:
    """Ten molecules and eleven crystals."""
    found = {**_molecules(), **_crystals()}
    columns: dict[str, Any] = {
        "id": list(found),
        "numbers": [one.numbers.tolist() for one in found.values()],
        "positions": [one.positions.tolist() for one in found.values()],
        "cell": [one.cell.array.tolist() for one in found.values()],
        "pbc": [one.pbc.tolist() for one in found.values()],
        "charge": [one.info.get("charge", 0) for one in found.values()],
        "spin": [one.info.get("spin", 1) for one in found.values()],
    }
    return _items("own-calls-atoms", ("id", "atoms"), columns)


def smiles() -> Items:
    """Ten molecules as SMILES."""
    return _items("own-calls-smiles", ("id", "smiles"), {"id": list(SMILES), "smiles": list(SMILES.values())})


def sequences() -> Items:
    """Ten protein sequences."""
    chains = open_dataset("proteins-500")
    shipped = dict(zip(chains.ids, chains.view("sequence"), strict=True))
    found = {
        "three": "GAV",
        "melittin": "GIGAVLKVLTTGLPALISWIKRKRQQ",
        "one-letter": "A" * 30,
        "unknown": "MKTXXAYIAKQRX",
        "heavy": HEAVY,
        "light": LIGHT,
        "short": shipped["1J34_C"],
        "unknown-inside": shipped["1MOF_A"][:20] + "X" * 8 + shipped["1MOF_A"][28:],
        "long": shipped["5KXJ_A"],
        "very-long": shipped["5KXJ_A"] + shipped["1SVB_A"],
    }
    return _items("own-calls-sequences", ("id", "sequence"), {"id": list(found), "sequence": list(found.values())})


def backbones() -> Items:
    """Ten chains: fewer residues than a model has neighbours, gaps, atoms that lack, far from the origin."""
    chains = open_dataset("proteins-500")
    shipped = dict(zip(chains.ids, chains.view("backbone"), strict=True))

    def part(name: str, stop: int | None = None) -> tuple[str, Any]:
        return shipped[name].sequence[:stop], shipped[name].coordinates[:stop].astype(float)

    found = {
        "short": part("1J34_C"),
        "six": part("1MOF_A", 6),
        "gap": part("2VWF_A"),
        "unknown": part("2BJN_A"),
        "no-oxygen": part("1SVB_A", 80),
        "no-oxygen-short": part("1PFB_A"),  # 47 of 55 residues are whole, of 48 that ProteinMPNN looks for
        "ends": part("4EKX_D"),
        "far": part("3GXQ_B"),
        "mirrored": part("2YHX_A"),
        "long": part("5KXJ_A"),
    }
    found["gap"][1][20:26] = np.nan
    sequence, coordinates = found["unknown"]
    found["unknown"] = sequence[:10] + "XX" + sequence[12:40] + "X" + sequence[41:], coordinates
    coordinates[10:12] = np.nan  # the third unknown residue is seen
    for name in ("no-oxygen", "no-oxygen-short"):
        found[name][1][5::7, 3] = np.nan
    found["ends"][1][:4] = found["ends"][1][-3:] = np.nan
    found["far"][1][:] += 1000.0
    found["mirrored"][1][..., 0] *= -1
    columns = {
        "id": list(found),
        "sequence": [sequence for sequence, _ in found.values()],
        "backbone": [coordinates.tolist() for _, coordinates in found.values()],
    }
    return _items("own-calls-backbones", ("id", "sequence", "backbone"), columns)


def _molecules() -> dict[str, Atoms]:
    """Neutral molecules, ions, a radical, and two molecules that hardly see each other."""
    drawn = {name: open_dataset(name) for name in ("qm9-1k", "ccd-1k")}

    def shipped(dataset: str, name: str) -> Atoms:
        return drawn[dataset].view("atoms", [drawn[dataset].ids.index(name)])[0]

    water, far = molecule("H2O"), molecule("H2O")
    far.rotate(70, (1, 2, 3))
    far.positions += (0.0, 4.0, 8.0)
    # Acetic acid without the hydrogen at its oxygen; methane with nitrogen for carbon, each bond as in ammonium.
    acid = molecule("CH3COOH")
    acetate = acid[[i for i in range(len(acid)) if i != _acidic(acid)]]
    ammonium = molecule("CH4")
    ammonium.positions *= 1.02 / ammonium.get_distance(0, 1)
    ammonium.numbers[ammonium.numbers == 6] = 7
    found = {
        "hydrogen": molecule("H2"),
        "methyl": molecule("CH3"),
        "acetate": acetate,
        "ammonium": ammonium,
        "qm9": drawn["qm9-1k"].view("atoms", [500])[0],
        "thiophene": molecule("C4H4S"),
        "chloromethane": molecule("CH3Cl"),
        "imidazolium": shipped("ccd-1k", "IMD"),
        "thiolate": shipped("ccd-1k", "OPS"),
        "waters": water + far,
    }
    for one in found.values():
        one.calc = None
    found["methyl"].info["spin"] = 2
    found["acetate"].info["charge"] = -1
    found["ammonium"].info["charge"] = 1
    return found


def _acidic(acid: Atoms) -> int:
    """Hydrogen of the hydroxyl group."""
    distances = acid.get_all_distances()
    return next(i for i in np.flatnonzero(acid.numbers == 1) if (distances[i][acid.numbers == 8] < 1.1).any())


def _crystals() -> dict[str, Atoms]:
    """Tiny, long and skewed cells, elements light and heavy, atoms outside of their cell."""
    mp = open_dataset("mp-1k")

    def shipped(name: str) -> Atoms:
        return mp.view("atoms", [mp.ids.index(name)])[0]

    rng = np.random.default_rng(0)
    salt = make_supercell(bulk("LiBr", "rocksalt", a=5.5), [[1, 0, 0], [3, 1, 0], [-2, 4, 1]])
    slab = fcc111("Al", (1, 2, 4), vacuum=12.0)
    slab.pbc = True
    slab.rattle(0.05, rng=rng)
    outside = Atoms("SrTiO3", [(0, 0, 0), (2, 2, 2), (2, 2, 0), (2, 0, 2), (0, 2, 2)], cell=(3.9, 4.0, 4.1), pbc=True)
    outside.rattle(0.1, rng=rng)
    outside.positions += rng.integers(-3, 4, (5, 3)) @ outside.cell.array
    return {
        "tungsten": shipped("mp-8641"),
        "potassium": bulk("K"),  # neighbours 4.6 angstrom apart
        "skewed": shipped("mp-637030"),  # angles of 14 degrees
        "sheared": salt,
        "long": shipped("mp-567534"),  # CdI2, 59 angstrom along c
        "slab": slab,
        "uranate": shipped("mp-557448"),
        "hydride": shipped("mp-690760"),
        "molecules": shipped("mp-625385"),  # H, N and O
        "outside": outside,
        # 2 Ti, 8 O and 4 Sr around each O: the cap of twelve of CGCNN cuts through the equal ones.
        "perovskite": Atoms("SrTiO3", 1.9525 * np.array(PEROVSKITE), cell=[3.905] * 3, pbc=True),
    }


def _items(name: str, views: tuple[Any, ...], columns: dict[str, Any]) -> Items:
    card = DatasetCard(
        name=name, title=name, matter="molecule", views=views, licence="CC0-1.0", citation="none", source="made here",
        recipe=__file__.rsplit("/", maxsplit=1)[-1], selection="by hand",
    )  # fmt: skip
    return Items(card, pa.table(columns))
