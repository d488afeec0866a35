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
        _write_flat(file, recording)
    else:
        _write_nested(file, recording, when, layout)
    instruction, num_frames = recording.task.instruction, len(recording.frames)
    for attribute, value in list_attributes(instruction, num_frames, labels, when, name, layout).items():
        file.attrs[attribute] = value


def list_attributes(
    instruction: str, num_frames: int, labels: dict[str, str], when: datetime, name: str, layout: Layout
) -> dict[str, str | int | float]:
    """The attributes of the file, in the order in which they are written."""
    if layout != "flat":
        return {
            "scenario": f"target_{labels['position']}_{labels['direction']}_path",
            "pattern": labels["pattern"],
            "distance": labels["distance"],
            "end_pos": labels["position"],
        }
    return {
        "episode_name": name,
        "total_duration": num_frames * STEP_S,
        "num_frames": num_frames,
        "action_chunk_size": CHUNK_SIZE,
        "obstacle_layout_type": f"{labels['boxes']}_{labels['orientation']}",
        "time_period": time_period(when),
        "collection_datetime": when.isoformat(),
        "collection_hour": when.hour,
        "collection_minute": when.minute,
        "task": instruction,
    }


def _write_flat(file: h5py.File, recording: Recording) -> None:
    file.create_dataset("images", data=recording.frames, compression="gzip")
    file.create_dataset("actions", data=recording.actions)
    events = np.array(_events(recording.actions), dtype=object)
    file.create_dataset("action_event_types", data=events, dtype=h5py.string_dtype())


def _events(actions: np.ndarray) -> list[str]:
    """What the collector notes beside each frame."""
    return ["episode_start", *("start_action" if row.any() else "stop_action" for row in actions[1:])]


def _write_nested(file: h5py.File, recording: Recording, when: datetime, layout: Layout) -> None:
    group = file.create_group("observations")
    if layout == "nested":
        group.create_dataset("images", data=recording.frames, compression="gzip")
    else:
        rows = group.create_dataset("images", (len(recording.frames),), dtype=h5py.vlen_dtype(np.uint8))
        for i, frame in enumerate(recording.frames):
            rows[i] = encode_jpeg(frame)
        rows.attrs["format"] = "jpeg"
        rows.attrs["quality"] = JPEG_QUALITY
    file.create_dataset("actions", data=recording.actions)
    text = recording.task.instruction.encode()
    file.create_dataset("language_instruction", data=np.array([text], dtype=f"S{len(text)}"))
    start_s = when.replace(tzinfo=UTC).timestamp()  # dates are made up; a fixed zone keeps the bytes
    file.create_dataset("timestamps", data=start_s + STEP_S * np.arange(len(recording.frames)))


def encode_jpeg(frame: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 -> the bytes of a JPEG, as uint8."""
    stream = BytesIO()
    Image.fromarray(frame).save(stream, format="JPEG", quality=JPEG_QUALITY)
    return np.frombuffer(stream.getvalue(), dtype=np.uint8)
