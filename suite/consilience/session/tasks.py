"""Tasks of a run as names and keys, which an executor can send to another process or machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.callbacks import Progress
from consilience.embedding.embed import embed
from consilience.embedding.errors import EmbeddingFailedError, EmbeddingInterruptedError, EmbeddingSkippedError
from consilience.embedding.store import Store
from consilience.execution.executor import Task
from consilience.registry import PACKAGE, Target, get_dataset, get_target, load_target_file
from consilience.user_files import register_file

if TYPE_CHECKING:
    from consilience.scoring.scorer import Scorer


def embed_task(
    scorer: Scorer, dataset: str, target: Target, *, device: str, time_limit: float, fresh: bool = False
) -> Task:
    """Task of embedding a data set with a target and storing the rows."""
    data, weights, store = get_dataset(dataset), target.weights, scorer.store
    arguments = {
        "dataset": dataset,
        "data_file": None if data.path.is_relative_to(PACKAGE) else str(data.path),
        "limit": scorer.limit,
        "seed": scorer.spec.settings.seed,
        "target": target.card.name,
        "target_file": None if target.path.is_relative_to(PACKAGE) else str(target.path),
        "twin": weights.twin if weights.random else None,
        "checkpoint": str(weights.path) if weights.kind == "file" else None,
        "trusted": weights.trusted,
        "store": str(store.folder),
        "shipped": None if store.shipped is None else str(store.shipped),
        "device": device,
        "time_limit": time_limit,
        "fresh": fresh,
    }
    return Task(scorer.identity(dataset, target).key, "consilience.session.tasks:embed_by_name", arguments)


def embed_by_name(
    *,
    dataset: str,
    data_file: str | None,
    limit: int | None,
    seed: int,
    target: str,
    target_file: str | None,
    twin: int | None,
    checkpoint: str | None,
    trusted: bool,
    store: str,
    shipped: str | None,
    device: str,
    time_limit: float,
    fresh: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Embed what :func:`embed_task` names.

    Returns
    -------
    dict
        ``failed``: why it could not be embedded; None where the embedding is in the store, or does not apply.
        ``interrupted``: whether memory, time or the like is to blame, and not the target.
    """
    from consilience.datasets.items import open_dataset

    if target_file is None:
        chosen = get_target(target)
    else:
        chosen = next(one for one in load_target_file(target_file) if one.card.name == target)
    if checkpoint is not None:
        chosen = chosen.from_checkpoint(checkpoint, trusted=trusted)
    if twin is not None:
        chosen = chosen.untrained(twin)
    items = open_dataset(dataset if data_file is None else register_file(data_file))
    items = items if limit is None else items.sample(limit, seed=seed)
    place = Store(Path(store), shipped=None if shipped is None else Path(shipped))
    try:
        embed(chosen, items, place, device=device, time_limit=time_limit, progress=progress, fresh=fresh)
    except EmbeddingSkippedError:
        pass
    except EmbeddingFailedError as error:
        return {"failed": str(error), "interrupted": isinstance(error, EmbeddingInterruptedError)}
    return {"failed": None, "interrupted": False}
