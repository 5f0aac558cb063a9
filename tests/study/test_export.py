from __future__ import annotations

import csv
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest
from click.testing import CliRunner

from consilience.cli import main
from consilience.study import Drawing, FigureCard, Study, figure
from consilience.study.export import (
    HEIGHT,
    WIDTH,
    Browser,
    export_figures,
    for_print,
    tab_names,
    table_csv,
)
from consilience.study.figure import _figures

V1 = Path(__file__).parents[2] / "leaderboard" / "v1"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(V1)


@pytest.fixture
def alignments() -> Iterator[str]:
    """A figure of the test's own, registered while it runs: alignments of a data set's table, one tab each preset."""
    name = "alignments-of-the-table"

    @figure(FigureCard(name=name, title="Alignments", shows="The alignment of each target.", paper="Fig. 0"))
    def draw(study: Study, dataset: str) -> Drawing | None:
        if dataset.startswith("proteins"):
            return None
        if dataset.startswith("ccd"):
            raise KeyError("no such column")
        records = study.records(dataset)
        found = {n: r.scores["beyond_composition"].alignment.value for n, r in records.items()}
        plot = go.Figure(go.Bar(x=list(found), y=list(found.values())))
        table = [{"target": n, "alignment": value} for n, value in found.items()]
        best = max(found, key=lambda n: found[n] or 0.0)
        return Drawing({"": plot, "As it is": plot}, table, f"{best} is first.", {"best.txt": best}, "A note.")

    yield name
    del _figures[name]


@pytest.fixture(scope="module")
def browser(browser_path: str) -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["figures", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_numbers_are_written_beside_the_images(study: Study, alignments: str, tmp_path: Path) -> None:
    done = export_figures(study, tmp_path, figures=[alignments], formats=["csv"])
    # A figure that does not apply, or fails, keeps no other from being written.
    assert done.absent == [f"proteins-500/{alignments}"]
    assert done.failed == {f"ccd-1k/{alignments}": "KeyError: 'no such column'"}
    assert len(done.tables) == len(study.datasets) - 2
    with (tmp_path / "mp-1k" / f"{alignments}.csv").open() as file:
        found = {row["target"]: float(row["alignment"]) for row in csv.DictReader(file) if row["alignment"]}
    assert found["chgnet-0.3.0"] == study.records("mp-1k")["chgnet-0.3.0"].scores["beyond_composition"].alignment.value
    assert (tmp_path / "mp-1k" / f"{alignments}-best.txt").read_text() == max(found, key=lambda n: found[n])
    caption = (tmp_path / "mp-1k" / f"{alignments}.md").read_text()
    assert caption.startswith(f"# mp-1k/{alignments}\n\n**Alignments** (answers to Fig. 0 of arXiv:2512.03750).")
    assert caption.endswith("\n\nA note.\n")


def test_images_of_each_tab_in_each_format(study: Study, alignments: str, tmp_path: Path, browser: Browser) -> None:
    done = export_figures(study, tmp_path, figures=[alignments], datasets=["mof-500"], formats=["svg", "pdf", "png"])
    folder = tmp_path / "mof-500"
    names = [f"{alignments}{tab}.{kind}" for tab in ("", "-as-it-is") for kind in ("svg", "pdf", "png")]
    assert done.images == [folder / name for name in names]
    assert not done.failed
    drawn = ElementTree.fromstring(done.images[0].read_bytes())  # noqa: S314 (written by ourselves)
    assert (drawn.get("width"), drawn.get("height")) == (str(WIDTH), str(HEIGHT))
    # Vectors with text as text: every target is named on the axis.
    text = "".join(drawn.itertext())
    assert all(name in text for name in study.records("mof-500"))
    assert done.images[1].read_bytes().startswith(b"%PDF-")
    header = done.images[2].read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (3 * WIDTH, 3 * HEIGHT)


def test_a_size_that_a_figure_asks_for_is_kept(browser: Browser) -> None:
    plot = go.Figure(go.Scatter(y=[1, 2])).update_layout(width=300, height=200)
    drawn = ElementTree.fromstring(browser.image(plot, "svg"))  # noqa: S314
    assert (drawn.get("width"), drawn.get("height")) == ("300", "200")
    with pytest.raises(ValueError, match="expected one of svg, pdf, png, found 'gif'"):
        browser.image(plot, "gif")


def test_paper_is_white_and_a_page_keeps_its_figure() -> None:
    plot = go.Figure(go.Scatter(y=[1, 2])).update_layout(
        paper_bgcolor="rgba(0,0,0,0)", font={"size": 9, "color": "#777"}
    )
    before = plot.to_dict()
    layout = for_print(plot)["layout"]
    assert (layout["paper_bgcolor"], layout["plot_bgcolor"]) == ("white", "white")
    assert layout["font"] == {"size": 9, "color": "#222222"}
    assert plot.to_dict() == before


def test_where_no_browser_is_the_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alignments: str
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "chromium"))
    arguments = ("--board", str(V1), "--figure", alignments, "--dataset", "mp-1k", "--output", str(tmp_path / "out"))
    code, _, said = invoke(*arguments)
    assert code == 2
    assert said.startswith("consilience: BROWSER_PATH: no browser at")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    code, text, _ = invoke(*arguments, "--format", "csv")
    assert code == 0
    assert "0 images, 1 tables" in text


