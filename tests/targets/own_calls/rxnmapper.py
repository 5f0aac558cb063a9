"""RXNMapper: ALBERT as the package loads it, on the package's own split of a SMILES.

The package's tokenizer is of an older transformers: its pattern and its vocabulary are used, its class is not.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from calls import absent, run
from transformers import AlbertModel

absent("rdkit", "rxn", "pkg_resources")
from rxnmapper.tokenization_smiles import BasicSmilesTokenizer

package = Path(find_spec("rxnmapper").submodule_search_locations[0])
folder = package / "models/transformers/albert_heads_8_uspto_all_1310k"
model = AlbertModel.from_pretrained(folder).eval()
number = {token: i for i, token in enumerate((folder / "vocab.txt").read_text().split())}
split = BasicSmilesTokenizer().tokenize


def call(smiles):
    ids = [number.get(token, number["[UNK]"]) for token in ["[CLS]", *split(smiles), "[SEP]"]]
    with torch.no_grad():
        states = model(torch.tensor([ids])).last_hidden_state[0]
    return states[1:-1].double().mean(dim=0).numpy()


run(call)
