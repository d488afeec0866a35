"""What a collector noted down of time in an HDF5 file: stamps by frame, else the duration of the whole."""

from pathlib import Path

import h5py
import numpy as np

from mobile_vla.sources.hdf5.opening import open_file
from mobile_vla.sources.reader import Steps
from mobile_vla.sources.schema import BrokenEpisode

TIMES, DURATION, NUM_FRAMES = "timestamps", "total_duration", "num_frames"


def read_steps(path: Path) -> Steps | None:
    """None where the file says nothing that can be read."""
    try:
        with open_file(path) as file:
            times = file.get(TIMES)
            if isinstance(times, h5py.Dataset) and times.ndim == 1 and times.dtype.kind in "fiu" and len(times) > 1:
                return Steps(source="timestamps", seconds=np.diff(times[()].astype(np.float64)))
            duration, frames = float(file.attrs[DURATION]), float(file.attrs[NUM_FRAMES])  # type: ignore[arg-type]
    except (BrokenEpisode, OSError, RuntimeError, KeyError, TypeError, ValueError):
        return None  # the frames are good: what a collector noted beside them costs no episode
    if duration > 0 and frames > 0:
        return Steps(source="total_duration", seconds=np.array([duration / frames]))
    return None
