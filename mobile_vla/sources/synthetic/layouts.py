"""The lab's HDF5 layouts, written: `flat` (collector v3), `nested` (v5), and `jpeg` (v5 with JPEG rows).

In: a recording, its labels and date. Out: the content of one file, byte by byte the same for the same input (HDF5
keeps no times here). Frames are compressed with h5py's own gzip level and automatic chunks, as the lab's are.
"""

from datetime import UTC, datetime
from io import BytesIO

import h5py
import numpy as np
from PIL import Image

from mobile_vla.sources.synthetic.episode import Recording
from mobile_vla.sources.synthetic.naming import Layout, time_period
from mobile_vla.sources.synthetic.scene import STEP_S

CHUNK_SIZE = 10  # actions a chunk; what the collector notes down, nothing in the file has that length
JPEG_QUALITY = 90


def write_recording(
    file: h5py.File, recording: Recording, labels: dict[str, str], when: datetime, name: str, layout: Layout
) -> None:
    """Fill an empty file. `name` is the file's name without suffix."""
    if layout == "flat":
        _write_flat(file, recording, labels, when, name)
    else:
        _write_nested(file, recording, labels, when, layout)


def _write_flat(file: h5py.File, recording: Recording, labels: dict[str, str], when: datetime, name: str) -> None:
    num_frames = len(recording.frames)
    file.create_dataset("images", data=recording.frames, compression="gzip")
    file.create_dataset("actions", data=recording.actions)
    events = np.array(_events(recording.actions), dtype=object)
    file.create_dataset("action_event_types", data=events, dtype=h5py.string_dtype())
    file.attrs["episode_name"] = name
    file.attrs["total_duration"] = num_frames * STEP_S
    file.attrs["num_frames"] = num_frames
    file.attrs["action_chunk_size"] = CHUNK_SIZE
    file.attrs["obstacle_layout_type"] = f"{labels['boxes']}_{labels['orientation']}"
    file.attrs["time_period"] = time_period(when)
    file.attrs["collection_datetime"] = when.isoformat()
    file.attrs["collection_hour"] = when.hour
    file.attrs["collection_minute"] = when.minute
    file.attrs["task"] = recording.task.instruction


def _events(actions: np.ndarray) -> list[str]:
    """What the collector notes beside each frame."""
    return ["episode_start", *("start_action" if row.any() else "stop_action" for row in actions[1:])]


def _write_nested(
    file: h5py.File, recording: Recording, labels: dict[str, str], when: datetime, layout: Layout
) -> None:
    group = file.create_group("observations")
    if layout == "nested":
        group.create_dataset("images", data=recording.frames, compression="gzip")
    else:
        rows = group.create_dataset("images", (len(recording.frames),), dtype=h5py.vlen_dtype(np.uint8))
        for i, frame in enumerate(recording.frames):
            rows[i] = _jpeg(frame)
        rows.attrs["format"] = "jpeg"
        rows.attrs["quality"] = JPEG_QUALITY
    file.create_dataset("actions", data=recording.actions)
    text = recording.task.instruction.encode()
    file.create_dataset("language_instruction", data=np.array([text], dtype=f"S{len(text)}"))
    start_s = when.replace(tzinfo=UTC).timestamp()  # dates are made up; a fixed zone keeps the bytes
    file.create_dataset("timestamps", data=start_s + STEP_S * np.arange(len(recording.frames)))
    file.attrs["scenario"] = f"target_{labels['position']}_{labels['direction']}_path"
    file.attrs["pattern"] = labels["pattern"]
    file.attrs["distance"] = labels["distance"]
    file.attrs["end_pos"] = labels["position"]


def _jpeg(frame: np.ndarray) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray(frame).save(stream, format="JPEG", quality=JPEG_QUALITY)
    return np.frombuffer(stream.getvalue(), dtype=np.uint8)
