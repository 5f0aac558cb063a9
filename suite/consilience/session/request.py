"""The options of a run: one frozen :class:`Request`, one field per option.

Each field states its help text, how its value is written and where it may be set. The options of ``pytest --benchmark``
(``--align-*``) and of ``consilience run``, the environment variables (``CONSILIENCE_*``), the keys of
``[tool.consilience]`` and of ``--config FILE``, the keyword arguments of :func:`consilience.run` and the tables of
options in the documentation are all made from these fields. This module is imported by every pytest process, also
without ``--benchmark``: it imports nothing heavy, and the values are checked by pydantic when a request is filled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

FrontEnd = Literal["pytest", "run", "python"]
#: Where a value may come from, the strongest first.
Source = Literal["call", "environment", "config", "repository"]
_ANYWHERE: tuple[Source, ...] = ("call", "environment", "config", "repository")
#: Keys that people may look for in a file, and why they are not there.
_REFUSED_KEYS = {"cache": "the cache folder is set by the environment variable CONSILIENCE_CACHE alone"}


class SessionError(ValueError):
    """The run could not start or finish (exit code 2); the message is one line for the user."""


@dataclass(frozen=True)
class Option:
    """How one field of :class:`Request` is set and described."""

    name: str
    help: str
    default: Any
    kind: Literal["text", "names", "list", "flag", "integer", "number", "path", "paths"]
    metavar: str | None = None
    aliases: tuple[str, ...] = ()
    """Older spellings on the command line of ``consilience run``; not shown."""
    short: str | None = None
    """One-letter spelling on the command line of ``consilience run``."""
    value_if_bare: str | None = None
    """What ``consilience run`` takes where the option stands without a value."""
    minimum: float | None = None
    sources: tuple[Source, ...] = _ANYWHERE
    pytest: bool = True
    """Whether pytest gets an option of its own; ``-q`` and ``-v`` it has already."""

    @property
    def word(self) -> str:
        """The name with hyphens."""
        return self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Environment variable that sets it."""
        return f"CONSILIENCE_{self.name.upper()}"

    def spelled(self, front_end: FrontEnd) -> str:
        """Return the option as a user of a front end writes it."""
        if front_end == "python":
            return self.name
        if front_end == "pytest":
            return f"--align-{self.word}" if self.pytest else f"-{self.short}"
        return f"--{self.word}"


def _option(default: Any, kind: str, text: str, **settings: Any) -> Any:
    return field(default=default, metadata={"kind": kind, "help": text, **settings})


