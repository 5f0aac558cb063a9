"""Targets and data sets by name (metrics: :mod:`consilience.metrics`).

Each lives in one file and announces itself with a decorator; nothing is registered anywhere else. Files are
found in three places: the suite's own folders, the entry-point group ``consilience`` of installed packages
(each naming a module), and the ``target_*.py`` files a user names.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .cards import UNTRAINED, Card, DatasetCard, Twin
from .checkpoints import check, recognise
from .circumstances import in_words, named
from .header import module_folders
from .trial import Confine, Trial
from .weights import Embedded, Weights

if TYPE_CHECKING:
    from types import ModuleType

    from .embedding.identity import Identity

PACKAGE = Path(__file__).parent
ENTRY_POINT_GROUP = "consilience"

#: What a card says of the published weights alone.
_OF_PUBLISHED_WEIGHTS = (
    "parameters",
    "dimension",
    "trained_on",
    "training_ids",
    "level_of_theory",
    "revision",
    "weights_sha256",
    "licence_weights",
    "superseded_by",
    "ancestor",
    "remark",
)

Embed = Callable[[list[Any]], Embedded]
Loader = Callable[[Card, Weights, str], Embed]
F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E")


class UnknownNameError(LookupError):
    """A name that nothing is registered under; the message suggests near ones."""


class TargetFileError(ValueError):
    """A target file can't be imported; the message is one line that names it."""


class NameTakenError(ValueError):
    """Two files register the same name."""


@dataclass(frozen=True)
class Target:
    """A registered model: its card, the function that loads it, and the file both stand in."""

    card: Card
    load: Loader
    path: Path
    weights: Weights
    pinned: Identity | None = None
    """Identity of the embedding that stands for it on a board, whatever its code is by now."""

    @property
    def name(self) -> str:
        """Name on the board; a twin carries ``@untrained``, a user's checkpoint ``@`` and its file's name."""
        if self.weights.random:
            return Twin(self.card.name, self.weights.twin).name
        if self.weights.kind == "file" and self.weights.path is not None:
            return f"{self.card.name}@{_slug(self.weights.path)}"
        return self.card.name

    @property
    def trained(self) -> bool:
        """Whether the embedding comes from training data (twins and baselines do not)."""
        return not self.weights.random and self.card.modality != "baseline"

    def untrained(self, seed: int = 0) -> Target:
        """Return the same architecture with random weights; of seed 1, it is ``NAME@untrained:1``.

        From 1 on the generator's own seed is drawn from the card's name, too, so that no two cards share a twin.
        """
        if not self.card.untrained:
            raise ValueError(f"target {self.card.name!r} has no untrained twin (card field `untrained`)")
        twin = Twin(self.card.name, seed)
        # The checksum stays: some architectures are described only inside their checkpoint.
        weights = replace(self.weights, kind="random", seed=twin.seed, twin=seed)
        return replace(self, weights=weights, pinned=None)

    def from_checkpoint(self, path: str | Path, *, trusted: bool = False, seed: int = 0) -> Target:
        """Return this target as the adapter of a user's checkpoint.

        What the card says of the published weights (their size, training data, theory, licence) does not hold for
        another file and is left open; the board shows the name of the card, ``@`` and the name of the file.

        Parameters
        ----------
        path
            The checkpoint: a file, or a folder where the format is one.
        trusted
            The user's explicit word that a file which can run code when read may be read.
        seed
            Seed of whatever the file leaves open.

        Raises
        ------
        FileNotFoundError
            There is nothing at `path`.
        ValueError
            The target takes no file (card field `accepts`), reads files of another kind, or the file can run code when
            read and is not trusted.
        """
        if self.card.accepts is None:
            raise ValueError(f"target {self.card.name!r} reads no checkpoint of a user (card field `accepts`)")
        path = Path(path).expanduser().absolute()
        check(
            recognise(path),
            name=self.card.name,
            accepts=self.card.accepts,
            reads=self.card.reads,
            trusted=trusted,
            plain=_reads_plain(self.path),
        )
        path = path.resolve()
        defaults = {
            "title": f"{self.card.title or self.card.name}, {path.name}",
            "source": path.name,
            "access": "package",
        }
        card = self.card.model_copy(update={**dict.fromkeys(_OF_PUBLISHED_WEIGHTS), **defaults})
        weights = Weights(kind="file", path=path, trusted=trusted, seed=seed)
        return replace(self, card=card, weights=weights, pinned=None)


