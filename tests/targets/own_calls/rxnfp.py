"""RXNFP: BERT as the package loads it, on the package's own split of a SMILES.

The package's tokenizer is of an older transformers: its pattern and its vocabulary are used, its class is not.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from calls import CARD, absent, run
from transformers import BertModel

absent("rdkit", "pkg_resources")
from rxnfp.tokenization import RegexTokenizer

package = Path(find_spec("rxnfp").submodule_search_locations[0])
folder = package / "models/transformers" / CARD.replace("rxnfp", "bert").replace("-", "_")
model = BertModel.from_pretrained(folder).eval()
number = {token: i for i, token in enumerate((folder / "vocab.txt").read_text().split())}
split = RegexTokenizer().tokenize


def call(smiles):
    ids = [number.get(token, number["[UNK]"]) for token in ["[CLS]", *split(smiles), "[SEP]"]]
    with torch.no_grad():
        states = model(torch.tensor([ids])).last_hidden_state[0]
    return states[1:-1].double().mean(dim=0).numpy()


run(call)
