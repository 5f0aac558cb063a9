"""AntiBERTy: the package's runner, on the residues that it can read."""

from antiberty import AntiBERTy, AntiBERTyRunner
from calls import run

AntiBERTy.all_tied_weights_keys = {}  # which this version of transformers looks for; no weights are tied when embedding
runner = AntiBERTyRunner()
# [CLS] before and [SEP] behind the residues; 512 positions.
run(lambda sequence: runner.embed([sequence[:510]])[0][1:-1].double().mean(dim=0).numpy())