def test_unknown_names_are_one_line_and_code_2(tmp_path: Path, alignments: str) -> None:
    output = ("--output", str(tmp_path))
    for arguments, said in (
        (
            ("--figure", "alignment-of-the-table"),
            f"no figure is named 'alignment-of-the-table'; did you mean '{alignments}'",
        ),
        (("--dataset", "mp-2k"), "no data set of the board is named 'mp-2k'; did you mean 'mp-1k'"),
        (("--format", "eps"), "--format: expected any of svg, pdf, png, csv, found 'eps'"),
        (("--board", "v0"), "board: expected a folder with spec.toml or a version such as v1, found 'v0'"),
    ):
        code, _, error = invoke(*(() if "--board" in arguments else ("--board", str(V1))), *arguments, *output)
        assert code == 2
        assert said in error


def test_a_failed_figure_is_exit_code_1(tmp_path: Path, alignments: str) -> None:
    arguments = ("--board", str(V1), "--figure", alignments, "--dataset", "ccd-1k", "--format", "csv")
    code, _, said = invoke(*arguments, "--output", str(tmp_path))
    assert code == 1
    assert f"ccd-1k/{alignments}: KeyError" in said


def test_tabs_have_names_of_their_own() -> None:
    plots = dict.fromkeys(["", "CKNNA, paper's preparation", "dCor", "d/cor", "d cor"])
    assert list(tab_names("heat-map", plots).values()) == [
        "heat-map",
        "heat-map-cknna-paper-s-preparation",
        "heat-map-dcor",
        "heat-map-d-cor",
        "heat-map-d-cor-2",
    ]


def test_what_is_not_known_is_left_empty() -> None:
    text = table_csv([{"a": 0.1, "b": None}, {"a": float("nan"), "b": "x,y"}])
    assert text == 'a,b\n0.1,\n,"x,y"\n'
    assert [row["b"] for row in csv.DictReader(io.StringIO(text))] == ["", "x,y"]


def test_a_theme_changes_background_and_text_alone() -> None:
    plot = go.Figure(go.Scatter(x=[0], y=[1], marker={"color": "#123456"}))
    light, dark = (for_print(plot, theme) for theme in ("light", "dark"))
    assert (light["layout"]["paper_bgcolor"], light["layout"]["font"]["color"]) == ("white", "#222222")
    assert dark["layout"]["paper_bgcolor"] == dark["layout"]["plot_bgcolor"] == "#0d1117"
    assert dark["layout"]["font"]["color"] == "#e6edf3"
    assert light["data"] == dark["data"]
    with pytest.raises(ValueError, match="theme: expected one of light, dark, found 'sepia'"):
        for_print(plot, "sepia")
