"""Withdrawing the rows of a target from a board.

The name is free afterwards: a corrected model is submitted again under it. Rows that others are compared with can't be
withdrawn from a frozen board; the next board names other references.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from consilience.callbacks import Tell
from consilience.cards import Twin, target_of
from consilience.files import write_atomically
from consilience.records.migrations import read_record
from consilience.records.schema import to_json
from consilience.records.spec import read_spec
from consilience.registry import near_names
from consilience.scoring.provenance import stated_identity

from .cells import embedding_path
from .lock import is_unfinished, publication
from .publish import publish_within
from .withdrawals import FILE, Withdrawal, Withdrawals, read_withdrawals


def withdraw(folder: Path, target: str, reason: str, *, tell: Tell = lambda line: None) -> list[str]:
    """Take a target's rows, pairs and submitted embeddings from a board.

    Parameters
    ----------
    folder
        The board's folder.
    target
        Name on the board. Own untrained twins of it go, too.
    reason
        One line for the board's page.
    tell
        Called with a line for people where another publication has to be waited for.

    Returns
    -------
    list of str
        Data sets on which it stood.

    Raises
    ------
    LookupError
        It is not on the board.
    ValueError
        Others are compared with it, or the reason is empty.
    """
    spec = read_spec(folder / "spec.toml")
    fixed = {*spec.controls, *(name for entry in spec.datasets for name in entry.references)}
    if target in fixed:
        raise ValueError(f"{target}: a reference or control of board {spec.board}; scores of others rest on it")
    with publication(folder, tell=tell) as own:
        unfinished = is_unfinished(folder)
        on_board = sorted(folder.glob("results/*/*.json"))
        names = {path: target_of(path.stem) for path in on_board}
        paths = [path for path, name in names.items() if name == target or _is_twin_of(name, target, fixed)]
        if not any(names[path] == target for path in paths):
            near = near_names(target, set(names.values()))
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise LookupError(f"{target}: not on board {spec.board}{hint}")
        withdrawn, left = read_withdrawals(folder), {path.parent.name for path in paths}
        if unfinished and withdrawn and withdrawn[-1].target == target:  # a withdrawal that was stopped goes on
            left.update(withdrawn.pop().datasets)
        datasets = [entry.name for entry in spec.datasets if entry.name in left]
        today = datetime.now(UTC).date()
        entry = Withdrawal(target=target, datasets=datasets, date=today, reason=" ".join(reason.split()))
        own.mark({path.parent.name: [names[path]] for path in paths})
        write_atomically(folder / FILE, to_json(Withdrawals(withdrawn=[*withdrawn, entry])))
        for path in paths:
            identity = stated_identity(read_record(path))
            if identity is not None:
                embedding_path(folder, identity).unlink(missing_ok=True)
            path.unlink()
        publish_within(own)
    return datasets


def _is_twin_of(name: str, target: str, fixed: set[str]) -> bool:
    twin = Twin.of(name)
    return twin is not None and twin.card == target and name not in fixed
