"""One page about one checkpoint: where it stands, beside the board, in a file that goes with a release."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.board.board import row_of
from consilience.board.columns import Line, columns_of
from consilience.board.words import in_words
from consilience.files import write_atomically
from consilience.records.run import SavedRun, read_run
from consilience.records.schema import to_json
from consilience.scoring.presets import PRESET_TITLES, PRESETS, RANKED
from consilience.study.study import Study, kind_of

from . import chart, pages
from .cells import Table
from .vendor import FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from consilience.records.board import DatasetBoard
    from consilience.records.record import Record
    from consilience.records.schema import Value

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Cell:
    """The checkpoint on one data set.

    Attributes
    ----------
    line
        Its row and record.
    table
        The board's table; None where the board lacks the data set, or has it at another revision.
    words
        Where it stands, in plain words.
    standings
        Its row among the board's, best first; empty without a table.
    plot
        Its score with each reference, in each preparation, as a script's content; empty where it has none.
    """

    line: Line
    table: DatasetBoard | None
    words: list[str]
    standings: list[Line]
    plot: str

    @property
    def record(self) -> Record:
        """Its record."""
        assert self.line.record is not None
        return self.line.record


def write_report(run: Path, output: Path, *, board: Path, target: str | None = None) -> int:
    """Write the report of a checkpoint.

    Parameters
    ----------
    run
        A saved run (``pytest --benchmark --align-save``, ``consilience run --save``).
    output
        The HTML file; scripts, styles and downloads are inside it.
    board
        Folder of the board it is held against.
    target
        Which checkpoint, where the run holds several models.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    ValueError
        The file is no saved run, or holds several models and none was named.
    LookupError
        The run does not hold `target`.
    """
    saved = read_run(run)
    name = choose_target(saved, target)
    study = Study(board)
    records = [record for record in saved.records if record.target == name]
    cells = [_cell(study, record, saved.limit) for record in records]
    shown = next((one for one in records if one.state == "ok"), records[0])
    table = [line for cell in cells for line in numbers(cell.record)]
    columns = list(dict.fromkeys(key for line in table for key in line))
    downloads = {
        f"{_plain(name)}.csv": ("text/csv", chart.as_csv(columns, table)),
        f"{_plain(name)}.json": ("application/json", "[\n" + ",\n".join(map(to_json, records)) + "]\n"),
    }
    text = (
        pages.environment()
        .get_template("report.html")
        .render(
            target=name,
            record=shown,
            board=study.board,
            run=saved,
            cells=cells,
            kind=kind_of(shown),
            card=pages.card_lines(shown),
            downloads={file: _data_uri(*content) for file, content in downloads.items()},
            style=(STATIC / "site.css").read_text("utf-8"),
            scripts=[_inline((STATIC / file).read_text("utf-8")) for file in ("theme.js", "table.js")],
            plotter=_inline((STATIC / "plot.js").read_text("utf-8")),
            plotly=_inline((FOLDER / chart.bundle_files()["cartesian"]).read_text("utf-8")),
            root="",
            overview=Table("overview", columns_of("overview", [cell.line for cell in cells]), merged=False),
            standings=Table(
                "standings", columns_of("standings", [line for cell in cells for line in cell.standings]), merged=False
            ),
        )
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, text)
    return output.stat().st_size


def choose_target(run: SavedRun, target: str | None) -> str:
    """Name of the checkpoint of a run: the one asked for, or the only model that is no control of its board."""
    names = list(dict.fromkeys(record.target for record in run.records))
    if target is not None:
        if target not in names:
            raise LookupError(f"target: the run does not hold {target!r}; it has {', '.join(names) or 'no record'}")
        return target
    models = list(dict.fromkeys(record.target for record in run.records if record.trained))
    found = models or names
    if len(found) != 1:
        told = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
        raise ValueError(f"target: the run holds {len(found)} models ({told}); name one with --target")
    return found[0]


def numbers(record: Record) -> list[dict[str, Any]]:
    """Figures of a record, one line for each preparation and reference ("all": their mean)."""
    found: list[dict[str, Any]] = []
    for preset, score in record.scores.items():
        twin = record.twin.get(preset)
        found.append(
            {
                "dataset": record.dataset,
                "preparation": preset,
                "reference": "all",
                "calibrated": score.alignment.value,
                "low": score.alignment.low,
                "high": score.alignment.high,
                "cknna": score.cknna,
                "p_value": None,
                "twin_distance": twin.distance if twin else None,
                **score.metrics,
            }
        )
        for reference, pair in score.pairs.items():
            found.append(
                {
                    "dataset": record.dataset,
                    "preparation": preset,
                    "reference": reference,
                    "calibrated": pair.calibrated,
                    "low": None,
                    "high": None,
                    "cknna": pair.cknna,
                    "p_value": pair.p_value,
                    "twin_distance": None,
                    **pair.metrics,
                }
            )
    return found


def _cell(study: Study, record: Record, limit: int | None) -> Cell:
    table = study.dataset(record.dataset) if record.dataset in study.datasets else None
    # Figures of a sample depend on its size: they are not laid beside those of the whole.
    if table is not None and (table.revision != record.revision or limit):
        table = None
    line = Line(row_of(record, RANKED), record, table, own=True)
    standings = _standings(study, line, table) if table is not None and record.state == "ok" else []
    plot = chart.plot_json(reference_plot(record))[0] if record.scores else ""
    return Cell(line, table, in_words(record, table), standings, _inline(plot))


def _standings(study: Study, own: Line, table: DatasetBoard) -> list[Line]:
    published = study.records(table.name)
    others = [
        Line(row, published[row.target], table)
        for row in table.rows
        if row.state == "ok" and row.target != own.row.target and row.target in published
    ]
    return sorted([*others, own], key=_alignment, reverse=True)


def _alignment(line: Line) -> float:
    interval = line.row.alignment.get(RANKED)
    return -1.0 if interval is None or interval.value is None else interval.value


def reference_plot(record: Record) -> go.Figure:
    """Draw the calibrated score with each reference, in each preparation."""
    import plotly.graph_objects as go

    plot = go.Figure()
    order = sorted(
        {name for score in record.scores.values() for name in score.pairs}, key=lambda name: _pair(record, name) or -1.0
    )
    for preset, colour in zip(PRESETS, ("#b9862b", "#6d7fbf", "#1b7f5f"), strict=True):
        if preset in record.scores:
            values: Sequence[Value] = [
                pair.alignment if (pair := record.scores[preset].pairs.get(name)) else None for name in order
            ]
            plot.add_scatter(
                x=values,
                y=order,
                mode="markers",
                name=PRESET_TITLES[preset],
                marker={"size": 11, "color": colour, "symbol": "circle" if preset == RANKED else "circle-open"},
                hovertemplate="%{y}: %{x:.3f}<extra>" + PRESET_TITLES[preset] + "</extra>",
            )
    plot.update_layout(
        height=140 + 34 * len(order),
        # Room for the names by their length: measured margins come too late for the longest.
        margin={"l": 20 + 8 * max(map(len, order), default=0), "r": 20, "t": 10, "b": 40},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        xaxis={"title": "calibrated CKNNA with the reference", "range": [-0.02, 1], "automargin": True},
        yaxis={"automargin": False},
    )
    return plot


def _pair(record: Record, name: str) -> float | None:
    score = record.scores.get(RANKED)
    pair = score.pairs.get(name) if score else None
    return pair.alignment if pair else None


def _plain(name: str) -> str:
    return pages.safe_name(name).replace("@", "-")


def _data_uri(kind: str, text: str) -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _inline(script: str) -> str:
    """Script that can stand inside a page: nothing in it ends its element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