@dataclass(frozen=True)
class DatasetEntry:
    """A registered data set: its card and the function that returns its table."""

    card: DatasetCard
    load: Callable[[], Any] | None
    """Returns the table; None for the data set of a recipe, whose table is shipped or built
    (:func:`consilience.datasets.tables.table_of`)."""
    path: Path
    recipe: Callable[..., Any] | None = None
    """What ``consilience dataset build`` runs, where the table is made from other people's files."""

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.card.name


#: What a file can register beside targets and data sets: names of tables by the module that holds them.
_OTHER_REGISTRIES = {
    "consilience.metrics.card": ("_metrics",),
    "consilience.scoring.presets": ("_presets", "_controls"),
    "consilience.scoring.alignment": ("_methods", "_calibrations"),
    "consilience.execution.executor": ("_executors",),
}
_targets: dict[str, Target] = {}
_datasets: dict[str, DatasetEntry] = {}
_scanned: set[str] = set()


def target(*cards: Card) -> Callable[[F], F]:
    """Register ``load(card, weights, device)`` under each card.

    `load` returns ``embed(items) -> Embedded``; see the README for a complete file. `device` is a torch
    device string such as ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    NameTakenError
        A name is taken by a target of another file.
    """

    def register(load: F) -> F:
        path = _file_of(load)
        for card in cards:
            _put(_targets, card.name, Target(card, load, path, Weights(expected_sha256=card.weights_sha256)))
        return load

    return register


def dataset(card: DatasetCard) -> Callable[[F], F]:
    """Register ``load() -> datasets.Dataset`` under the card's name."""

    def register(load: F) -> F:
        _put(_datasets, card.name, DatasetEntry(card, load, _file_of(load)))
        return load

    return register


def recipe(*cards: DatasetCard) -> Callable[[F], F]:
    """Register ``build(card, sources) -> Draft`` as the way to make each card's data set.

    The file's PEP 723 header says what `build` needs; it runs in that environment
    (:mod:`consilience.building`), and heavy imports live inside it. The table is read from the package where it
    was shipped with it, else from the suite's cache once it was built.

    Raises
    ------
    NameTakenError
        A name is taken by a data set of another file.
    """

    def register(build: F) -> F:
        path = _file_of(build)
        for card in cards:
            _put(_datasets, card.name, DatasetEntry(card, None, path, build))
        return build

    return register


def add_dataset(entry: DatasetEntry) -> None:
    """Register a data set that no module declares: a user's file."""
    _put(_datasets, entry.name, entry)


def list_targets() -> dict[str, Target]:
    """All registered targets by name, untrained twins not included."""
    _scan("targets", plugins=True)
    return dict(sorted(_targets.items()))


def list_datasets() -> dict[str, DatasetEntry]:
    """All registered data sets by name."""
    _scan("datasets", plugins=True)
    return dict(sorted(_datasets.items()))


def get_target(name: str) -> Target:
    """Look a target up; ``NAME@untrained`` is its untrained twin, ``NAME@untrained:2`` another one.

    Raises
    ------
    UnknownNameError
        Nothing has this name; the message suggests near ones.
    """
    base, suffix, rest = name.partition(UNTRAINED)
    twin = Twin.of(name)
    if suffix and twin is None:
        hint = f"the twin of seed 0 is {base}{UNTRAINED}" if rest.strip(":0") == "" else "a number from 1 may follow"
        raise UnknownNameError(f"target {name!r}: {hint}, as in {base}{UNTRAINED}:1")
    target: Target = _look_up("target", base, list_targets())
    return target.untrained(twin.number) if twin else target


def get_adapter(name: str) -> Target:
    """Look up the target that reads a user's checkpoint, by its name or by its family's.

    Raises
    ------
    UnknownNameError
        Nothing that takes a checkpoint has this name; the message suggests near ones.
    """
    adapters = {target.name: target for target in list_targets().values() if target.card.accepts is not None}
    for target in list(adapters.values()):
        adapters.setdefault(target.card.family, target)
    return _look_up("adapter", name, adapters)


