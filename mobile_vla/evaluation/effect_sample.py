"""The windows that effects are followed on while training runs: the same at every validation, of every resume.

In: episodes, who lends images to whom. Out: batches of windows. Episodes that lend each other their images are run
together, so that hardly a frame is shown that the windows as recorded have not shown.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from mobile_vla.data.requests import WindowRequest
from mobile_vla.data.windows import WindowConfig
from mobile_vla.interventions.drawing import Donors, draw_units
from mobile_vla.sources.schema import Episode

MOST_WINDOWS = 16  # of an episode, evenly from its first to its last

Windows = list[WindowRequest]


def sample_windows(
    episodes: Sequence[Episode], donors: Donors, config: WindowConfig, count: int, most_frames: int
) -> list[Windows]:
    """Of at most `count` episodes; a batch holds no more distinct frames than `most_frames`, or a single window."""
    units = [_windows_of(unit, episodes, config) for unit in draw_units(episodes, donors, count)]
    parts = [part for unit in units for part in _join([[window] for window in unit], config.window, most_frames)]
    return list(_join(parts, config.window, most_frames))


def _windows_of(unit: Sequence[int], episodes: Sequence[Episode], config: WindowConfig) -> Windows:
    """By progress: partners that are cut apart still show each other's frames."""
    found = []
    for index in unit:
        starts = config.starts(episodes[index].num_frames)
        places = np.linspace(0, len(starts) - 1, min(len(starts), MOST_WINDOWS)).round().astype(int)
        found += [(place / len(starts), index, starts[place]) for place in places]
    return [WindowRequest(episode=index, start=start) for _, index, start in sorted(found)]


def _join(parts: Sequence[Windows], window: int, most_frames: int) -> Iterator[Windows]:
    """Neighbours together, as long as there is room for their frames."""
    joined: Windows = []
    frames: set[tuple[int, int]] = set()
    for part in parts:
        more = {(one.episode, frame) for one in part for frame in range(one.start, one.start + window)}
        if joined and len(frames | more) > most_frames:
            yield joined
            joined, frames = [], set()
        joined, frames = [*joined, *part], frames | more
    if joined:
        yield joined
