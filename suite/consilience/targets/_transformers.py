"""Folders of Hugging Face `transformers`: what is looked at before anything is trusted, and what is read from them.

Wrong files load there without an error: tensors that are missing become random weights, and a warning scrolls by.
Here a folder loads whole or not at all.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from consilience.targets._batch import ALLOW
from consilience.targets._tokens import Tokens, embed_tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consilience.weights import Embedded

#: What a checkpoint may hold beyond the network that embeds: heads, decoders, poolers and tables computed anew.
EXTRA = re.compile(
    r"(^|\.)(lm_head|sequence_head|cls|classifier|pooler|contact_head|score|regression|norm_mean|norm_std|decoder)(\.|$)"
    r"|position_ids$|inv_freq$"
)
#: Networks of an encoder and a decoder of which the library can load the encoder alone.
ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
#: More unknown tokens than this share of an item: the vocabulary is another's.
MOST_UNKNOWN = 0.5
#: Residues that a way of writing sequences is tried on.
PROBE = "MKTAYIAKQRQISFVKSHFSRQ"


class Loaded(NamedTuple):
    """A network and the tokenizer that belongs to it."""

    network: Any
    tokenizer: Any


def load_folder(folder: Path, *, trusted: bool = False, dtype: Any = None) -> Loaded:
    """Load a folder that `save_pretrained` wrote, or one of the hub.

    Parameters
    ----------
    folder
        Holds ``config.json``, the weights (safetensors, or a state dict without other pickled objects) and the
        tokenizer's files.
    trusted
        The user's explicit word that Python code in the folder may run.
    dtype
        Type of the weights in memory; float32 by default, whatever the file holds.

    Raises
    ------
    ValueError
        The folder needs remote code, lacks files, or its tensors or its vocabulary do not fit the network.
    """
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    settings = _read_json(folder, "config.json")
    if settings is None:
        raise ValueError(f"{folder.name} is no folder of transformers: it holds no config.json")
    kind = settings.get("model_type")
    tokenizer = _read_json(folder, "tokenizer_config.json") or {}
    code = {**(settings.get("auto_map") or {}), **(tokenizer.get("auto_map") or {})}
    remote = bool(code) and kind not in CONFIG_MAPPING
    if remote and not trusted:
        raise ValueError(f"{folder.name} needs remote code ({', '.join(map(str, code.values()))}) to be run; {ALLOW}")
    if not remote and kind not in CONFIG_MAPPING:
        raise ValueError(f"{folder.name}: transformers knows no model of the type {kind!r}")
    safe = bool(list(folder.glob("*.safetensors")))
    if not safe and not list(folder.glob("pytorch_model*.bin")):
        raise ValueError(f"{folder.name} holds no weights (model.safetensors or pytorch_model.bin)")

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": remote}
    config = AutoConfig.from_pretrained(folder, **options)
    loader = class_of(config) if not remote else AutoModel
    options |= {} if remote else without_pooler(loader)
    if (settings.get("quantization_config") or {}).get("quant_method") == "mxfp4":
        from transformers import Mxfp4Config

        options["quantization_config"] = Mxfp4Config(dequantize=True)
    # Tensors of another shape come back by name, to be refused below; the library's own error names none.
    network, report = loader.from_pretrained(
        folder,
        dtype=dtype or torch.float32,
        use_safetensors=safe,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    _check_keys(folder, report)
    if config.is_encoder_decoder and hasattr(network, "get_encoder"):
        network = network.get_encoder()
    return Loaded(network.eval(), _tokenizer(folder, network, remote=remote))


def save_folder(loaded: Loaded, folder: Path) -> None:
    """Write the folder that :func:`load_folder` reads."""
    loaded.network.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def embed_texts(
    loaded: Loaded, read: Callable[[Any], Tokens], *, device: str, longest: int | None = None
) -> Callable[[list[Any]], Embedded]:
    """Make `embed`: mean of the last hidden states over an item's own tokens.

    Parameters
    ----------
    loaded
        Network and tokenizer.
    read
        Turns an item into tokens.
    device
        Torch device string.
    longest
        Tokens that the model was trained to read, where its files do not say.
    """
    network, tokenizer = loaded.network.to(device), loaded.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0

    def forward(ids: Any, mask: Any) -> Any:
        return network(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    width = getattr(network.config, "hidden_size", None) or network.config.d_model
    most = longest or _longest(loaded)
    return embed_tokens(
        read,
        forward,
        width,
        pad=pad,
        device=device,
        longest=most,
        save=lambda path: save_folder(loaded, path),
    )


def read_text(loaded: Loaded) -> Callable[[str], Tokens]:
    """Tokens of a string as it stands (SMILES, SELFIES)."""
    return lambda text: _tokens(loaded, text, text)


def read_residues(loaded: Loaded, prefix: str | None = None) -> Callable[[str], Tokens]:
    """Tokens of a protein sequence, one to a residue.

    How a tokenizer wants its residues (in a row, with spaces, as a list) is found by trying; unusual residues
    become X where it does not know them.
    """
    styles: tuple[Callable[[str], Any], ...] = (str, " ".join, list)
    if prefix is not None:
        styles = (lambda residues: " ".join([prefix, *residues]),)
    for style in styles:
        tokens = _tokens(loaded, style(PROBE.lower() if prefix == FOLD else PROBE), PROBE, drop=prefix, strict=False)
        if sum(tokens.own) == len(PROBE) and _unknown(loaded) not in tokens.ids:
            break
    else:
        raise ValueError("the tokenizer does not read residues: a sequence does not become one token a residue")

    def read(sequence: str) -> Tokens:
        if _unknown(loaded) in _tokens(loaded, style(sequence), sequence, drop=prefix, strict=False).ids:
            sequence = re.sub("[UZOB]", "X", sequence)
        tokens = _tokens(loaded, style(sequence), sequence, drop=prefix)
        if sum(tokens.own) != len(sequence):
            raise ValueError(f"{len(sequence)} residues became {sum(tokens.own)} tokens")
        return tokens

    return read


#: ProstT5's mark of a sequence of 3Di states, which are written in lower case.
FOLD = "<fold2AA>"


def read_prompt(loaded: Loaded, system: str, describe: Callable[[Any], str]) -> Callable[[Any], Tokens]:
    """Tokens of a prompt, in the model's own chat format; the item's own are those of its description."""
    tokenizer = loaded.tokenizer

    def read(item: Any) -> Tokens:
        text = describe(item)
        turns = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        prompt = f"{system}\n\n{text}"
        if tokenizer.chat_template:
            prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
        start = prompt.rindex(text)
        # A chat format writes its special tokens itself; a plain one leaves them to the tokenizer.
        found = tokenizer(
            prompt, add_special_tokens=not tokenizer.chat_template, return_offsets_mapping=True, verbose=False
        )
        ends = start + len(text)
        own = [first >= start and first < last <= ends for first, last in found["offset_mapping"]]
        return Tokens(list(found["input_ids"]), own)

    return read


def _tokens(loaded: Loaded, text: Any, item: str, *, drop: str | None = None, strict: bool = True) -> Tokens:
    tokenizer = loaded.tokenizer
    if not item:
        raise ValueError("empty: there is nothing to read")
    ids = list(tokenizer(text, is_split_into_words=isinstance(text, list), verbose=False)["input_ids"])
    unknown = _unknown(loaded)
    special = set(tokenizer.all_special_ids) - {unknown}
    if drop is not None:
        special.add(tokenizer.convert_tokens_to_ids(drop))
    own = [i not in special for i in ids]
    strange = sum(i == unknown for i in ids)
    if strict and strange > MOST_UNKNOWN * sum(own):
        raise ValueError(f"{strange} of {sum(own)} tokens are unknown to the tokenizer: is it the model's vocabulary?")
    return Tokens(ids, own)


def _unknown(loaded: Loaded) -> int | None:
    found: int | None = loaded.tokenizer.unk_token_id
    return found


def _longest(loaded: Loaded) -> int | None:
    """Tokens that positions are known for, None where there is no limit."""
    config, tokenizer = loaded.network.config, loaded.tokenizer
    known = [tokenizer.model_max_length] if tokenizer.model_max_length < 10**6 else []
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:
        # RoBERTa counts positions from its padding token's number on.
        offset = 2 if config.model_type in ("roberta", "camembert", "xlm-roberta", "esm") else 0
        known.append(positions - offset)
    return min(known) if known else None


def without_pooler(network_class: Any) -> dict[str, bool]:
    """Argument that keeps a network from making a pooler, which would be random where a file holds none."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(network_class).parameters else {}


