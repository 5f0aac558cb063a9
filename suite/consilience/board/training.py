"""What training adds on a data set: gains and alignment above free by target, paired discrimination, and its null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from consilience.records.board import Free, Gain, NullGain, PairedDiscrimination, Training
from consilience.records.record import Record
from consilience.records.spec import Measurement
from consilience.scoring.discrimination import null_gains, other_training_sets, paired_discrimination
from consilience.scoring.free import above_free
from consilience.scoring.gain import clear_gains, training_gains


def gains_of(records: Sequence[Record]) -> dict[str, Gain]:
    """Training gain by target, of the records of one data set."""
    gains = training_gains(records)
    clear, stays = clear_gains(gains)
    return {
        name: Gain(
            value=gain.estimate.value,
            low=gain.estimate.low,
            high=gain.estimate.high,
            untrained=gain.untrained,
            seeds=gain.seeds,
            clear=name in clear,
            stays=name in stays,
        )
        for name, gain in gains.items()
    }


def free_of(records: Sequence[Record], measured: Measurement) -> dict[str, Free]:
    """Alignment above free by target, of the records of one data set."""
    descriptors = {one.modality: one.groups for one in measured.free}
    return {
        name: Free(value=one.estimate.value, low=one.estimate.low, high=one.estimate.high, best=one.best)
        for name, one in above_free(records, descriptors).items()
    }


def training_of(records: Sequence[Record], gains: Mapping[str, Gain]) -> Training | None:
    """Figures over the targets of a data set; None where no target has own twins."""
    if not gains:
        return None
    null = null_gains(records)
    paired: dict[str, PairedDiscrimination] = {}
    others: dict[str, PairedDiscrimination] = {}
    for kind in sorted({_kind(record) for record in records if record.target in gains}):

        def is_of_it(record: Record, kind: str = kind) -> bool:
            return _kind(record) == kind

        if (found := paired_discrimination(records, of=is_of_it)) is not None:
            paired[kind] = PairedDiscrimination(**asdict(found))
        if (found := paired_discrimination(records, of=is_of_it, against=other_training_sets)) is not None:
            others[kind] = PairedDiscrimination(**asdict(found))
    return Training(
        paired=paired,
        other_training_sets=others,
        targets=len(gains),
        clear=sum(gain.clear for gain in gains.values()),
        expected_false=0.025 * len(gains),
        stay=sum(gain.stays for gain in gains.values()),
        null=None
        if null is None
        else NullGain(
            comparisons=len(null.values),
            clear=null.clear,
            bound=null.bound,
            above=None if np.isnan(null.above) else null.above,
        ),
    )


def _kind(record: Record) -> str:
    """What is put together: models that read the same, and those of a narrower domain apart."""
    return record.card.domain or record.card.modality