def get_dataset(name: str) -> DatasetEntry:
    """Look a data set up; raises :class:`UnknownNameError` with near names."""
    return _look_up("data set", name, list_datasets())


def load_target_file(path: str | Path, *, trial: bool = True, confine: Confine | None = None) -> list[Target]:
    """Return the targets that a user's ``target_*.py`` registers, in the order of its cards.

    A file outside the package is imported in a child process, which sends the cards: it may end Python, or never end,
    and what it does when it is imported is not done here. Only a file that registers metrics, data sets or the like,
    whose functions run in this process, is imported here, too.

    Parameters
    ----------
    path
        The file.
    trial
        False imports the file in this process, which is then a worker.
    confine
        Puts the child process into a sandbox (:func:`consilience.isolation.sandbox.confine`); the file may register
        targets only.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    TargetFileError
        It can't be imported.
    ValueError
        The file registers no target.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no target file at {path}")
    if trial and not path.is_relative_to(PACKAGE):
        attempt = Trial(path, confine)
        if (failure := attempt.failure()) is not None:
            raise TargetFileError(failure if str(path) in failure else f"{path}: {failure}")
        if attempt.cards is not None:
            return _register_cards(path, attempt.cards)
        if confine is not None:
            raise TargetFileError(f"{path}: it registers more than targets, which would run outside the sandbox")
    try:
        import_file(path)
    except (Exception, SystemExit) as error:
        text = in_words(error) if isinstance(error, SyntaxError | NameTakenError) else named(error, 1000)
        raise TargetFileError(text if str(path) in text else f"{path}: {text}") from error
    targets = [entry for entry in _targets.values() if entry.path == path]
    if not targets:
        raise ValueError(f"{path} registers no target: decorate its load function with @target(Card(...))")
    return targets


def _register_cards(path: Path, contents: Sequence[Mapping[str, Any]]) -> list[Target]:
    """Register targets of a file by their cards; their `load` runs in a worker only."""

    def load(card: Card, weights: Weights, device: str) -> Embed:
        raise RuntimeError(f"{card.name} is loaded in a worker: this process has read its card only")

    if not contents:
        raise ValueError(f"{path} registers no target: decorate its load function with @target(Card(...))")
    before = dict(_targets), dict(_datasets)
    for name in [name for name, entry in _targets.items() if entry.path == path]:
        del _targets[name]
    try:
        targets = []
        for content in contents:
            card = Card(**content)
            targets.append(Target(card, load, path, Weights(expected_sha256=card.weights_sha256)))
            _put(_targets, card.name, targets[-1])
    except NameTakenError as error:
        _restore(*before)
        raise TargetFileError(str(error)) from error
    return targets


def registered_by(path: Path, module: str) -> dict[str, Any]:
    """What an imported file has registered, as JSON holds it: ``cards`` of targets, and whether there is ``more``."""
    targets = [entry.card for entry in _targets.values() if entry.path == path]
    cards = [card.model_dump(mode="json") | {"reads": list(card.reads)} for card in targets]
    more = any(entry.path == path for entry in _datasets.values())
    for home, tables in _OTHER_REGISTRIES.items():
        for table in tables:
            for entry in getattr(sys.modules.get(home), table, {}).values():
                values = [entry, *vars(entry).values()] if hasattr(entry, "__dict__") else [entry]
                more |= any(getattr(value, "__module__", None) == module for value in values)
    return {"cards": cards, "more": more}


def load_dataset_file(path: Path, name: str) -> DatasetEntry:
    """Import a file that registers data sets, and return the one of this name.

    Raises
    ------
    UnknownNameError
        The file does not register it.
    """
    import_file(path)
    return _look_up("data set", name, {one: entry for one, entry in _datasets.items() if entry.path == path})


def import_file(path: Path) -> ModuleType:
    """Import a Python file by its path, once per process."""
    name = f"consilience_file_{path.stem}_{abs(hash(str(path))):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    if not path.is_relative_to(PACKAGE):
        sys.path += [folder for folder in module_folders(path) if folder not in sys.path]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = dict(_targets), dict(_datasets)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # leave no trace in an author's folder
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[name]
        raise missing_module(error, path) from error
    except BaseException:
        sys.modules.pop(name, None)
        _restore(*before)
        raise
    finally:
        sys.dont_write_bytecode = writes
    return module


def missing_module(error: ModuleNotFoundError, path: Path) -> ModuleNotFoundError:
    """Error that says where a module of a target file was looked for, and how to name a package or a folder."""
    folders = ", ".join(module_folders(path))
    text = (
        f"{path}: there is no module {error.name!r} among the installed packages or in {folders}. "
        "A package belongs in the header's dependencies; "
        'a folder in its table [tool.consilience], as in paths = ["../lib"]'
    )
    return ModuleNotFoundError(text, name=error.name)


def _scan(folder: str, *, plugins: bool) -> None:
    """Import every module of one of the suite's folders, and the plug-ins, once; the registry gets all or nothing."""
    if folder not in _scanned:
        _scanned.add(folder)
        before, modules = (dict(_targets), dict(_datasets)), set(sys.modules)
        try:
            _import_folder(folder)
        except BaseException:
            _scanned.discard(folder)
            _restore(*before)
            for name in set(sys.modules) - modules:
                if name.startswith(f"consilience.{folder}."):
                    del sys.modules[name]
            raise
    if plugins:
        load_plugins()


