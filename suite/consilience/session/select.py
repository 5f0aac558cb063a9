"""Selection of targets and data sets by words, the same in every front end.

A word selects targets by name (``chgnet-0.3.0``), as the untrained twin (``NAME@untrained``), by a glob, by
``family:NAME`` or ``modality:NAME``, by the path of a target file, or one cell as ``DATASET::TARGET`` or
``FILE::DATASET::TARGET``, which is how pytest prints it. A word selects data sets by name, by a glob or by the path of
a file of data.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .request import SessionError

if TYPE_CHECKING:
    from consilience.registry import Target

    from .request import Request

#: An error names at most so many candidates.
MAX_CANDIDATES = 10
_GROUPS = ("family", "modality")


@dataclass(frozen=True)
class TargetSelection:
    """Targets to run on all data sets of the run, and cells selected one by one."""

    targets: tuple[Target, ...]
    cells: tuple[tuple[str, Target], ...]


def is_target_file(path: Path) -> bool:
    """Whether a file is one that a run in its folder picks up: ``target_*.py``."""
    return path.suffix == ".py" and path.name.startswith("target_")


def is_cell_id(text: str) -> bool:
    """Whether a text is the id of a cell without a file: ``DATASET::TARGET``."""
    file, separator, rest = text.partition("::")
    return bool(separator and file and rest) and "::" not in rest and not file.endswith(".py")


def cell_datasets(words: Iterable[str]) -> list[str]:
    """Data sets that words for targets name: those of the ids of cells."""
    return list(dict.fromkeys(dataset for word in words if (dataset := _parts(word)[1])))


def select_targets(words: Iterable[str], option: str = "targets", own: Sequence[Target] = ()) -> TargetSelection:
    """Targets that words select, each once, in the order of the words.

    Parameters
    ----------
    words
        Names, globs, groups, target files and ids of cells.
    option
        What messages call the option.
    own
        Targets that have a name of no registry: a checkpoint read through an adapter.

    Raises
    ------
    SessionError
        A word selects nothing; the message suggests near names, at most ten.
    """
    targets: dict[str, Target] = {}
    cells: dict[tuple[str, str], Target] = {}
    for word in words:
        file, dataset, rest = _parts(word)
        pool = _of_file(file, option) if file else None
        if dataset:
            for target in _matching(rest, option, pool, own):
                cells.setdefault((dataset, target.name), target)
        else:
            for target in pool if pool is not None else _matching(rest, option, None, own):
                targets.setdefault(target.name, target)
    return TargetSelection(tuple(targets.values()), tuple((dataset, one) for (dataset, _), one in cells.items()))


def select_datasets(words: Iterable[str], board: Sequence[str], option: str = "datasets") -> list[str]:
    """Names of the data sets that words select; a path is registered as a data set of this process.

    Globs match the data sets of the board; a name can be that of any registered one.

    Raises
    ------
    SessionError
        A word selects nothing, or a file can't be used.
    """
    from consilience.registry import list_datasets
    from consilience.user_files import dataset_name

    names: dict[str, None] = {}
    for word in words:
        try:
            name = dataset_name(word)
        except (LookupError, ValueError, OSError) as error:
            raise SessionError(f"{option}: {message_of(error)}") from error
        all_names = [*board, *(one for one in list_datasets() if one not in board)]
        selected = fnmatch.filter(board, name) if _is_glob(name) else [one for one in all_names if one == name]
        if not selected:
            _refuse("data set", word, all_names, option)
        names.update(dict.fromkeys(selected))
    return list(names)


def select_metrics(words: Iterable[str], option: str = "metrics") -> list[str]:
    """Names of metrics; raises :class:`SessionError` with near names."""
    from consilience.metrics import list_metrics

    metric_names = list(list_metrics())
    for word in words:
        if word not in metric_names:
            _refuse("metric", word, metric_names, option)
    return list(dict.fromkeys(words))


def knows_adapter(name: str) -> bool:
    """Whether an adapter is registered by now, or named by its file: no folder has to be searched for it."""
    from consilience.registry import get_adapter

    try:
        return name.endswith(".py") or bool(get_adapter(name))
    except LookupError:
        return False


def checkpoint_target(request: Request) -> Target | None:
    """Target that reads the request's checkpoint; None where there is none.

    Raises
    ------
    SessionError
        Adapter or checkpoint is missing, unknown, or they don't fit.
    """
    from consilience.registry import get_adapter

    adapter, checkpoint = request.spelled("adapter"), request.spelled("checkpoint")
    if not (request.checkpoint or request.adapter):
        if request.trust_checkpoint:
            raise SessionError(f"{request.spelled('trust_checkpoint')}: {checkpoint} is missing")
        return None
    if not (request.checkpoint and request.adapter):
        raise SessionError(f"{adapter} NAME and {checkpoint} PATH go together: which target reads which file")
    try:
        file = request.adapter if request.adapter.endswith(".py") else None
        reader = _of_file(file, adapter)[0] if file else get_adapter(request.adapter)
        return reader.from_checkpoint(request.checkpoint, trusted=request.trust_checkpoint)
    except SessionError:
        raise
    except (LookupError, ValueError, OSError) as error:
        raise SessionError(f"{adapter}, {checkpoint}: {message_of(error)}") from error


def message_of(error: BaseException) -> str:
    """One line of an error, without the quotes that `KeyError` puts around it."""
    from consilience.circumstances import in_words

    return in_words(error)


def _parts(word: str) -> tuple[str | None, str | None, str]:
    """File, data set and the rest of a word."""
    parts = word.split("::")
    file = parts.pop(0) if parts[0].endswith(".py") else None
    if len(parts) > 2 or not all(parts):
        raise SessionError(f"{word!r} is not the id of a cell: expected DATASET::TARGET or FILE::DATASET::TARGET")
    if file and len(parts) == 1:  # FILE::DATASET: all its targets
        return file, parts[0], "*"
    return file, parts[0] if len(parts) == 2 else None, parts[-1] if parts else "*"


def _of_file(path: str, option: str) -> list[Target]:
    from consilience.registry import load_target_file

    try:
        return load_target_file(path)
    except Exception as error:  # whatever a user's module raises while it is imported
        named = isinstance(error, ValueError | OSError) and path in str(error)
        raise SessionError(f"{option}: {'' if named else f'{path}: '}{message_of(error)}") from error


def _matching(word: str, option: str, pool: Sequence[Target] | None, own: Sequence[Target]) -> list[Target]:
    """Targets that one word selects, out of a file's or of all that are registered."""
    from consilience.cards import UNTRAINED, Twin
    from consilience.registry import get_target, list_targets

    registered = {target.name: target for target in (list_targets().values() if pool is None else pool)}
    all_targets = registered | {target.name: target for target in own}
    if word.partition(":")[0] in _GROUPS and ":" in word:
        return [registered[name] for name in _members(word, registered, option)]
    twins = [name + UNTRAINED for name in registered]
    names = [*all_targets, *twins] if "@" in word else list(all_targets)
    # NAME@untrained:2 is NAME@untrained with another seed, in a glob as well.
    twin = Twin.of(word)
    number = f":{twin.number}" if twin is not None and twin.number else ""
    first = word.removesuffix(number)
    selected = fnmatch.filter(names, first) if _is_glob(word) else [name for name in names if name == first]
    if not selected:
        _refuse("target", word, [*all_targets, *twins] if "@" in word else list(all_targets), option)
    if _is_glob(word):  # of a glob, only those that have a twin
        selected = [
            name for name in selected if name in all_targets or registered[name.partition("@")[0]].card.untrained
        ]
    selected = [name + number for name in selected]
    try:
        return [all_targets.get(name) or _twin(registered, name) or get_target(name) for name in selected]
    except ValueError as error:
        raise SessionError(f"{option}: {message_of(error)}") from error


