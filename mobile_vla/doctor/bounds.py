"""Do the actions fit their bounds, and does no loss fall on padding?

In: the action space, the velocities of episodes, a batch. Out: findings.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch
from mobile_vla.doctor.finding import Finding
from mobile_vla.sources.schema import Episode

MARGIN = 1.05  # in normalised units: held-out episodes may go a little beyond the bounds of the training ones
OUTSIDE = 0.02  # share of entries beyond the margin that is too many
USED = 0.25  # share of the range that the actions should at least span
UNIT = (-1.0, 1.0)


class _Fault(NamedTuple):
    """What bounds may have, in words; `seen` with the numbers of a finding to fill in."""

    name: str
    seen: str
    means: str
    remedy: str


CLIPPED = _Fault(
    "actions_clipped",
    "{outside:.0%} of them lie beyond -1 and 1",
    "the head was trained on clipped velocities: their scale is lost, and it cannot ask for more",
    "retrain with bounds from the data (leave data.bounds away)",
)
TOO_NARROW = _Fault(
    "actions_outside_bounds",
    "{outside:.0%} of them lie outside",
    "the head puts out nothing beyond its bounds and cannot reach them, so part of every loss stays",
    "leave data.bounds away, or widen them; for other data see whether it has other units",
)
FAR_OUTSIDE = TOO_NARROW._replace(  # for a head whose output has no bounds
    means="normalised they lie beyond -1 and 1, and their errors outweigh all others"
)
TOO_WIDE = _Fault(
    "bounds_too_wide",
    "they use {used:.0%} of the range",
    "all actions look nearly the same to the loss, and little is learnt from their differences",
    "leave data.bounds away, or narrow them; for other data see whether it has other units",
)


def judge_bounds(space: ActionSpace, velocities: Float[np.ndarray, "n A"], bounded: bool = True) -> list[Finding]:
    """Of each component: entries beyond its bounds, bounds that are clipped units, and bounds that are too wide.

    bounded  whether the head can put out nothing beyond them: only then is it an error where the actions go further
    """
    findings = []
    normalized = space.normalize(velocities.astype(np.float64))
    for a, name in enumerate(space.components):
        low, high = space.low[a], space.high[a]
        least, largest = float(velocities[:, a].min()), float(velocities[:, a].max())
        outside = float((np.abs(normalized[:, a]) > MARGIN).mean())
        used = float(np.ptp(normalized[:, a])) / 2
        if outside > OUTSIDE:
            fault = FAR_OUTSIDE if not bounded else CLIPPED if (low, high) == UNIT else TOO_NARROW
        elif used < USED:
            fault = TOO_WIDE
        else:
            continue
        numbers = {
            "component": name, "low": low, "high": high, "least": least, "largest": largest,
            "outside": outside, "used": used,
        }  # fmt: skip
        said = f"{name}: bounds {low:g} to {high:g}, actions {least:g} to {largest:g}"
        findings.append(
            Finding(
                name=fault.name,
                severity="warning" if fault is FAR_OUTSIDE else "error",
                what=f"{said}; {fault.seen.format(**numbers)}",
                means=fault.means,
                remedy=fault.remedy,
                numbers=numbers,
            )
        )
    return findings


def judge_padding(batch: Batch, episodes: Sequence[Episode]) -> list[Finding]:
    """The mask of the chunks against the episodes' own lengths and known actions."""
    known: Mapping[str, np.ndarray] = {episode.id: episode.action_known for episode in episodes}
    entries = trained_on = 0
    for window, masks in zip(batch.windows.tolist(), batch.chunk_mask.tolist(), strict=True):
        for pair, mask in zip(window, masks, strict=True):
            for step, valid in enumerate(mask):
                there = False
                if pair >= 0:
                    here = known[batch.pair_id[pair].episode]
                    frame = batch.pair_id[pair].frame + step
                    there = frame < len(here) and bool(here[frame])
                entries += not there
                trained_on += valid and not there
    if not trained_on:
        return []
    return [
        Finding(
            name="padding_trained_on",
            severity="error",
            what=f"{trained_on} of {entries} chunk entries beyond their episode's end are not masked",
            means="the loss takes padding for actions, and the policy learns to stop there",
            remedy="look at how data/windows.py masks what lies beyond the end",
            numbers={"padding": entries, "not_masked": trained_on},
        )
    ]