def _restore(targets: Mapping[str, Target], datasets: Mapping[str, DatasetEntry]) -> None:
    """Leave in the registry what was there before."""
    _targets.clear()
    _targets.update(targets)
    _datasets.clear()
    _datasets.update(datasets)


def _import_folder(folder: str) -> None:
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if not any(part.startswith("_") for part in parts):  # helpers, and folders of them
            importlib.import_module(".".join(("consilience", *parts)))


def load_plugins() -> None:
    """Import the modules that installed packages name in the entry-point group ``consilience``, once."""
    if "plugins" not in _scanned:
        _scanned.add("plugins")
        if entry_points(group=ENTRY_POINT_GROUP):  # without one, nothing of the metrics need be imported
            from .metrics.card import import_plugins

            import_plugins()


def _reads_plain(path: Path) -> bool:
    """Whether a target of the suite reads pickles without the classes that they name, by the helper that it imports."""
    return path.is_relative_to(PACKAGE) and b"_foreign_pickle" in path.read_bytes()


def _slug(path: Path) -> str:
    """File name as part of a target's name: lower case, without its suffix, other characters as hyphens."""
    slug = re.sub(r"[^a-z0-9.+_-]+", "-", path.stem.lower()).strip("-") or "checkpoint"
    # A file called "untrained" is no untrained twin.
    return f"file-{slug}" if slug.startswith(UNTRAINED.removeprefix("@")) else slug


def _file_of(function: Callable[..., Any]) -> Path:
    return Path(function.__code__.co_filename).resolve()


def _put(table: dict[str, Any], name: str, entry: Any) -> None:
    old = table.get(name)
    if old is not None and getattr(old, "path", None) != getattr(entry, "path", None):
        text = f"{name!r} is registered by {old.path} and again by {entry.path}: give one of them another name"
        raise NameTakenError(text)
    table[name] = entry


def _look_up(kind: str, name: str, table: dict[str, E]) -> E:
    if name in table:
        return table[name]
    near = near_names(name, table)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(table) or 'none'}"
    raise UnknownNameError(f"no {kind} is named {name!r}; {hint}")


def near_names(name: str, candidates: Iterable[str]) -> list[str]:
    """Known names that somebody who wrote `name` may have meant, nearest first."""
    return difflib.get_close_matches(name, list(candidates), n=2, cutoff=0.6)


def __getattr__(name: str) -> Any:
    """Return what has moved to :mod:`consilience.metrics`: metrics for one release, and a warning of plug-ins."""
    if name in ("metric", "list_metrics", "get_metric", "MetricEntry"):
        warnings.warn(
            f"consilience.registry.{name} has moved to consilience.metrics; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
    elif name != "PluginWarning":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("consilience.metrics.card"), name)
