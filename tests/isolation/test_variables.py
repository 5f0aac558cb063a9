"""Workers see no secret, and have a home and a temporary folder of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from consilience.datasets.items import open_dataset
from consilience.embedding.embed import embed
from consilience.embedding.errors import EmbeddingFailedError
from consilience.embedding.identity import identify
from consilience.embedding.store import Store
from consilience.isolation.job import check_device
from consilience.isolation.variables import OPTION_VARIABLE, looks_secret, worker_variables
from consilience.registry import load_target_file

SECRETS = {
    "HF_TOKEN": "hf_x",
    "HUGGING_FACE_HUB_TOKEN": "hf_x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_SESSION_TOKEN": "x",
    "GITHUB_TOKEN": "x",
    "OPENAI_API_KEY": "x",
    "SLURM_JWT": "x",
    "DATABASE_PASSWORD": "x",
    "NETRC": "/home/x/.netrc",
    "SSH_AUTH_SOCK": "agent",
    "HTTPS_PROXY": "http://user:word@proxy:3128",
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def test_libraries_settings_are_handed_on_and_secrets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LC_ALL", "TOKENIZERS_PARALLELISM", "NO_PROXY"):
        monkeypatch.setenv(name, "1")
        assert worker_variables(tmp_path)[name] == "1"
    variables = worker_variables(tmp_path)
    assert not set(SECRETS) & set(variables)
    assert not any(looks_secret(name, value) for name, value in variables.items())
    assert Path(variables["HOME"]).is_relative_to(own_cache)
    assert Path(variables["TMPDIR"]).is_relative_to(tmp_path)
    assert variables["HF_HUB_CACHE"].endswith("huggingface/hub")


def test_a_target_sees_them_only_where_the_user_hands_them_on(
    tmp_path: Path, write_target: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its value is an input of the embedding."""
    body = (
        "import os, pathlib\n"
        "assert 'HF_TOKEN' not in os.environ and not (pathlib.Path.home() / '.netrc').exists()\n"
        "weight = float(os.environ.get('MODEL_WEIGHT', 1))\n"
        "return Embedded([[len(a) * weight, a.positions.std()] for a in items])\n"
    )
    (target,) = load_target_file(write_target(body, name="reads-variables"))
    items, store = open_dataset("qm9-1k").head(4), Store(tmp_path / "store", shipped=None)
    size = len(items.view("atoms")[0])

    def weight() -> float:
        return float(embed(target, items, store).features[0, 0]) / size

    monkeypatch.setenv("MODEL_WEIGHT", "2")
    assert weight() == 1
    monkeypatch.setenv(OPTION_VARIABLE, "MODEL_WEIGHT")
    assert weight() == 2
    monkeypatch.setenv("MODEL_WEIGHT", "3")
    assert not store.contains(identify(target, items))
    assert weight() == 3
    monkeypatch.setenv("MODEL_WEIGHT", "2")
    assert store.contains(identify(target, items))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "mps:1 "])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="device: "):
        check_device(device)


def test_a_device_that_is_missing_is_refused() -> None:
    check_device("cpu")
    if Path("/dev/nvidiactl").exists():
        check_device("cuda")
    else:
        with pytest.raises(ValueError, match="this machine has no GPU driver"):
            check_device("cuda:1")


@pytest.mark.slow
def test_a_file_that_is_not_in_a_workers_home_is_named_with_advice(
    write_target: Callable[..., Path], own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "users"
    folder.mkdir()
    (folder / "w.txt").write_text("2")
    monkeypatch.setenv("HOME", str(folder))
    preamble = "import pathlib\nscale = float((pathlib.Path.home() / 'w.txt').read_text())\n"
    path = write_target("return Embedded([[scale * len(a)] for a in items])\n", name="homely", preamble=preamble)
    (target,) = load_target_file(path)
    items, store = open_dataset("qm9-1k").head(4), Store(tmp_path / "store")
    with pytest.raises(EmbeddingFailedError, match=r"a model's home is .*home: .* --pass-env HOME"):
        embed(target, items, store)
    monkeypatch.setenv(OPTION_VARIABLE, "HOME")
    assert embed(target, items, store).features[0, 0] == 2 * len(items.view("atoms")[0])
