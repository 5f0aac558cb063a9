"""Remarks of a board's publisher, shown on its page: known errors of published values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from consilience.records.spec import Spec

from .withdrawals import in_markdown, read_withdrawals

FILE = "remarks.md"
#: Key of what stands above the first heading, shown at the top of the page.
GENERAL = ""
#: Heading of what is shown under each data set's table.
EVERY_TABLE = "every table"


def read_remarks(folder: Path, spec: Spec) -> Mapping[str, str]:
    """Read the remarks of a board's folder by where they are shown; empty where it has none.

    ``remarks.md`` is Markdown. The text above its first ``## `` heading goes to the top of the page, the section
    ``## every table`` under each data set's table, and a section named after a data set under that one's table. What
    was withdrawn from the board stands below the former.

    Raises
    ------
    ValueError
        A section names no data set of the board or stands twice, or the file is no UTF-8 text.
    """
    remarks = _read(folder, spec)
    withdrawn = in_markdown(read_withdrawals(folder))
    if withdrawn:
        remarks[GENERAL] = "\n\n".join(filter(None, [remarks.get(GENERAL), withdrawn]))
    return remarks


def _read(folder: Path, spec: Spec) -> dict[str, str]:
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        general, *rest = re.split(r"^## +(.*)$", path.read_text("utf-8"), flags=re.MULTILINE)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    remarks = {GENERAL: general.strip()}
    places = (EVERY_TABLE, *(entry.name for entry in spec.datasets))
    for heading, text in zip(rest[::2], rest[1::2], strict=True):
        name = heading.strip()
        if name not in places:
            raise ValueError(f"{path}: section {name!r} is no data set of board {spec.board} ({', '.join(places)})")
        if name in remarks:
            raise ValueError(f"{path}: section {name!r} stands twice")
        remarks[name] = text.strip()
    return remarks
