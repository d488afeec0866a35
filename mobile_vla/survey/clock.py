"""How long a step really lasted, where recordings say so: time stamps by frame, else duration and number of frames.

`data.step_s` is what the user says; this is what the collector noted down. The two are held against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from mobile_vla.sources.schema import Episode

Source = Literal["timestamps", "total_duration"]
GAP = 2.0  # times the median: a step that long has lost a frame


@dataclass(frozen=True, kw_only=True)
class StepDurations:
    """Seconds from one frame to the next, of the episodes whose files tell.

    source    what they tell it by (`mixed` where files differ);  episodes  how many do
    steps     durations that were measured: one for each frame but the first, or one an episode by `total_duration`
    gaps      share of the steps that last more than twice the median; None where steps were not measured one by one
    backward  steps that do not go forward in time; they are in no other number
    """

    source: Literal["timestamps", "total_duration", "mixed"]
    episodes: int
    steps: int
    median: float
    p5: float
    p95: float
    gaps: float | None
    backward: int


def measure_steps(episodes: Sequence[Episode]) -> tuple[StepDurations | None, Float[np.ndarray, " steps"]]:
    """All recordings together, and every duration; None where none tells."""
    told = [steps for episode in episodes if (steps := episode.reader.steps()) is not None]
    measured = np.concatenate([steps.seconds for steps in told]) if told else np.empty(0)
    measured = measured[np.isfinite(measured)]
    forward = measured[measured > 0]
    if not len(forward):
        return None, forward
    sources: list[Source] = [source for source in get_args(Source) if source in {steps.source for steps in told}]
    median = float(np.median(forward))
    return StepDurations(
        source=sources[0] if len(sources) == 1 else "mixed",
        episodes=len(told),
        steps=len(forward),
        median=median,
        p5=float(np.quantile(forward, 0.05)),
        p95=float(np.quantile(forward, 0.95)),
        gaps=float((forward > GAP * median).mean()) if "timestamps" in sources else None,
        backward=len(measured) - len(forward),
    ), forward
