"""How long a step really lasted, where the files say so: time stamps by frame, else duration and number of frames.

`data.step_s` is what the user says; this is what the collector noted down. The two are held against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import h5py
import numpy as np
from jaxtyping import Float

from mobile_vla.sources.opening import BrokenEpisode, open_file
from mobile_vla.sources.schema import Episode

Source = Literal["timestamps", "total_duration"]
TIMES, DURATION, NUM_FRAMES = "timestamps", "total_duration", "num_frames"
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


def read_steps(episode: Episode) -> tuple[Source, Float[np.ndarray, " steps"]] | None:
    """What one file says, in seconds; None where it says nothing that can be read."""
    try:
        with open_file(episode.path) as file:
            times = file.get(TIMES)
            if isinstance(times, h5py.Dataset) and times.ndim == 1 and times.dtype.kind in "fiu" and len(times) > 1:
                return "timestamps", np.diff(times[()].astype(np.float64))
            duration, frames = float(file.attrs[DURATION]), float(file.attrs[NUM_FRAMES])  # type: ignore[arg-type]
    except (BrokenEpisode, OSError, RuntimeError, KeyError, TypeError, ValueError):
        return None  # the frames are good: what a collector noted beside them costs no episode
    return ("total_duration", np.array([duration / frames])) if duration > 0 and frames > 0 else None


def measure_steps(episodes: Sequence[Episode]) -> tuple[StepDurations | None, Float[np.ndarray, " steps"]]:
    """All files together, and every duration; None where no file tells."""
    told = [found for found in map(read_steps, episodes) if found is not None]
    measured = np.concatenate([steps for _, steps in told]) if told else np.empty(0)
    measured = measured[np.isfinite(measured)]
    forward = measured[measured > 0]
    if not len(forward):
        return None, forward
    sources: list[Source] = [source for source in get_args(Source) if source in {by for by, _ in told}]
    median = float(np.median(forward))
    return StepDurations(
        source=sources[0] if len(sources) == 1 else "mixed",
        episodes=len(told),
        steps=len(forward),
        median=median,
        p5=float(np.quantile(forward, 0.05)),
        p95=float(np.quantile(forward, 0.95)),
        gaps=float((forward > GAP * median).mean()) if TIMES in sources else None,
        backward=len(measured) - len(forward),
    ), forward
