from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from consilience import get_dataset, get_target, list_targets
from consilience.registry import PACKAGE, UnknownNameError, get_adapter, load_target_file


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .chgnet-0\.3\.0."):
        get_target("chgnet-0.3")
    with pytest.raises(UnknownNameError, match="did you mean 'qm9-1k'"):
        get_dataset("qm9_1k")


def test_an_untrained_twin_is_looked_up_by_suffix() -> None:
    twin = get_target("chgnet-0.3.0@untrained")
    assert twin.name == "chgnet-0.3.0@untrained"
    assert twin.weights.random
    assert not twin.trained
    with pytest.raises(ValueError, match="no untrained twin"):
        get_target("morgan@untrained")


def test_further_untrained_twins_have_seeds_of_their_own(tmp_path: Path) -> None:
    first, second = get_target("rxnfp-ft@untrained:1"), get_target("rxnfp-pretrained@untrained:1")
    assert first.name == "rxnfp-ft@untrained:1"
    assert first == get_target("rxnfp-ft").untrained(1)
    seeds = [one.weights.seed for one in (first, second, get_target("rxnfp-ft@untrained:2"))]
    assert len(set(seeds)) == 3, "cards of one architecture share the first twin only"
    assert all(0 < seed < 2**31 for seed in seeds)
    assert get_target("rxnfp-ft@untrained").weights.seed == 0
    for name, hint in (
        ("rxnfp-ft@untrained:0", "the twin of seed 0 is rxnfp-ft@untrained, as in rxnfp-ft@untrained:1"),
        ("rxnfp-ft@untrained:-1", "a number from 1 may follow"),
        ("rxnfp-ft@untrained:x", "a number from 1 may follow"),
        ("rxnfp-ft@untrained1", "a number from 1 may follow"),
    ):
        with pytest.raises(UnknownNameError, match=hint):
            get_target(name)


def test_a_file_called_untrained_is_no_twin(tmp_path: Path) -> None:
    path = tmp_path / "untrained.npz"
    np.savez(path, a=np.zeros(3))
    assert get_adapter("unirep-64").from_checkpoint(path).name == "unirep-64@file-untrained"


def test_a_checkpoint_is_read_by_a_target_or_by_a_family(tmp_path: Path) -> None:
    path = tmp_path / "My Run (2).pt"
    path.write_bytes(pickle.dumps({"model": {}}))
    target = get_adapter("chgnet").from_checkpoint(path)
    assert target.card.family == "chgnet"
    assert target.name == f"{target.card.name}@my-run-2"
    assert target.trained
    assert target.weights.kind == "file"
    # What is true of the published weights is not said of these.
    assert target.card.parameters is target.card.trained_on is target.card.weights_sha256 is None
    assert get_adapter("chgnet-0.3.0").name == "chgnet-0.3.0"
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        get_adapter("chgnet").from_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(UnknownNameError, match="did you mean 'chgnet'"):
        get_adapter("chgnett")
    with pytest.raises(ValueError, match="reads no checkpoint"):
        get_target("morgan").from_checkpoint(path)


def test_listing_imports_no_model_and_no_torch() -> None:
    code = textwrap.dedent("""
        import sys
        from click.testing import CliRunner
        from consilience.cli import main
        result = CliRunner().invoke(main, ["list"])
        assert result.exit_code == 0, result.output
        assert "chgnet-0.3.0" in result.output
        heavy = {"torch", "datasets", "rdkit", "ase", "sklearn", "scipy", "pandas"} & set(sys.modules)
        assert not heavy, heavy
    """)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_target_of_the_suite_has_its_own_pinned_header() -> None:
    from consilience.isolation.environments import Header

    own = [target for target in list_targets().values() if target.path.is_relative_to(PACKAGE)]
    assert len(own) >= 15
    for target in own:
        assert "# /// script" in target.path.read_text("utf-8"), target.path
        for requirement in Header.of(target.path).dependencies:
            assert "==" in requirement or requirement == "numpy", (target.name, requirement)


def test_a_target_file_is_loaded_by_path(write_target: Callable[..., Path]) -> None:
    path = write_target("return Embedded(np.ones((len(items), 2)))\n", name="by-path")
    (target,) = load_target_file(path)
    assert target.name == "by-path"
    assert load_target_file(path)[0].path == path


def test_a_file_without_a_target_says_so(tmp_path: Path) -> None:
    path = tmp_path / "target_nothing.py"
    path.write_text("x = 1\n")
    with pytest.raises(ValueError, match="registers no target"):
        load_target_file(path)
    with pytest.raises(FileNotFoundError, match="no target file"):
        load_target_file(tmp_path / "target_absent.py")


def test_two_files_cannot_take_one_name(write_target: Callable[..., Path], tmp_path: Path) -> None:
    body = "return Embedded(np.ones((len(items), 2)))\n"
    first = write_target(body, name="taken")
    second = tmp_path / "target_other.py"
    second.write_text(first.read_text())
    load_target_file(first)
    with pytest.raises(ValueError, match="registered by"):
        load_target_file(second)


def test_plugins_are_found_and_a_broken_one_is_a_warning(tmp_path: Path) -> None:
    """A real installed distribution with two entry points, one of which can't be imported."""
    (tmp_path / "good_plugin.py").write_text(
        "from consilience import Card, target\n"
        "@target(Card(name='from-a-plugin', family='p', modality='atoms'))\n"
        "def load(card, weights, device): ...\n"
    )
    (tmp_path / "broken_plugin.py").write_text("import a_package_that_is_not_there\n")
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[consilience]\ngood = good_plugin\nbroken = broken_plugin\n")
    code = textwrap.dedent("""
        import warnings
        from consilience import list_targets
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            names = list(list_targets())
        assert "from-a-plugin" in names and "chgnet-0.3.0" in names, names
        assert any("'broken'" in str(w.message) for w in caught), [str(w.message) for w in caught]
    """)
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=variables)
