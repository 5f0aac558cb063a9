"""Forecast of a run (``--dry-run``): cells, time, disk and downloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from consilience.registry import Target
    from consilience.scoring.cell import Cell

    from .session import Session


@dataclass(frozen=True)
class CellForecast:
    """Forecast of one cell."""

    id: str
    """``DATASET::TARGET``."""
    state: Literal["stored", "embed", "skip"]
    """Whether the embedding is stored, has to be made, or the target reads none of the items."""
    items: int
    """Items of the data set."""
    seconds: float | None = None
    """Time to embed, at the speed that the board states; None where it states none."""
    bytes: int | None = None
    """Disk for the embedding (float32); None where the card states no dimension."""
    download: str | None = None
    """What has to be fetched beforehand: ``download`` or ``gated``; None for nothing."""
    reference: bool = False
    """Whether it is a reference that other cells are compared with, and not asked for itself."""


def forecast(session: Session, cells: Iterable[Cell]) -> list[CellForecast]:
    """Forecast of each cell, and of the references that would have to be embedded for them."""
    from consilience.registry import get_target
    from consilience.scoring.cell import Cell

    cells = list(cells)
    rates = _rates(session)
    forecasts = [_of_cell(session, cell, rates) for cell in cells]
    ids = {cell.id for cell in cells}
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        for name in session.spec.dataset(dataset).references:
            cell = Cell(dataset, get_target(name))
            if cell.id not in ids:
                one = _of_cell(session, cell, rates, reference=True)
                forecasts += [one] if one.state == "embed" else []
    return forecasts


def _of_cell(
    session: Session, cell: Cell, rates: Mapping[tuple[str, str], float], *, reference: bool = False
) -> CellForecast:
    from consilience.embedding.embed import covered_items
    from consilience.embedding.errors import EmbeddingSkippedError

    target, items = cell.target, session.runner.items(cell.dataset)
    try:
        covered_items(target, items)
    except EmbeddingSkippedError:
        return CellForecast(cell.id, "skip", len(items), reference=reference)
    if _is_stored(session, cell):
        return CellForecast(cell.id, "stored", len(items), reference=reference)
    rate = rates.get((cell.dataset, target.name)) or _rate_elsewhere(rates, target)
    dimension = target.card.dimension
    return CellForecast(
        cell.id,
        "embed",
        len(items),
        seconds=len(items) / rate if rate else None,
        bytes=4 * dimension * len(items) if dimension else None,
        download=_download(target),
        reference=reference,
    )


def _is_stored(session: Session, cell: Cell) -> bool:
    from consilience.datasets.items import open_dataset
    from consilience.embedding.identity import identify

    if session.runner.is_available(cell.dataset, cell.target):
        return True
    if session.request.limit is None:
        return False
    # The rows of a sample are taken from the embedding of all items where there is one.
    return session.runner.store.get(identify(cell.target, open_dataset(cell.dataset))) is not None


def _download(target: Target) -> str | None:
    access = target.card.access
    return None if target.weights.kind in ("random", "file") or access in ("package", "file") else access


def _rates(session: Session) -> dict[tuple[str, str], float]:
    """Items per second by data set and target: of the published board, and of the board published to."""
    from consilience.board.board import read_records
    from consilience.board.words import published

    rates = {
        (table.name, row.target): row.items_per_second
        for table in published().values()
        for row in table.rows
        if row.items_per_second
    }
    for record in read_records(session.publish_to / "results") if session.publish_to is not None else ():
        if record.items_per_second:
            rates[record.dataset, record.target] = record.items_per_second
    return rates


def _rate_elsewhere(rates: Mapping[tuple[str, str], float], target: Target) -> float | None:
    """Median speed of the same architecture on other data sets."""
    name = target.name.partition("@")[0]
    speeds = [rate for (_, other), rate in rates.items() if other.partition("@")[0] == name]
    return median(speeds) if speeds else None


def forecast_lines(forecasts: Iterable[CellForecast]) -> Iterator[str]:
    """Forecast as lines of text, with sums at the end."""
    from tabulate import tabulate

    cells = list(forecasts)
    head = ["cell", "embedding", "time", "disk", "download"]
    words = {"stored": "stored", "embed": "to embed", "skip": "does not apply"}
    rows = []
    for one in cells:
        to_embed = one.state == "embed"
        rows.append(
            [
                one.id + (" (reference)" if one.reference else ""),
                words[one.state],
                duration(one.seconds) if to_embed else "",
                size(one.bytes) if to_embed else "",
                one.download or "",
            ]
        )
    yield from tabulate(rows, head, tablefmt="simple", disable_numparse=True).splitlines()
    own = [one for one in cells if not one.reference]
    missing = [one for one in cells if one.state == "embed"]
    yield ""
    yield f"dry run: {len(own)} cells, {sum(one.state == 'stored' for one in own)} stored, {len(missing)} to embed"
    if missing:
        times = [one.seconds for one in missing if one.seconds is not None]
        disk = [one.bytes for one in missing if one.bytes is not None]
        time, unknown = duration(sum(times) if times else None), _unknown(len(missing) - len(times))
        yield f"time to embed: {time}{unknown}, environments not included"
        yield f"disk for embeddings: {size(sum(disk) if disk else None)}{_unknown(len(missing) - len(disk))}"
    downloads = sorted({one.id.partition("::")[2] for one in missing if one.download})
    yield f"downloads: {', '.join(downloads) or 'none'}"


def _unknown(number: int) -> str:
    return f" (not known for {number} cells)" if number else ""


def duration(seconds: float | None) -> str:
    """Time in words: ``5 s``, ``12 min``, ``3.4 h``."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(number: int | None) -> str:
    """Bytes in words: ``12 kB``, ``3.4 MB``."""
    if number is None:
        return "unknown"
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"
