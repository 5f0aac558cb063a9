"""Words select the same targets, data sets and cells wherever they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from consilience.registry import list_targets
from consilience.session.request import Request, SessionError
from consilience.session.select import (
    checkpoint_target,
    is_cell_id,
    select_datasets,
    select_metrics,
    select_targets,
)

BOARD = ("qm9-1k", "qm9-isomers-1k", "mp-1k")


def names(*words: str) -> list[str]:
    return [target.name for target in select_targets(words).targets]


def test_targets_are_selected_in_the_order_of_the_words_each_once() -> None:
    assert names("soap", "size", "soap") == ["soap", "size"]
    assert names("chgnet-0.3.0@untrained", "chgnet-0.3.0") == ["chgnet-0.3.0@untrained", "chgnet-0.3.0"]
    of_family = [name for name, target in list_targets().items() if target.card.family == "chgnet"]
    assert names("family:chgnet") == of_family
    assert names("family:chgne?", "size") == [*of_family, "size"]
    graphs = [name for name, target in list_targets().items() if target.card.modality == "graph"]
    assert names("modality:graph") == graphs
    assert names("chgnet-*") == [name for name in list_targets() if name.startswith("chgnet-")]


def test_a_glob_selects_twins_only_where_it_says_so() -> None:
    assert not any("@" in name for name in names("*"))
    twins = names("chgnet-*@untrained")
    assert twins
    assert all(name.endswith("@untrained") for name in twins)
    assert names("chgnet-0.3.0@untrained:2") == ["chgnet-0.3.0@untrained:2"]
    assert names("chgnet-*@untrained:1") == [f"{name}:1" for name in twins]
    with pytest.raises(SessionError, match=r"did you mean 'chgnet-0\.3\.0@untrained'"):
        names("chgnet-0.3.0@untrained:0")
    with pytest.raises(SessionError, match="targets: target 'morgan' has no untrained twin"):
        names("morgan@untrained")


def test_files_and_ids_of_cells(write_target: Callable[..., Path]) -> None:
    path = write_target("return Embedded([[len(a)] for a in items])\n", name="sel-toy")
    other = path.rename(path.with_name("my_model.py"))
    assert names(str(other), "size") == ["sel-toy", "size"]
    assert names("sel-toy") == ["sel-toy"], "registered once its file is imported"
    chosen = select_targets(["qm9-1k::size", f"{other}::mp-1k::sel-toy", "soap", f"{other}::qm9-1k"])
    assert [target.name for target in chosen.targets] == ["soap"]
    assert [(dataset, target.name) for dataset, target in chosen.cells] == [
        ("qm9-1k", "size"),
        ("mp-1k", "sel-toy"),
        ("qm9-1k", "sel-toy"),
    ]
    assert is_cell_id("qm9-1k::size")
    assert not any(map(is_cell_id, ("size", "target_x.py::qm9-1k::x", "qm9-1k::", "a::b::c", "target_x.py::x")))
    with pytest.raises(SessionError, match="is not the id of a cell"):
        select_targets(["a::b::c"])
    with pytest.raises(SessionError, match="no target is named 'other'"):
        select_targets([f"{other}::qm9-1k::other"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("chgnet-0.3", "targets: no target is named 'chgnet-0.3'; did you mean 'chgnet-0.3.0'"),
        ("family:chgnets", "no family is named 'family:chgnets'; did you mean 'family:chgnet'"),
        ("modality:atom", "no modality is named 'modality:atom'; did you mean 'modality:atoms'"),
        ("chgnet-0.3.0@trained", "did you mean 'chgnet-0.3.0@untrained'"),
        ("absent*", "no target is named 'absent*'"),
        ("absent.py", "no target file at"),
    ],
)
def test_a_word_that_selects_nothing_is_an_error_with_a_suggestion(word: str, message: str) -> None:
    with pytest.raises(SessionError) as caught:
        names(word)
    assert message in str(caught.value)


def test_an_error_names_at_most_ten_candidates() -> None:
    with pytest.raises(SessionError) as caught:
        names("qqqqqq")
    listed = str(caught.value).partition("there are: ")[2]
    assert listed.count(",") == 9
    assert listed.endswith(f"and {len(list_targets()) - 10} more")


def test_a_target_file_that_breaks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "target_boom.py"
    path.write_text("raise RuntimeError('out of luck')\n")
    with pytest.raises(SessionError, match=r"targets: .*target_boom\.py: RuntimeError: out of luck"):
        names(str(path))


def test_data_sets_by_name_glob_and_path(tmp_path: Path) -> None:
    assert select_datasets(["qm9-*"], BOARD) == ["qm9-1k", "qm9-isomers-1k"]
    assert select_datasets(["mp-1k", "mp-*"], BOARD) == ["mp-1k"], "a glob is about the board"
    assert select_datasets(["mp-prototypes-1k"], BOARD) == ["mp-prototypes-1k"]
    path = tmp_path / "select-water.xyz"
    path.write_text("3\n\nO 0 0 0\nH 0 0 0.96\nH 0 0.93 -0.24\n")
    assert select_datasets([str(path), "qm9-1k"], BOARD) == ["select-water", "qm9-1k"]
    with pytest.raises(SessionError, match="datasets: no data set is named 'qm8-1k'; did you mean 'qm9-1k'"):
        select_datasets(["qm8-1k"], BOARD)
    with pytest.raises(SessionError, match="datasets: no file or folder at"):
        select_datasets(["absent.extxyz"], BOARD)


def test_metrics_by_name() -> None:
    assert select_metrics(["cka", "cka"]) == ["cka"]
    with pytest.raises(SessionError, match="metrics: no metric is named 'ckaa'; did you mean 'cka'"):
        select_metrics(["ckaa"])


def test_a_checkpoint_needs_its_adapter(write_target: Callable[..., Path], tmp_path: Path) -> None:
    body = "return Embedded([[len(a)] for a in items])\n"
    path = write_target(body, name="sel-adapter", card=', accepts="a number"')
    weights = tmp_path / "mine.txt"
    weights.write_text("1")
    assert checkpoint_target(Request()) is None
    target = checkpoint_target(Request(adapter=str(path), checkpoint=str(weights)))
    assert target is not None
    assert target.name == "sel-adapter@mine"
    for request, message in (
        (Request(checkpoint="x"), "adapter NAME and checkpoint PATH go together"),
        (Request(adapter="chgnet"), "adapter NAME and checkpoint PATH go together"),
        (Request(trust_checkpoint=True), "trust_checkpoint: checkpoint is missing"),
        (Request(adapter="chgnet", checkpoint="absent.pt"), "adapter, checkpoint: no checkpoint at"),
        (Request(adapter="chgnets", checkpoint=str(weights)), "no adapter is named 'chgnets'; did you mean 'chgnet'"),
    ):
        with pytest.raises(SessionError) as caught:
            checkpoint_target(request)
        assert message in str(caught.value)
