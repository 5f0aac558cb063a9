"""The list of columns: one entry shows in every place that it names, and numbers are written alike everywhere."""

from __future__ import annotations

import doctest
import importlib.util
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from consilience.board import columns, numbers
from consilience.board.columns import COLUMNS, ORDER, PLACES, Column, ColumnGroup, Line, columns_of, lines_of
from consilience.board.markdown import render
from consilience.board.numbers import COMPARED, HOVER, PLAIN, SITE
from consilience.board.publish import publish
from consilience.board.report import run_markdown
from consilience.board.terminal import summarize
from consilience.board.verify import Report, _verify_pages
from consilience.records.board import Board, Gain, Row
from consilience.records.record import Interval, Record
from consilience.records.run import SavedRun
from consilience.records.schema import to_json
from consilience.site import build, report_page
from consilience.site.cells import Table
from consilience.study import Study

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboard" / "v1"

#: Of what only a record has: no field of `Row` is read.
WIDTH = Column(
    "width",
    "width of <x>",
    lambda line: line.record.dimension if line.record else None,
    columns.TEXT,
    tuple(PLACES),
)


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(BOARD)


@pytest.fixture
def board(study: Study) -> Board:
    return study.board


@pytest.fixture
def records(study: Study) -> list[Record]:
    return [record for name in study.datasets for record in study.records(name, scored=False).values()]


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Column:
    """A further column in every place, as a further entry of the list."""
    monkeypatch.setattr(columns, "COLUMNS", [*COLUMNS, WIDTH])
    return WIDTH


def tables(page: str) -> Iterator[list[dict[str, str]]]:
    """Tables of a Markdown page as a reader sees them: each a list of lines by head."""
    for block in re.findall(r"(?m)(?:^\|.*\|$\n?)+", page):
        head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        yield [dict(zip(map(unescape, head), line, strict=True)) for line in lines]


def widths(records: list[Record], dataset: str) -> dict[str, str]:
    """Text of the further column by target, from the records."""
    return {
        one.target: "" if one.dimension is None else str(one.dimension) for one in records if one.dataset == dataset
    }


def test_no_name_stands_twice_and_every_place_exists() -> None:
    names = [entry.name for entry in COLUMNS]
    assert len(names) == len(set(names))
    for entry in COLUMNS:
        assert entry.where, entry.name
        assert set(entry.where) <= set(PLACES), entry.name
        if isinstance(entry, Column):
            assert set(entry.titles) <= set(entry.where), entry.name


def test_an_order_names_columns_of_its_place() -> None:
    for place, order in ORDER.items():
        there = {entry.name for entry in COLUMNS if place in entry.where}
        assert order.count("*") == 1
        assert set(order) - {"*"} <= there, place
        assert len(order) == len(set(order))


def test_heads_of_a_place_are_distinct(study: Study) -> None:
    for table in study.board.datasets:
        for place in PLACES:
            heads = [column.title_in(place) for column in columns_of(place, lines_of(table, table.rows))]
            assert len(heads) == len(set(heads)), place


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"place: expected one of page, details, .*, found 'nowhere'"):
        columns_of("nowhere")


def test_metrics_of_a_table_have_a_column_each(study: Study) -> None:
    lines = lines_of(study.board.datasets[0], study.board.datasets[0].rows)
    names = {name for line in lines for name in line.row.metrics}
    assert names
    assert names <= {column.name for column in columns_of("details", lines)}
    assert any(isinstance(entry, ColumnGroup) for entry in COLUMNS)


def test_a_column_more_is_on_the_page(board: Board, records: list[Record], wide: Column) -> None:
    page = render(board, records=records)
    for table in board.datasets:
        section = re.split(r"(?m)^## ", page.split(f"\n## {table.name}\n")[1])[0]
        shown = [lines for lines in tables(section) if wide.title in lines[0]]
        assert len(shown) == 2  # the main table and the details
        for lines in shown:
            assert {line["target"].split()[0]: line[wide.title] for line in lines}.items() <= widths(
                records, table.name
            ).items()