def _twin(registered: Mapping[str, Target], name: str) -> Target | None:
    from consilience.cards import Twin

    twin = Twin.of(name)
    target = registered.get(twin.card) if twin is not None else None
    return target.untrained(twin.number) if twin is not None and target is not None else None


def _members(word: str, registered: Mapping[str, Target], option: str) -> list[str]:
    kind, _, pattern = word.partition(":")
    groups: dict[str, list[str]] = {}
    for name, target in registered.items():
        groups.setdefault(str(getattr(target.card, kind)), []).append(name)
    selected = fnmatch.filter(groups, pattern)
    if not selected:
        _refuse(kind, word, [f"{kind}:{name}" for name in groups], option)
    return [name for group in selected for name in groups[group]]


def _is_glob(word: str) -> bool:
    return bool(set("*?[") & set(word))


def _refuse(kind: str, word: str, candidates: Sequence[str], option: str) -> NoReturn:
    from consilience.registry import near_names

    near = near_names(word, candidates)
    listed = [*dict.fromkeys(candidates)]
    more = f" and {len(listed) - MAX_CANDIDATES} more" if len(listed) > MAX_CANDIDATES else ""
    there_are = f"there are: {', '.join(listed[:MAX_CANDIDATES]) or 'none'}{more}"
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else there_are
    raise SessionError(f"{option}: no {kind} is named {word!r}; {hint}")
