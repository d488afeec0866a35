"""The lab's HDF5 layouts, told apart by looking at the file: which datasets hold frames, actions and instruction.

To add a layout, add an entry to `LAYOUTS`; whether frames are raw or JPEG rows is seen from the dataset itself.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import h5py
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mobile_vla.actions import COMPONENTS


class BrokenEpisode(ValueError):
    """A file that cannot be trained on; its message is the reason."""


@dataclass(frozen=True)
class Layout:
    """Where a layout keeps its frames; actions are at `actions` in all of them."""

    name: Literal["flat", "nested"]
    frames_at: str


LAYOUTS = (Layout("flat", "images"), Layout("nested", "observations/images"))
INSTRUCTION_DATASET = "language_instruction"
INSTRUCTION_ATTRIBUTES = ("task", "language_instruction")


def detect(file: h5py.File) -> Layout:
    """The layout of an open file; `BrokenEpisode` names what the file holds instead."""
    for layout in LAYOUTS:
        if isinstance(file.get(layout.frames_at), h5py.Dataset):
            return layout
    expected = " or ".join(f"'{layout.frames_at}'" for layout in LAYOUTS)
    raise BrokenEpisode(f"no frames: expected a dataset {expected}, the file holds {_names(file)}")


def encoding_of(frames: h5py.Dataset) -> Literal["raw", "jpeg"]:
    """Raw (N, H, W, 3) uint8, or variable-length uint8 rows with one JPEG each."""
    row_type = h5py.check_vlen_dtype(frames.dtype)
    if row_type is not None and np.dtype(row_type) == np.uint8 and frames.ndim == 1:
        return "jpeg"
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape[1:]:
        raise BrokenEpisode(
            f"frames: expected (N, height, width, 3) uint8 or JPEG rows, got {frames.shape} {frames.dtype}"
        )
    return "raw"


def read_frames(frames: h5py.Dataset, low: int, high: int) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Frames low ... high - 1, RGB, in one read."""
    if encoding_of(frames) == "raw":
        return list(frames[low:high])
    return [decode_jpeg(row, index) for index, row in enumerate(frames[low:high], start=low)]


def decode_jpeg(row: UInt8[np.ndarray, " bytes"], index: int) -> UInt8[np.ndarray, "height width 3"]:
    try:
        with Image.open(BytesIO(row.tobytes())) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise BrokenEpisode(f"frame {index} is no readable JPEG ({len(row)} bytes)") from error


def frame_resolution(frames: h5py.Dataset) -> tuple[int, int]:
    """(height, width), without decoding more than one header."""
    if encoding_of(frames) == "raw":
        return int(frames.shape[1]), int(frames.shape[2])
    try:
        with Image.open(BytesIO(frames[0].tobytes())) as image:
            return image.height, image.width
    except (OSError, SyntaxError) as error:
        raise BrokenEpisode("frame 0 is no readable JPEG") from error


def read_actions(file: h5py.File) -> Float[np.ndarray, "N 3"]:
    """All components in float32; `BrokenEpisode` for a wrong shape or values that are not finite."""
    actions = file.get("actions")
    if not isinstance(actions, h5py.Dataset):
        raise BrokenEpisode(f"no actions: expected a dataset 'actions', the file holds {_names(file)}")
    if actions.ndim != 2 or actions.shape[1] != len(COMPONENTS) or actions.dtype.kind not in "fiu":
        raise BrokenEpisode(f"actions: expected (N, {len(COMPONENTS)}) numbers, got {actions.shape} {actions.dtype}")
    values = actions[()].astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise BrokenEpisode(f"actions: not finite in {bad.size} of {len(values)} rows (first: {bad[0]})")
    return values


def read_instruction(file: h5py.File) -> str | None:
    """The file's own instruction: the dataset of v5, else an attribute; None where there is none."""
    found: list[Any] = []
    dataset = file.get(INSTRUCTION_DATASET)
    if isinstance(dataset, h5py.Dataset) and dataset.size:
        found.append(np.ravel(dataset[()])[0])
    found += [file.attrs[name] for name in INSTRUCTION_ATTRIBUTES if name in file.attrs]
    for value in found:
        if isinstance(value, h5py.Empty):
            continue
        text = as_text(value, "instruction").strip()
        if text:
            return text
    return None


def _names(file: h5py.File) -> list[str]:
    return sorted(map(str, file))[:6]


def as_text(value: Any, what: str) -> str:
    """An HDF5 string (bytes, str, or an array of one) as text; `BrokenEpisode` if it is not UTF-8."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BrokenEpisode(f"{what}: not UTF-8 ({value[:20]!r})") from error
    return str(value)