def test_a_published_page_is_built_with_its_records(tmp_path: Path, wide: Column) -> None:
    for name in ("spec.toml", "results/mp-1k", "pairs/mp-1k.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(BOARD / name)
    publish(tmp_path)
    report = Report()
    _verify_pages(tmp_path, report)
    assert not report.findings
    page = (tmp_path / "leaderboard.md").read_text("utf-8")
    lines = next(lines for lines in tables(page.split("## mp-1k")[1]) if wide.title in lines[0])
    assert {line["target"].split()[0]: line[wide.title] for line in lines}["sevennet-0"] == "128"


def test_a_column_more_is_on_the_terminal(board: Board, records: list[Record], wide: Column) -> None:
    own = [one for one in records if one.dataset == "mp-1k" and one.target in ("sevennet-0", "chgnet-0.3.0")]
    text = "\n".join(summarize(board, {"mp-1k": [one.target for one in own]}, own))
    assert text.count(wide.title) == 2
    for record in own:
        lines = [line for line in text.splitlines() if line.startswith(record.target) and "  " in line]
        assert [line.split()[-1] for line in lines] == [str(record.dimension)] * 2


def test_a_column_more_is_in_the_readme(board: Board, records: list[Record], wide: Column) -> None:
    path = ROOT / "scripts" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    assert spec is not None
    assert spec.loader is not None
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.filled((ROOT / "README.md").read_text("utf-8"), board, records)
    excerpt = next(lines for lines in tables(page) if wide.title in lines[0])
    assert {line["target"].split()[0]: line[wide.title] for line in excerpt}.items() <= widths(
        records, board.datasets[0].name
    ).items()


def test_a_column_more_is_in_the_report_of_a_run(board: Board, records: list[Record], wide: Column) -> None:
    own = [one for one in records if one.target == "sevennet-0" and one.state == "ok"]
    shown = [lines for lines in tables(run_markdown(board, own)) if wide.title in lines[0]]
    assert [lines[0][wide.title] for lines in shown] == [str(one.dimension) for one in own]


@pytest.mark.slow
def test_a_column_more_is_on_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: Study, wide: Column
) -> None:
    nothing = {name: build._Part() for name in ("", build._CLAIMS, *study.datasets)}
    monkeypatch.setattr(build, "_draw_all", lambda *_: nothing)  # tables are made of records alone
    build.build_site(BOARD, tmp_path / "site")
    head = '<th scope="col">width of &lt;x&gt;</th>'
    for name in study.datasets:
        page = (tmp_path / "site" / "dataset" / f"{name}.html").read_text("utf-8")
        assert page.count(head) == 2
    page = (tmp_path / "site" / "dataset" / "mp-1k.html").read_text("utf-8")
    main, others = (row for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if ">sevennet-0</a>" in row)
    assert "<td>128</td>" in main
    assert "<td>128</td>" in others
    target = (tmp_path / "site" / "target" / "sevennet-0.html").read_text("utf-8")
    assert head in target
    assert target.count("<td>128</td>") == sum("sevennet-0" in study.records(name) for name in study.datasets)


def test_a_column_more_is_in_the_report_of_a_checkpoint(
    tmp_path: Path, records: list[Record], board: Board, wide: Column
) -> None:
    own = [one for one in records if one.target == "sevennet-0"]
    run = SavedRun(created="2026-01-01", suite_version="0", spec=board.spec, records=own)
    (tmp_path / "run.json").write_text(to_json(run), "utf-8")
    report_page.write_report(tmp_path / "run.json", tmp_path / "report.html", board=BOARD)
    page = (tmp_path / "report.html").read_text("utf-8")
    scored = sum(one.state == "ok" for one in own)
    assert page.count('<th scope="col">width of &lt;x&gt;</th>') == 1 + scored
    assert '<th scope="row"><mark>sevennet-0</mark></th>' in page
    own_rows = re.findall(r'<tr class="trained own">.*?</tr>', page, re.DOTALL)
    assert len(own_rows) == scored
    assert all(row.endswith("<td>128</td></tr>") for row in own_rows)


def test_without_records_a_column_of_them_is_empty(board: Board, wide: Column) -> None:
    lines = next(lines for lines in tables(render(board)) if lines and wide.title in lines[0])
    assert {line[wide.title] for line in lines} == {""}


# -- how values are written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (PLAIN.number(None), ""),
        (PLAIN.number(-0.0625, 2), "-0.06"),
        (SITE.number(-0.0625, 2), "−0.06"),
        (SITE.number(None), "–"),
        (COMPARED.number(None, 4), "undefined"),
        (COMPARED.signed(0.25), "+0.2500"),
        (COMPARED.signed(-0.25), "-0.2500"),
        (HOVER.number(float("nan")), "not measured"),
        (PLAIN.percent(0.995), "100%"),
        (PLAIN.percent(0.5), "50%"),
        (PLAIN.chance(0.0123), "0.012"),
        (PLAIN.chance(0.0004), "< 0.001"),
        (SITE.chance(None), "–"),
        (PLAIN.count(999), "999"),
        (PLAIN.count(1000), "1 k"),
        (PLAIN.count(4_688_656), "4.69 M"),
        (PLAIN.count(2e9), "2 B"),
        (PLAIN.interval(0.5, 0.25, 0.75), "0.500 [0.250, 0.750]"),
        (PLAIN.interval(0.5), "0.500"),
        (PLAIN.interval(None, 0.25, 0.75), ""),
        (SITE.ends(-0.5, 0.5), "[−0.500, 0.500]"),
        (SITE.ends(None, 0.5), ""),
        (PLAIN.rank(None), "–"),
        (PLAIN.rank(3), "3"),
        (PLAIN.rank(3, (3, 3)), "3"),
        (PLAIN.rank(3, (2, 5)), "3 (2–5)"),
    ],
)
def test_a_number_is_written(written: str, text: str) -> None:
    assert written == text


