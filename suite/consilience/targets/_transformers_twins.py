"""Untrained twins of the models that `transformers` loads: configurations and tokenizer files, written as folders.

The folder is then loaded as a checkpoint is, so that a twin proves the loading as well as the network. Widths are the
published ones; most networks have fewer layers, which their cards say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consilience.targets._transformers import FOLD, Loaded, class_of, save_folder, without_pooler

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consilience import Card

#: Residues in the order of ESM's vocabulary.
RESIDUE_LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO"


def write_twin(card: Card, folder: Path, seed: int) -> None:
    """Write the folder of an untrained twin: configuration, tokenizer and random weights."""
    import torch

    build, tokenizer = TWINS[card.family]
    config = build(card.dimension or 256)
    torch.manual_seed(seed)
    kind = class_of(config)
    network = kind(config, **without_pooler(kind))
    save_folder(Loaded(network, tokenizer(folder)), folder)


def _esm(vocabulary: int) -> Callable[[int], Any]:
    def build(width: int) -> Any:
        from transformers import EsmConfig

        return EsmConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=6 if vocabulary == 33 else 2,
            num_attention_heads=20,
            intermediate_size=4 * width if width <= 320 else width,
            max_position_embeddings=1026,
            position_embedding_type="rotary",
            token_dropout=True,
            emb_layer_norm_before=False,
            pad_token_id=1,
            mask_token_id=vocabulary - 1 if vocabulary == 33 else 4,
        )

    return build


def _esm_tokens(folder: Path) -> Any:
    from transformers import EsmTokenizer

    words = ["<cls>", "<pad>", "<eos>", "<unk>", *RESIDUE_LETTERS, ".", "-", "<null_1>", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return EsmTokenizer(str(folder / "vocab.txt"))


def _saprot_tokens(folder: Path) -> Any:
    from transformers import EsmTokenizer

    pairs = [residue + state for residue in "ACDEFGHIKLMNPQRSTVWY#" for state in "pynwrqhgdlvtmfsaeikc#"]
    (folder / "vocab.txt").write_text("\n".join(["<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *pairs]))
    return EsmTokenizer(str(folder / "vocab.txt"))


def _esmc(width: int) -> Any:
    from transformers import EsmcConfig

    return EsmcConfig(hidden_size=width, intermediate_size=width, num_hidden_layers=2, num_attention_heads=width // 64)


def _esmc_tokens(folder: Path) -> Any:
    from transformers import EsmcTokenizer

    return EsmcTokenizer()


def _roberta(width: int) -> Any:
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=600,
        hidden_size=width,
        num_hidden_layers=3,
        num_attention_heads=12,
        intermediate_size=464,
        max_position_embeddings=515,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


def _roberta_tokens(folder: Path) -> Any:
    from transformers import RobertaTokenizer

    words = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "<mask>",
        *sorted("#%()+-./0123456789:=@ABCFGHIKLMNOPRSTVXZ[]\\abcdegilnoprstu"),
    ]
    return RobertaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])


def _gpt_neo(width: int) -> Any:
    from transformers import GPTNeoConfig

    return GPTNeoConfig(
        vocab_size=128,
        hidden_size=width,
        num_layers=2,
        attention_types=[[["global", "local"], 1]],
        num_heads=16,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
    )


def _selfies_tokens(folder: Path) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    atoms = [
        b + a for b in ("", "=", "#") for a in ("C", "N", "O", "F", "S", "P", "Cl", "Br", "I", "NH1", "O-1", "N+1")
    ]
    marks = [b + m + n for b in ("", "=", "#") for m in ("Branch", "Ring") for n in "123"]
    symbols = [f"[{symbol}]" for symbol in [*atoms, *marks, "NH1+1", "NH2+1", "NH3+1", "C-1", "nop"]]
    words = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", *symbols]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\[[^\]]*\]"), "isolated")
    special = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _t5(feed_forward: str) -> Callable[[int], Any]:
    def build(width: int) -> Any:
        from transformers import T5Config

        return T5Config(
            vocab_size=256,
            d_model=width,
            d_kv=64,
            d_ff=512,
            num_layers=2,
            num_heads=8,
            feed_forward_proj=feed_forward,
            is_encoder_decoder=False,
            use_cache=False,
        )

    return build


def _t5_residues(folder: Path) -> Any:
    """One token a residue, written with spaces; 3Di states in lower case, and ProstT5's two marks."""
    from transformers import T5Tokenizer

    letters = [*RESIDUE_LETTERS, *RESIDUE_LETTERS.lower()]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{letter}", -3.0) for letter in letters)]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0)
    tokenizer.add_tokens([FOLD, "<AA2fold>"])
    return tokenizer


def _t5_characters(folder: Path) -> Any:
    from transformers import T5Tokenizer

    letters = [chr(code) for code in range(33, 127)]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -3.0) for letter in ["▁", *letters])]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0)


def _decoder(kind: str) -> Callable[[int], Any]:
    """One layer of a language model."""

    def build(width: int) -> Any:
        import transformers

        common = {
            "vocab_size": 260,
            "hidden_size": width,
            "intermediate_size": 512,
            "num_hidden_layers": 1,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 8192,
            "pad_token_id": None,
            "bos_token_id": 256,
            "eos_token_id": 257,
        }
        if kind == "llama":
            return transformers.LlamaConfig(**common)
        if kind == "qwen3":
            return transformers.Qwen3MoeConfig(
                **common, moe_intermediate_size=128, num_experts=8, num_experts_per_tok=2
            )
        return transformers.GptOssConfig(
            **{**common, "intermediate_size": 128}, num_local_experts=4, num_experts_per_tok=2
        )

    return build


def _byte_tokens(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{"bos_token": "<bos>", "eos_token": "<eos>"})


#: How the twin of a family is built: its configuration for a width, and its tokenizer.
TWINS: dict[str, tuple[Callable[[int], Any], Callable[[Path], Any]]] = {
    "chemberta": (_roberta, _roberta_tokens),
    "chemgpt": (_gpt_neo, _selfies_tokens),
    "molt5": (_t5("gated-gelu"), _t5_characters),
    "esm2": (_esm(33), _esm_tokens),
    "saprot": (_esm(446), _saprot_tokens),
    "esmc": (_esmc, _esmc_tokens),
    "prott5": (_t5("relu"), _t5_residues),
    "prostt5": (_t5("relu"), _t5_residues),
    "ankh": (_t5("gated-gelu"), _t5_residues),
    "llama": (_decoder("llama"), _byte_tokens),
    "qwen3": (_decoder("qwen3"), _byte_tokens),
    "gpt-oss": (_decoder("gpt-oss"), _byte_tokens),
}
