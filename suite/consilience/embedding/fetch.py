"""Fetching and embedding are two jobs: only the one that fetches weights has the network and the hub's token.

A target's `load` reads weights that are here. If it asks for the network, another job loads it once with the network,
so that its package stores what it downloads, and the first job begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from consilience.circumstances import tells_of_network
from consilience.isolation.job import Listener, Outcome, run_jobs
from consilience.isolation.opens import Opens

_ADVICE = (
    "a target that needs it for each item says network = true under [tool.consilience] in its header; weights are "
    "downloaded in load to a folder that stays"
)


def run_target_jobs(
    python: Path,
    jobs: Sequence[dict[str, Any]],
    log: Path,
    *,
    observe: Callable[[], Opens] | None = None,
    listen: Listener | None = None,
    **options: Any,
) -> list[Outcome]:
    """Carry jobs of targets out; where loading one asks for the network, fetch first.

    Parameters
    ----------
    python, jobs, log, listen, options
        See :func:`consilience.isolation.job.run_jobs`. Jobs of one file have the same header, which says whether they
        embed with the network; never in a sandbox. Jobs that fetch have no listener.
    observe
        Makes the observer of what a worker opens.

    Returns
    -------
    list of Outcome
        One per job.
    """
    observe = observe or Opens
    network = options.get("sandbox", "none") == "none" and any(job["network"] for job in jobs)

    def listener(places: Sequence[int]) -> Listener | None:
        """Listen to some of the jobs, by their places among all."""
        return listen and (lambda number, event, message: listen(places[number], event, message))

    def run(places: Sequence[int]) -> tuple[list[Outcome], Opens]:
        opens = observe()
        opens.network = network
        chosen = [jobs[place] for place in places]
        return run_jobs(python, chosen, log, opens=opens, network=network, listen=listener(places), **options), opens

    outcomes, opens = run(range(len(jobs)))
    places = [] if network else [i for i, one in enumerate(outcomes) if _lacks_weights(one, opens)]
    if places:
        fetching = [jobs[place] | {"task": "fetch"} for place in places]
        fetched = run_jobs(python, fetching, log, network=True, token=True, **options)
        if all(one.failure is None for one in fetched):
            fetched, opens = run(places)
        for place, one in zip(places, fetched, strict=True):
            outcomes[place] = one
    for one in outcomes:
        # Memory or time may end a job that also looked for an update: that is no property of the target.
        if one.failure is not None and opens.remote and not network and _is_for_want_of_network(one):
            one.failure += f"; it asked for the network ({sorted(opens.remote)[0]}) and has none: {_ADVICE}"
            one.circumstance = False
    return outcomes


def _lacks_weights(outcome: Outcome, opens: Opens) -> bool:
    """Whether a job failed while loading, for want of the network as far as the system tells."""
    if outcome.failure is None or outcome.of("loaded"):
        return False
    if not opens.complete:
        return tells_of_network(outcome.failure)
    return bool(opens.remote) and _is_for_want_of_network(outcome)


def _is_for_want_of_network(outcome: Outcome) -> bool:
    """Whether a failure may come from a missing network: it says so, or it is none of memory, time and the like."""
    assert outcome.failure is not None
    return tells_of_network(outcome.failure) or not outcome.circumstance