def test_examples_of_the_helpers_hold() -> None:
    result = doctest.testmod(numbers)
    assert result.attempted
    assert not result.failed


def row(**fields: Any) -> Row:
    """A row with what a test is about."""
    common = {"target": "x<y", "title": "X", "family": "f", "modality": "protein_backbone", "control": False}
    return Row(**{**common, "reference": False, "state": "ok", "reason": None, "coverage": 0.5, **fields})


def text(name: str, line: Line, **options: Any) -> str:
    """Text of a column by its name."""
    entry = next(entry for entry in COLUMNS if entry.name == name)
    columns = entry.columns([line]) if isinstance(entry, ColumnGroup) else [entry]
    return next(column for column in columns if column.name == name).text(line, **options)


def test_texts_of_columns() -> None:
    line = Line(
        row(
            control=True,
            reference=True,
            distribution="in",
            overlap=0.25,
            trained_on=("A", "B"),
            parameters=12_345,
            energy_mae=0.1,
            energy_mae_out_of_sample=0.2,
            probe_mae=0.01,
            probe_baseline=0.05,
            alignment={"standardized": Interval(value=0.5, low=0.4, high=0.6)},
        )
    )
    assert text("target", line) == "x<y (cr)"
    assert text("name", line) == "x<y"
    assert text("distribution", line) == "in (25% seen)"
    assert text("trained_on", line) == "A, B"
    assert text("parameters", line) == "12.3 k"
    assert text("parameters", Line(row(control=True, modality="baseline", parameters=3))) == ""
    assert text("energy_errors", line) == "0.100 / 0.200"
    assert text("probe", line) == "0.0100 (0.0500)"
    assert text("coverage", line) == "50%"
    assert text("coverage", Line(row(state="failed")), numbers=SITE) == "–"
    assert text("standardized", line) == "0.500"
    assert text("alignment_standardized", line) == "0.500 [0.400, 0.600]"
    assert text("alignment", line) == ""
    gain = Gain(value=0.21, low=0.1, high=0.33, untrained=0.2, seeds=3, clear=True, stays=True)
    wide = Line(row(alignment={"beyond_composition": Interval(value=0.4127, low=0.38, high=0.44)}, gain=gain))
    assert text("alignment", wide) == "0.41 [0.38, 0.44]", "no digit more than the interval carries"


def cells(place: str, line: Line, **options: Any) -> str:
    """Cells of a line on the site."""
    return str(Table(place, columns_of(place, [line]), **options).cells(line))


def test_cells_escape_what_they_hold() -> None:
    html = cells("site", Line(row(family="<b>", reason="1 < 2")), root="../")
    assert '<th scope="row"><a href="../target/x%3Cy.html">x&lt;y</a></th>' in html
    assert "<td>protein backbone</td><td>&lt;b&gt;</td>" in html
    assert '<td class="state">ok: <span class="reason">1 &lt; 2</span></td>' in html
    assert '<td class="n" data-v="0.5">50%</td>' in html


def test_a_reason_stands_in_place_of_the_intervals() -> None:
    html = cells("site", Line(row(state="skipped", reason="no <cell>", coverage=0.0)), root="../")
    assert '<td colspan="3" data-v="" class="why">skipped: no &lt;cell&gt;</td><td hidden></td><td hidden></td>' in html
    assert '<td class="state">skipped</td>' in html
    apart = cells("overview", Line(row(state="skipped", reason="no <cell>", coverage=0.0)), merged=False)
    assert "colspan" not in apart
    assert '<td class="state">skipped: <span class="reason">no &lt;cell&gt;</span></td>' in apart


def test_heads_hold_soft_hyphens() -> None:
    heads = str(Table("site", columns_of("site")).heads())
    assert '<th scope="col">distri&shy;bution</th>' in heads
    assert heads.startswith('<th scope="col" class="n">rank</th><th scope="col">target</th>')