@dataclass(frozen=True, kw_only=True)
class Request:
    """All options of one run. :func:`fill` checks the values."""

    targets: tuple[str, ...] = _option(
        (),
        "names",
        "targets, comma-separated: names, globs, NAME@untrained (the untrained twin; NAME@untrained:2 is another one), "
        "family:NAME, modality:NAME, target files, or one cell as DATASET::TARGET. Only these run. A target whose "
        "weights have to be downloaded runs only if it is named",
        metavar="NAMES",
    )
    datasets: tuple[str, ...] = _option(
        (),
        "names",
        "data sets, comma-separated: names, globs (of the board's data sets), or your own files of structures, SMILES "
        "or sequences",
        metavar="NAMES",
    )
    adapter: str | None = _option(
        None,
        "path",
        "target that reads the checkpoint: a target or family of the suite, or a target file",
        metavar="NAME",
    )
    checkpoint: str | None = _option(
        None, "path", "score your own weights: a file (or folder) that the adapter reads", metavar="PATH"
    )
    trust_checkpoint: bool = _option(
        False,
        "flag",
        "allow a checkpoint that can run code when read (pickles, TorchScript)",
        sources=("call",),
    )
    metrics: tuple[str, ...] = _option(
        (), "names", "further metrics to compute, comma-separated, in addition to those of the board", metavar="NAMES"
    )
    seeds: int = _option(
        1,
        "integer",
        "own untrained twins to score beside each target that is named and has one, on boards that state what training "
        "adds",
        metavar="N",
        minimum=0,
    )
    limit: int | None = _option(
        None,
        "integer",
        "score a seeded sample of N items; the result is marked as a sample and never published",
        metavar="N",
        aliases=("--n",),
        minimum=1,
    )
    fresh: bool = _option(
        False, "flag", "embed again with the targets that are scored, whatever is stored; references are read as usual"
    )
    fresh_references: bool = _option(False, "flag", "embed again with the references, too; this runs all their models")
    device: str = _option("cpu", "text", "torch device", metavar="DEVICE")
    pass_env: tuple[str, ...] = _option(
        (),
        "names",
        "environment variables that models may see, beyond those of libraries; their values count as inputs",
        metavar="NAMES",
        sources=("call", "environment", "config"),
    )
    timeout: float = _option(1800.0, "number", "time limit per cell", metavar="SECONDS", minimum=0)
    jobs: int = _option(1, "integer", "cells to embed at the same time", metavar="N", short="j", minimum=1)
    executor: str = _option("local", "text", "back end that runs the embedding: one of the suite or of a plug-in")
    json: str | None = _option(
        None, "path", "write the scores of this run as JSON; - prints them", metavar="PATH", value_if_bare="-"
    )
    save: str | None = _option(
        None,
        "path",
        "save this run, to compare with later: NAME for .consilience/NAME.json, or a PATH that ends in .json",
        metavar="NAME",
    )
    compare: str | None = _option(
        None, "path", "compare with a saved run (its NAME or path) or the folder of a board", metavar="RUN"
    )
    compare_fail: tuple[str, ...] = _option(
        (),
        "list",
        "fail if a value got worse by more than this limit and by more than its interval: cknna:5%, dcor:0.02, "
        "mp-1k/cknna:5% (comma-separated or repeated)",
        metavar="LIMITS",
    )
    report: tuple[str, ...] = _option(
        (),
        "paths",
        "write the run, or its comparison, as Markdown; as JSON if PATH ends in .json (may be repeated)",
        metavar="PATH",
    )
    publish: str | None = _option(
        None,
        "path",
        "add the records to the board in this folder (with spec.toml) and rebuild it; a target that is named for the "
        "first time is added to the board",
        metavar="DIR",
        aliases=("--board",),
        sources=("call", "environment", "config"),
    )
    config: str | None = _option(
        None,
        "path",
        "read further options from this TOML file, instead of [tool.consilience] in pyproject.toml",
        metavar="FILE",
        sources=("call", "environment"),
    )
    dry_run: bool = _option(
        False, "flag", "list the cells, the embeddings to compute, time, disk and downloads, and stop"
    )
    quiet: bool = _option(False, "flag", "print only the result and errors", short="q", pytest=False)
    verbose: bool = _option(False, "flag", "print more about each cell", short="v", pytest=False)
    front_end: FrontEnd = "python"
    """Who filled the request: decides how messages spell options. Not an option itself."""

    def spelled(self, name: str) -> str:
        """Return an option as the user of this request's front end writes it."""
        return options()[name].spelled(self.front_end)


@lru_cache
def options() -> dict[str, Option]:
    """All options by name, in the order of the help."""
    return {
        one.name: Option(one.name, default=one.default, **one.metadata)
        for one in fields(Request)
        if one.metadata and one.default is not MISSING
    }


