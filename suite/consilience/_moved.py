"""Old import paths, for one release: each still works, with a `DeprecationWarning` that says where the name is now.

Nothing here is imported for modules that exist: the finder stands last on ``sys.meta_path``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

_RECORDS = (
    "records.record",
    "records.pairs",
    "records.board",
    "records.run",
    "records.migrations",
    "records.schema",
    "scoring.presets",
    "board.schemas",
)
#: Old module: the modules that hold its names now.
MOVED: dict[str, tuple[str, ...]] = {
    "building.process": ("building.build", "building.built"),
    "cli.pages": ("cli.site",),
    "datasets._columns": ("datasets.columns",),
    "datasets._tables": ("datasets.tables",),
    "embedding.environments": ("isolation.environments",),
    "embedding.items_file": ("datasets.layout",),
    "embedding.process": ("embedding.embed", "embedding.run", "embedding.errors", "isolation.job"),
    "embedding.worker": ("isolation.worker",),
    "leaderboard": ("board",),
    "leaderboard.submission": ("board.submission", "board.packing", "board.receiving"),
    "leaderboard.verify": ("board.verify", "board.cells", "board.findings"),
    "lineage": ("scoring.lineage",),
    "metrics._compiled": ("metrics._engine.compiled",),
    "metrics._on_device": ("metrics._engine.device",),
    "metrics.arrays": ("metrics._engine.arrays",),
    "metrics.calibration": ("metrics.inference.calibration",),
    "metrics.centering": ("metrics._engine.centering",),
    "metrics.collection": ("metrics._engine.collection",),
    "metrics.correlations": ("metrics._engine.correlations",),
    "metrics.loops": ("metrics._engine.engine", "metrics._engine.factory"),
    "metrics.neighbor_kernel": ("metrics._engine.neighbor_kernel",),
    "metrics.resampling": ("metrics.inference.resampling",),
    "metrics.sensitivity": ("metrics.inference.sensitivity",),
    "metrics.sources": ("metrics._engine.row_source",),
    "metrics.subsampling": ("metrics.inference.subsampling",),
    "metrics.tiles": ("metrics._engine.tiles",),
    "recommend.core": ("recommend.analysis",),
    "results": _RECORDS,
    "runner": (
        "session.runner",
        "scoring.scorer",
        "session.plan",
        "session.session",
        "scoring.provenance",
        "records.spec",
    ),
    "scoring.all_pairs": ("scoring.pairs", "scoring.presets"),
    "scoring.panel": ("scoring.reference_set",),
    "site.report": ("site.report_page",),
    "site.structures": ("site.drawings",),
    "spec": ("records.spec",),
    "study.core": ("study.study",),
    "targets.transformers": ("targets.huggingface",),
    "user_files.proteins": ("user_files.chains",),
    "user_files.text": ("user_files.strings",),
}
MOVED |= {
    f"leaderboard.{name}": (f"board.{name}",)
    for name in ("board", "compare", "gates", "groups", "markdown", "publish", "ranking", "report",
                 "terminal", "words")
}  # fmt: skip


class OldModule(ModuleType):
    """Stands for a module that has moved; its names are looked up where they are now."""

    def __init__(self, name: str, homes: Sequence[str]) -> None:
        super().__init__(name, f"Moved to {', '.join(homes)}.")
        self._homes = homes

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            for home in self._homes:
                module = importlib.import_module(home)
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}; it moved to {self._homes}")


class OldPaths(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules under the names that they had before."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Return how to load an old name, None for any other."""
        package, _, name = fullname.partition(".")
        if package != __package__ or name not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=name == "leaderboard")

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Make the stand-in, and say where to import from."""
        homes = [f"{__package__}.{home}" for home in MOVED[spec.name.partition(".")[2]]]
        warnings.warn(
            f"{spec.name} has moved to {' and '.join(homes)}; the old path goes with the next release",
            DeprecationWarning,
            stacklevel=6,
        )
        return OldModule(spec.name, homes)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def moved_names(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module from which some names have moved, each to the module that `homes` says."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home = f"{__package__}.{homes[name]}"
        warnings.warn(
            f"{module}.{name} has moved to {home}; the old path goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(home), name)

    return get


def install() -> None:
    """Put the finder last on ``sys.meta_path``, once."""
    if not any(isinstance(one, OldPaths) for one in sys.meta_path):
        sys.meta_path.append(OldPaths())
