"""The site and the report say what the records say, and stand on their own."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner

from consilience.board.numbers import SITE
from consilience.cli.site import report_command, site_command
from consilience.datasets.items import open_dataset
from consilience.records.migrations import read_record
from consilience.records.run import SavedRun
from consilience.records.schema import to_json
from consilience.records.spec import read_spec
from consilience.scoring.presets import RANKED
from consilience.site import build, chart, drawings, vendor
from consilience.site.closest import closest
from consilience.site.pages import answers, safe_name
from consilience.site.report_page import write_report
from consilience.study import FigureCard, Study
from consilience.study.figure import Drawing, Figure

pytest.importorskip("jinja2")
go = pytest.importorskip("plotly.graph_objects")

BOARD = Path(__file__).resolve().parents[2] / "leaderboard" / "v1"
SMALL = "mof-500"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(BOARD)


@pytest.fixture(scope="module")
def small_board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published board with one data set of it."""
    folder = tmp_path_factory.mktemp("board")
    head, *sections = re.split(r"(?m)^(?=\[)", (BOARD / "spec.toml").read_text("utf-8"))
    kept = [one for one in sections if not one.startswith("[[datasets]]") or f'"{SMALL}"' in one]
    (folder / "spec.toml").write_text(head + "".join(kept), "utf-8")
    shutil.copytree(BOARD / "results" / SMALL, folder / "results" / SMALL)
    (folder / "pairs").mkdir()
    shutil.copyfile(BOARD / "pairs" / f"{SMALL}.json", folder / "pairs" / f"{SMALL}.json")
    return folder


def _figure(name: str, scope: str, fails: bool = False) -> Figure:
    def draw(study: Study, dataset: str) -> Drawing | None:
        if fails:
            raise RuntimeError("no numbers to draw")
        names, values = study.matrix(study.datasets[0])
        table = [{"target": name, "mean": float(np.nanmean(row))} for name, row in zip(names, values, strict=True)]
        plot = go.Figure(go.Scatter(x=[line["target"] for line in table], y=[line["mean"] for line in table]))
        return Drawing({"": plot}, table, f"{len(table)} targets.", {"names.txt": "\n".join(names)})

    return Figure(FigureCard(name, name.title(), "What it shows.", scope=scope), draw)  # type: ignore[arg-type]


def test_vendored_scripts_are_what_their_list_says() -> None:
    assert vendor.damaged() == []
    listed = {name for one in vendor.scripts().values() for name in (one.file, one.licence_file)}
    assert {one.name for one in vendor.FOLDER.iterdir()} == listed | {"vendor.toml"}


def test_plots_are_drawn_by_the_version_they_were_written_for() -> None:
    head = chart.whole_bundle().read_bytes()[:200].decode()
    found = re.search(r"plotly\.js v([\d.]+)", head)
    assert found is not None
    assert {one.version for one in vendor.scripts().values() if one.package == "plotly.js"} == {found[1]}


@pytest.mark.parametrize(
    ("trace", "bundle"),
    [
        (go.Heatmap(z=[[1]]), "cartesian"),
        (go.Violin(y=[1, 2]), "cartesian"),
        (go.Scattergl(x=[1], y=[1]), "gl2d"),
        (go.Surface(z=[[1]]), "whole"),
    ],
)
def test_smallest_bundle_that_draws_a_plot(trace: object, bundle: str) -> None:
    assert chart.plot_json(go.Figure(trace))[1] == bundle


@pytest.mark.parametrize("name", ["../index", "a/b", "A", "", "a b", "x@", ".x", "a" * 151, "a\nb"])
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="target: expected a name"):
        safe_name(name)


