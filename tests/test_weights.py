from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from consilience.weights import Weights, WeightsError, as_features, sha256_of


def test_a_published_file_has_to_be_the_declared_one(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    weights = Weights(expected_sha256=digest)
    assert weights.published(path) == path
    assert weights.sha256() == digest
    with pytest.raises(WeightsError, match=r"model\.pt: sha256 is"):
        Weights(expected_sha256="0" * 64).published(path)
    with pytest.raises(WeightsError, match="not at"):
        Weights().published(tmp_path / "absent.pt")


def test_a_users_file_stands_in_for_the_published_one(tmp_path: Path) -> None:
    own, published = tmp_path / "own.pt", tmp_path / "published.pt"
    own.write_bytes(b"own")
    published.write_bytes(b"published")
    weights = Weights(kind="file", path=own, expected_sha256="0" * 64)
    assert weights.file_or_published(published) == own
    assert weights.sha256() == hashlib.sha256(b"own").hexdigest()


def test_a_download_happens_only_where_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    assert Weights().file_or_published(lambda: path) == path

    def unreachable() -> Path:
        raise OSError("no route to host")

    assert Weights(kind="file", path=path).file_or_published(unreachable) == path
    with pytest.raises(WeightsError, match=r"could not be fetched: OSError: no route to host"):
        Weights().file_or_published(unreachable)


def test_a_folder_is_known_by_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "state.pt").write_bytes(b"state")
    before = sha256_of(folder)
    (folder / "model.json").write_text("{}")
    after = sha256_of(folder)
    assert before != after
    (folder / "model.json").rename(folder / "other.json")
    assert sha256_of(folder) not in (before, after)
    assert sha256_of(folder / "state.pt") == hashlib.sha256(b"state").hexdigest()


def test_tensors_become_float32_arrays() -> None:
    import torch

    found = as_features(torch.ones((2, 3), dtype=torch.float64, requires_grad=True))
    assert found.dtype == np.float32
    assert found.shape == (2, 3)