def class_of(config: Any) -> Any:
    """Class of the network that embeds: an encoder where there is one, no heads."""
    import transformers

    if config.model_type in ENCODERS:
        return getattr(transformers, ENCODERS[config.model_type])
    found = transformers.AutoModel._model_mapping[type(config)]
    return found[0] if isinstance(found, tuple) else found


def _check_keys(folder: Path, report: dict[str, Any]) -> None:
    """Refuse tensors that are missing (they would be random), of another shape, or nobody's."""
    missing = sorted(report["missing_keys"])
    shapes = sorted(
        f"{name} ({tuple(stored)} instead of {tuple(expected)})" for name, stored, expected in report["mismatched_keys"]
    )
    strange = sorted(key for key in report["unexpected_keys"] if not EXTRA.search(key))
    for keys, what in ((missing, "lacks"), (shapes, "holds in another shape"), (strange, "holds, unasked for,")):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ValueError(f"{folder.name} {what} tensors of its network: {', '.join(keys[:3])}{more}")


def _tokenizer(folder: Path, network: Any, *, remote: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=remote)
        known = len(tokenizer)
    except Exception as error:  # without its files each tokenizer fails in its own way
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder.name} holds no tokenizer that loads: {text}") from error
    rows = network.get_input_embeddings().weight.shape[0]
    vocabulary = tokenizer.get_vocab()
    if set(vocabulary) <= set(tokenizer.all_special_tokens):  # what some classes make up where there are no files
        raise ValueError(f"{folder.name} holds no tokenizer: no vocabulary is found in it")
    most = max(vocabulary.values())
    if most >= rows:
        raise ValueError(
            f"{folder.name}: the tokenizer numbers {known} tokens up to {most}, the network embeds {rows}: "
            "wrong vocabulary"
        )
    return tokenizer


def _read_json(folder: Path, name: str) -> dict[str, Any] | None:
    path = folder / name
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder.name}/{name} is not JSON: {error}") from error
    return found if isinstance(found, dict) else None