def test_folder_of_something_else_is_refused(tmp_path: Path, small_board: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", "utf-8")
    with pytest.raises(ValueError, match="is no site made by consilience"):
        build.build_site(small_board, tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.tex"]


def test_closest_model_is_the_largest_pair_outside_the_family(study: Study) -> None:
    for dataset in ("mp-1k", "qm9-1k"):
        records = study.records(dataset)
        found = closest(study, dataset, "chgnet-0.3.0")
        values = {}
        for pair in json.loads((BOARD / "pairs" / f"{dataset}.json").read_text("utf-8"))["pairs"]:
            names = {pair["first"], pair["second"]} - {"chgnet-0.3.0"}
            if len(names) == 1:
                other = names.pop()
                if other in records and records[other].trained and records[other].card.family != "chgnet":
                    values[other] = pair["scores"][RANKED]["calibrated"]
        assert found.best is not None
        assert found.best.target == max(values, key=lambda name: values[name])
        assert found.best.ranked.calibrated == max(values.values())
        assert SITE.number(found.best.ranked.calibrated) in found.words


def test_model_close_to_composition_alone_is_told_so(study: Study) -> None:
    found = closest(study, "mp-1k", "chgnet-0.3.0")
    assert found.verdict == "yes"
    best = found.others[0]
    # The same agreement, had composition reached as much.
    formula = next(one for one in found.controls if one.target == "composition")
    alike = replace(formula, figures={**formula.figures, RANKED: best.ranked})
    from consilience.site.closest import judge

    assert judge(best, (alike,), study.records("mp-1k"))[0] == "no"
    chance = best.ranked.model_copy(update={"p_value": 0.4})
    verdict, words = judge(replace(best, figures={RANKED: chance}), found.controls, study.records("mp-1k"))
    assert (verdict, "p = 0.4" in words) == ("no", True)
    assert judge(best, (), study.records("mp-1k"))[0] == "unknown"


def test_answers_are_means_of_published_pairs(study: Study) -> None:
    found = next(one for one in answers(study) if one.dataset == "mp-1k")
    records = study.records("mp-1k")
    values = [
        pair.scores[RANKED].calibrated
        for pair in study.pairs("mp-1k")
        if records[pair.first].trained
        and records[pair.second].trained
        and records[pair.first].card.family != records[pair.second].card.family
    ]
    assert found.trained_pairs == len(values)
    assert found.trained == pytest.approx(np.mean(values))


@pytest.mark.parametrize(
    ("dataset", "drawn"), [("qm9-1k", "<path"), ("mp-1k", "<circle"), ("proteins-500", "hsl(240 75% 48%)")]
)
def test_items_are_drawn(dataset: str, drawn: str) -> None:
    items = open_dataset(dataset)
    chosen = drawings.choose(items, 4)
    assert chosen == drawings.choose(open_dataset(dataset), 4)
    for one in chosen:
        svg = drawings.draw(items, one)
        assert drawn in svg
        assert len(svg) < 15_000
        points = re.findall(r'(?:[ML]|cx=")(-?\d+)(?:[ ,]|" cy=")(-?\d+)', svg)
        assert len(points) > 3
        assert all(-5 <= int(x) <= 325 and -5 <= int(y) <= 245 for x, y in points)


def test_structure_for_the_viewer_is_the_item() -> None:
    items = open_dataset("mp-1k")
    found, atoms = drawings.structure(items, 7), items.view("atoms", [7])[0]
    assert found is not None
    assert found["z"].split() == atoms.get_chemical_symbols()
    np.testing.assert_allclose(np.reshape(found["p"], (-1, 3)) / 100, atoms.positions, atol=0.0051)
    np.testing.assert_allclose(np.reshape(found["c"], (3, 3)) / 100, atoms.cell.array, atol=0.0051)


def test_neighbours_are_those_of_the_scored_space(own_cache: Path) -> None:
    from consilience.metrics import neighbors, prepare

    study = Study(BOARD)
    items = study.items(SMALL)
    queries = drawings.choose(items, 3)
    found = drawings.neighbours(study, SMALL, queries)
    assert drawings.neighbours(study, SMALL, queries) == found  # from the cache
    kept = sorted((own_cache / "neighbours").iterdir())
    kept[0].write_text("half a li", "utf-8")
    assert drawings.neighbours(study, SMALL, queries) == found
    assert drawings.neighbours(study, SMALL, queries[1:]) == {name: near[1:] for name, near in found.items()}
    embedding = study.embedding(SMALL, "chgnet-0.3.0")
    assert embedding is not None
    assert embedding.embedded.all()
    rows = prepare(embedding.features, scheme="standardized", controls=items.controls())
    lists = neighbors(rows, drawings.NEAREST).indices
    for query, near in zip(queries, found["chgnet-0.3.0"], strict=True):
        assert sorted(near) == sorted(lists[query].tolist())
        assert query not in near


def test_figure_that_fails_says_why(study: Study, tmp_path: Path) -> None:
    drawn = chart.draw_figure(study, _figure("broken", "board", fails=True), "", tmp_path)
    assert drawn is not None
    assert drawn.error == "RuntimeError: no numbers to draw"
    escaping = Figure(FigureCard("x", "X", ""), lambda study, dataset: Drawing({}, [], "", {"../x.txt": ""}))
    drawn = chart.draw_figure(study, escaping, "", tmp_path)
    assert drawn is not None
    assert "plain file name" in drawn.error


def _saved(tmp_path: Path, *targets: str) -> Path:
    """A run as `--align-save` keeps it, of records that were published."""
    records = [read_record(BOARD / "results" / SMALL / f"{target}.json") for target in targets]
    run = SavedRun(
        created="2026-11-23T09:00:00+00:00", suite_version="0.1.0", spec=read_spec(BOARD / "spec.toml"), records=records
    )
    path = tmp_path / "run.json"
    path.write_text(to_json(run), "utf-8")
    return path


def test_report_is_one_file_with_the_numbers_of_the_run(tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    size = write_report(_saved(tmp_path, "chgnet-0.3.0", "composition"), output, board=BOARD)
    text = output.read_text("utf-8")
    assert size == len(text.encode()) < 5_000_000
    page = _Page(text)
    assert not page.loaded
    assert not [link for link in page.links if not link.startswith(("#", "data:"))]
    record = read_record(BOARD / "results" / SMALL / "chgnet-0.3.0.json")
    download = next(link for link in page.links if link.startswith("data:text/csv"))
    lines = list(csv.DictReader(io.StringIO(base64.b64decode(download.partition(",")[2]).decode())))
    for line in lines:
        score = record.scores[line["preparation"]]  # type: ignore[index]
        value = score.alignment.value if line["reference"] == "all" else score.pairs[line["reference"]].calibrated
        assert float(line["calibrated"]) == pytest.approx(value, rel=1e-5)
    assert len(lines) == sum(1 + len(score.pairs) for score in record.scores.values())
    assert f"<mark>{record.target}</mark>" in text


def test_report_asks_which_checkpoint(tmp_path: Path) -> None:
    run = _saved(tmp_path, "chgnet-0.3.0", "sevennet-0")
    with pytest.raises(ValueError, match="holds 2 models"):
        write_report(run, tmp_path / "r.html", board=BOARD)
    with pytest.raises(LookupError, match="does not hold 'mace'"):
        write_report(run, tmp_path / "r.html", board=BOARD, target="mace")
    done = CliRunner().invoke(
        report_command,
        [str(run), "--output", str(tmp_path / "r.html"), "--board", str(BOARD), "--target", "sevennet-0"],
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r.html").is_file()


class _Page(HTMLParser):
    """Addresses, ids and inline handlers of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.headings = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.headings += tag == "h1"
        self.ids += [told["id"] or ""] if "id" in told else []
        self.handlers += [name for name in told if name.startswith("on")]
        if tag == "a" and told.get("href"):
            self.links.append(told["href"] or "")
        address = told.get("src") or told.get("data-src") or (told.get("href") if tag == "link" else None)
        if address and not address.startswith("data:"):
            self.loaded.append(address)


def test_remarks_and_withdrawals_stand_on_the_pages(
    small_board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "list_figures", dict)
    (small_board / "remarks.md").write_text(
        "General: [a link](https://example.org), [one beside](../v1/remarks.md), <script>alert(1)</script>, "
        "![a picture](https://example.org/p.png).\n\n"
        f"## every table\n\nUnder each.\n\n## {SMALL}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    withdrawn = {"target": "mymodel", "datasets": [SMALL], "date": "2026-11-01", "reason": "a <b>mistake</b>"}
    (small_board / "withdrawn.json").write_text(json.dumps({"withdrawn": [withdrawn]}))
    output = tmp_path / "site"
    build.build_site(small_board, output, jobs=1)
    front = (output / "index.html").read_text("utf-8")
    assert 'General: <a href="https://example.org">a link</a>, one beside, ' in front
    assert "&lt;script&gt;alert(1)" in front
    assert "<img" not in front
    assert "mymodel (2026-11-01; " in front
    assert "<b>mistake" not in front
    page = (output / "dataset" / f"{SMALL}.html").read_text("utf-8")
    assert "<p>Under each.</p>" in page
    assert "<td>2</td>" in page


@pytest.mark.slow
def test_site_stands_on_its_own(small_board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"means": _figure("means", "board"), "broken": _figure("broken", "dataset", fails=True)}
    monkeypatch.setattr(build, "list_figures", lambda: chosen)
    output = tmp_path / "site"
    arguments = ["--board", str(small_board), "--output", str(output), "--jobs", "1", "--quiet"]
    done = CliRunner().invoke(site_command, arguments)
    assert done.exit_code == 1, done.output
    assert f"figure broken--{SMALL}: RuntimeError: no numbers to draw" in done.output
    study = Study(small_board)
    targets = study.records(SMALL, scored=False)
    html = sorted(output.rglob("*.html"))
    assert len(html) == 3 + 1 + len(targets) + 2
    assert {one.stem for one in (output / "target").iterdir()} == set(targets)
    pages = {path: _Page(path.read_text("utf-8")) for path in html}
    for path, page in pages.items():
        assert path.stat().st_size < 5_000_000
        assert page.headings == 1, path
        assert not page.handlers
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.loaded:
            assert (path.parent / unquote(link)).is_file(), (path, link)
        for link in page.links:
            file, _, anchor = link.partition("#")
            if not file.startswith("https://"):
                there = (path.parent / unquote(file)).resolve() if file else path
                assert there.is_file(), (path, link)
                assert not anchor or anchor in _Page(there.read_text("utf-8")).ids
    board = (output / "dataset" / f"{SMALL}.html").read_text("utf-8")
    for record in targets.values():
        assert read_record(output / "records" / SMALL / f"{record.target}.json") == read_record(
            small_board / "results" / SMALL / f"{record.target}.json"
        )
        for score in record.scores.values():
            assert SITE.number(score.alignment.value) in board
    published = json.loads((output / "download" / "means.json").read_text("utf-8"))
    names, values = study.matrix(SMALL)
    assert {line["target"]: line["mean"] for line in published} == pytest.approx(
        dict(zip(names, np.nanmean(values, axis=1), strict=True))
    )
    assert (output / "download" / "means--names.txt").read_text("utf-8").split() == names
    assert (output / ".nojekyll").is_file()
    assert "sdk: static" in (output / "README.md").read_text("utf-8")

    # Built anew in its place, whole: what was there before is gone.
    (output / "index.html").write_text("old", "utf-8")
    del chosen["broken"]
    done = CliRunner().invoke(site_command, arguments)
    assert done.exit_code == 0, done.output
    assert "Do independently" in (output / "index.html").read_text("utf-8")
    assert [one.name for one in tmp_path.iterdir()] == ["site"]
