"""AntiBERTy: the package's runner, on the residues that it can read.

The runner is of an older transformers. The present one looks for an attribute more, and takes the vocabulary under
another name: without it, every residue would be the unknown token.
"""

from pathlib import Path

from antiberty import AntiBERTy, AntiBERTyRunner
from antiberty.AntiBERTyRunner import VOCAB_FILE
from calls import run
from transformers import BertTokenizer

AntiBERTy.all_tied_weights_keys = {}
runner = AntiBERTyRunner()
vocabulary = {token: i for i, token in enumerate(Path(VOCAB_FILE).read_text().split())}
runner.tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=False)
assert runner.tokenizer("E X V")["input_ids"] == [2, 8, 1, 22, 3]
# [CLS] before and [SEP] behind the residues; 512 positions.
run(lambda sequence: runner.embed([sequence[:510]])[0][1:-1].double().mean(dim=0).numpy())