def fill(
    call: Mapping[str, Any],
    *,
    front_end: FrontEnd = "python",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Request:
    """Fill a request: from the call, then the environment, then a file.

    Parameters
    ----------
    call
        Values by option; None and empty lists count as not given.
    front_end
        Who asks; decides how messages spell options.
    folder
        Where the search for ``pyproject.toml`` begins, upwards; the current folder by default.
    environment
        Environment variables; those of this process by default.

    Raises
    ------
    SessionError
        An option is unknown, its value can't be used, or it may not be set where it stands.
    """
    values = _read(call, "call", lambda option: option.spelled(front_end))
    variables = os.environ if environment is None else environment
    set_there = {one.name: text for one in options().values() if (text := variables.get(one.variable))}
    values = _read(set_there, "environment", lambda option: option.variable) | values
    if values.get("config") is not None:
        path = Path(values["config"])
        values = _read_file(path, _table(path), "config") | values
    else:
        repository_table = find_repository_table(folder or Path.cwd())
        if repository_table is not None:
            values = _read_file(*repository_table, "repository") | values
    return Request(**values, front_end=front_end)


def find_repository_table(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """``[tool.consilience]`` of the nearest ``pyproject.toml`` upwards, with the path of that file."""
    for one in (folder.resolve(), *folder.resolve().parents):
        path = one / "pyproject.toml"
        if path.is_file():
            content = path.read_bytes()
            if b"consilience" not in content:  # the common case: nothing to parse
                return None
            return path, _table(path)
    return None


def _table(path: Path) -> Mapping[str, Any]:
    """``[tool.consilience]`` of a TOML file; the whole file where it is no ``pyproject.toml`` and has no such table."""
    from consilience.bounds import parse_toml, read_text

    try:
        content = parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise SessionError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from None
    tool = content.get("tool")
    table = tool.get("consilience", {}) if isinstance(tool, Mapping) else {}
    if not isinstance(table, Mapping):
        raise SessionError(f"{path}: [tool.consilience] is not a table")
    return table or ({} if path.name == "pyproject.toml" else content)


def _read_file(path: Path, table: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Values of a file; relative paths in it start at its own folder."""
    # `paths` says where modules of target files lie (`consilience.header`); it is no option of a run.
    given = {key.replace("-", "_"): value for key, value in table.items() if key != "paths"}
    values = _read(given, source, lambda option: f"{path}: {option.word}")
    placed = {name: _placed(options()[name], value, path.parent) for name, value in values.items()}
    if source == "repository":
        _check_below(path, placed)
    return placed


def _check_below(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse to write outside a repository because its file says so."""
    for name in ("json", "report", "save"):
        texts = values.get(name) or ()
        for text in (texts,) if isinstance(texts, str) else texts:
            is_path = name != "save" or text.endswith(".json")
            if text != "-" and is_path and not Path(text).resolve().is_relative_to(path.parent.resolve()):
                raise SessionError(f"{path}: {name}: {text} lies outside the repository")


def _placed(option: Option, value: Any, folder: Path) -> Any:
    """Return a file's value with the paths in it taken from the file's folder."""

    def placed(text: str) -> str:
        always = option.name in ("checkpoint", "json", "publish", "report")
        is_path = always or (option.name == "save" and text.endswith(".json"))
        exists = ("/" in text or "." in text) and (folder / text.partition("::")[0]).exists()
        return str(folder / text) if text != "-" and (is_path or exists) else text

    if option.kind in ("names", "paths"):
        return tuple(placed(one) for one in value)
    return placed(value) if option.kind == "path" else value


def _read(given: Mapping[str, Any], source: Source, where: Any) -> dict[str, Any]:
    """Values of one source, checked; what is not given is left out."""
    values = {}
    for name, value in given.items():
        option = options().get(name)
        if option is None:
            _refuse_unknown(name, source, where)
        if value is None or (isinstance(value, tuple | list) and not value):
            continue
        if source not in option.sources:
            _refuse_source(option, source, where)
        values[name] = _checked(option, value, where(option))
    return values


def _refuse_unknown(name: str, source: Source, where: Any) -> NoReturn:
    from consilience.registry import near_names

    word = name.replace("_", "-") if source in ("config", "repository") else name
    place = where(Option(name, "", None, "text")).removesuffix(word) if word != name or source != "call" else ""
    if name in _REFUSED_KEYS:
        raise SessionError(f"{place}{word}: {_REFUSED_KEYS[name]}")
    option_names = [one.word if word != name or source != "call" else one.name for one in options().values()]
    near = near_names(word, option_names)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(option_names)}"
    raise SessionError(f"{place}there is no option {word!r}; {hint}")


def _refuse_source(option: Option, source: Source, where: Any) -> NoReturn:
    allowed = {
        "call": "on the command line or in the call",
        "environment": f"as {option.variable}",
        "config": "in a file named by --config",
    }
    places = [words for one, words in allowed.items() if one in option.sources]
    raise SessionError(f"{where(option)}: can't be set here, only {' or '.join(places)}")


def _checked(option: Option, value: Any, where: str) -> Any:
    """Return a value as the field's type; text is read as a command line writes it."""
    from pydantic import ValidationError

    if option.kind in ("names", "list", "paths"):
        parts = [value] if isinstance(value, str | Path) else value
        if not isinstance(parts, Sequence) or not all(isinstance(one, str | Path) for one in parts):
            raise SessionError(f"{where}: expected text or a list of texts, found {value!r}")
        texts = map(str, parts)
        return tuple(_split(texts) if option.kind == "names" else texts)
    if option.kind in ("text", "path") and isinstance(value, Path):
        value = str(value)
    try:
        value = _adapter(option.name).validate_python(value)
    except ValidationError as error:
        what = error.errors()[0]["msg"]
        raise SessionError(f"{where}: {what[0].lower()}{what[1:]}, found {value!r}") from None
    return value


def _split(texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        yield from (part.strip() for part in text.split(",") if part.strip())


@lru_cache
def _adapter(name: str) -> Any:
    from typing import Annotated

    from pydantic import Field, TypeAdapter

    option = options()[name]
    kinds = {"flag": bool, "integer": int, "number": float}
    kind: Any = kinds.get(option.kind, str)
    limits: dict[str, Any] = {"ge": option.minimum} if option.minimum is not None else {}
    if option.kind == "number" and option.minimum is not None:
        limits = {"gt": option.minimum}
    return TypeAdapter(cast(Any, Annotated[kind, Field(**limits)]))
