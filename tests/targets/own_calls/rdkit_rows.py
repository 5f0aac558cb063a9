"""Morgan counts, MACCS keys and 2D descriptors: RDKit's own functions."""

import math

import numpy as np
from calls import CARD, run
from rdkit import Chem
from rdkit.Chem import AllChem, Descriptors, MACCSkeys


def morgan(molecule):
    counts = np.zeros(2048)
    generator = AllChem.GetMorganGenerator(radius=2, fpSize=2048)
    for column, count in generator.GetCountFingerprint(molecule).GetNonzeroElements().items():
        counts[column] = count
    return counts


def maccs(molecule):
    keys = MACCSkeys.GenMACCSKeys(molecule)
    return [float(keys.GetBit(i)) for i in range(keys.GetNumBits())]


def rdkit2d(molecule):
    found = {name: function(molecule) for name, function in Descriptors.descList}
    found["Ipc"] = math.log1p(found["Ipc"])  # as the card says
    return list(found.values())


rows = {"morgan": morgan, "maccs": maccs, "rdkit2d": rdkit2d}[CARD]
run(lambda smiles: rows(Chem.MolFromSmiles(smiles)))
