"""The HDF5 layouts, told apart by looking at the file: which datasets hold frames, actions and instruction.

A layout is a declaration: to add one, add an entry to `LAYOUTS`; whether frames are raw or JPEG rows is seen from the
dataset itself. Everything that is read here is checked here: what cannot be trained on is a `BrokenEpisode` whose
message says what was expected and what came.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from io import BytesIO
from typing import Any, Literal

import h5py
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mobile_vla.core.actions import COMPONENTS
from mobile_vla.sources.reader import check_actions
from mobile_vla.sources.schema import BrokenEpisode, printable, told


@dataclass(frozen=True)
class Text:
    """Where a text may be: a dataset, or an attribute of the file.

    strict  whether something else than text there is a fault, or no text
    """

    name: str
    attribute: bool = False
    strict: bool = True


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the files of one kind keep what.

    frames       dataset of (N, height, width, 3) uint8, or of rows with one JPEG each
    actions      dataset of (N, A) numbers;  action_names  of its columns
    instruction  places of which the first text that is not blank is meant
    """

    name: str
    frames: str
    actions: str = "actions"
    action_names: tuple[str, ...] = COMPONENTS
    instruction: tuple[Text, ...] = (
        Text("language_instruction"),
        Text("task", attribute=True, strict=False),  # a name that others use for numbers
        Text("language_instruction", attribute=True),
    )


LAYOUTS = (Layout(name="flat", frames="images"), Layout(name="nested", frames="observations/images"))
BLOCK_FRAMES = 8  # read at once, at least: automatic chunks span 3 to 38 frames
BLOCK_BYTES = 2**27  # and at most, so that a long recording does not fill the memory
IMAGE_FORMATS = ("JPEG", "PNG")  # Pillow would try fifty on bytes that are none of them


def detect(file: h5py.File) -> Layout:
    """The layout of an open file: the first whose frames are there; `BrokenEpisode` if none's are."""
    problem: BrokenEpisode | None = None
    for layout in LAYOUTS:
        try:
            frames = _dataset(file, layout.frames)
            if frames is not None:
                encoding_of(frames)
                return layout
        except BrokenEpisode as error:
            problem = problem or error
    raise problem or BrokenEpisode(_missing(file, "frames", [layout.frames for layout in LAYOUTS]))


def frames_of(file: h5py.File, layout: Layout, num_frames: int) -> h5py.Dataset:
    """The frames of a file that was read before; `BrokenEpisode` if it holds others by now."""
    frames = _dataset(file, layout.frames)
    if frames is None:
        raise BrokenEpisode(f"'{layout.frames}' is not there any more")
    encoding_of(frames)
    if len(frames) != num_frames:
        raise BrokenEpisode(f"holds {len(frames)} frames, held {num_frames} before")
    return frames


def encoding_of(frames: h5py.Dataset) -> Literal["raw", "jpeg"]:
    """Raw (N, H, W, 3) uint8, or variable-length uint8 rows with one JPEG each."""
    row_type = h5py.check_vlen_dtype(frames.dtype)
    if row_type is not None and np.dtype(row_type) == np.uint8 and frames.ndim == 1:
        return "jpeg"
    shape = frames.shape or ()  # a null dataset has none
    if frames.dtype == np.uint8 and len(shape) == 4 and shape[-1] == 3 and 0 not in shape[1:]:
        return "raw"
    expected = "expected (N, height, width, 3) uint8 or JPEG rows"
    raise BrokenEpisode(f"frames: {expected}, got {_described(frames)}{_kind_of_frames(shape)}")


def block_length(frames: h5py.Dataset) -> int:
    """How many frames to read at once: whole chunks of the file, since each is decompressed as a whole."""
    chunk = frames.chunks[0] if frames.chunks else 1
    whole = chunk * -(-BLOCK_FRAMES // chunk)
    if encoding_of(frames) == "jpeg":
        return 2 * BLOCK_FRAMES  # rows lie in a heap, whatever the chunks
    return max(1, min(whole, BLOCK_BYTES // int(np.prod(frames.shape[1:]))))


def read_frames(frames: h5py.Dataset, low: int, high: int) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Frames low ... high - 1, RGB, in one read."""
    try:
        rows = frames[low:high]
    except (OSError, RuntimeError) as error:  # h5py's, on damaged chunks
        raise BrokenEpisode(f"frames {low} to {high - 1} cannot be read: {told(error)}") from error
    if encoding_of(frames) == "raw":
        return list(rows)
    return [decode_jpeg(row, index) for index, row in enumerate(rows, start=low)]


def decode_jpeg(row: UInt8[np.ndarray, " bytes"], index: int) -> UInt8[np.ndarray, "height width 3"]:
    """Grey, PNG and rows of another size than the first are odd, but frames all the same."""
    try:
        with Image.open(BytesIO(row.tobytes()), formats=IMAGE_FORMATS) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise BrokenEpisode(f"frame {index} is no readable JPEG ({len(row)} bytes)") from error


def frame_resolution(frames: h5py.Dataset) -> tuple[int, int]:
    """(height, width) of the first frame."""
    if encoding_of(frames) == "raw":
        return int(frames.shape[1]), int(frames.shape[2])
    height, width, _ = decode_jpeg(frames[0], 0).shape
    return height, width


def read_actions(file: h5py.File, layout: Layout, largest: float = float("inf")) -> Float[np.ndarray, "N A"]:
    """All components in float32, as recorded; `BrokenEpisode` for a wrong shape, or values that are not finite or
    larger than `largest` (data.max_action)."""
    actions, names = _dataset(file, layout.actions), layout.action_names
    if actions is None:
        raise BrokenEpisode(_missing(file, "actions", [layout.actions]))
    shape = actions.shape or ()
    if len(shape) != 2 or shape[1] != len(names) or actions.dtype.kind not in "fiu":
        raise BrokenEpisode(f"actions: expected (N, {len(names)}) numbers, got {_described(actions)}")
    values = actions[()].astype(np.float64)
    check_actions(values, names, largest)
    return values.astype(np.float32)


def read_instruction(file: h5py.File, layout: Layout) -> str | None:
    """The file's own instruction; None where there is none."""
    found = [(place, entry) for place in layout.instruction for entry in _entries(file, place)]
    for place, entry in found:
        if not isinstance(entry, str | bytes):
            if not place.strict:
                continue
            raise BrokenEpisode(f"instruction: expected text, got {type(entry).__name__} {entry!r:.40}")
        text = _utf8(entry).strip()
        if text:
            return text
    return None


def _entries(file: h5py.File, place: Text) -> list[Any]:
    """All values there, in order."""
    if place.attribute:
        if place.name not in file.attrs or isinstance(value := file.attrs[place.name], h5py.Empty):
            return []
        return np.ravel(np.asarray(value, dtype=object)).tolist()
    dataset = _dataset(file, place.name)
    return np.ravel(dataset[()]).tolist() if dataset is not None and dataset.size else []


def _utf8(value: str | bytes) -> str:
    """h5py hands out what is not UTF-8 as bytes, or as text with lone surrogates."""
    raw = value.encode("utf-8", errors="surrogateescape") if isinstance(value, str) else value
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenEpisode(f"instruction: not UTF-8 ({raw[:20]!r})") from error


def _dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """The dataset, or None where nothing (or a group) has that name; `BrokenEpisode` for a link that leads nowhere.

    Data in another file is refused: packed copies and remembered examinations are known by this file's size and time.
    """
    found = file.get(name)
    link = file.get(name, getlink=True)
    target = getattr(link, "filename", None) or getattr(link, "path", None)
    if found is None and target is not None:
        raise BrokenEpisode(f"'{name}' is a dangling link to '{printable(str(target))}'")
    if not isinstance(found, h5py.Dataset):
        return None
    if found.file.filename != file.filename or found.is_virtual or found.external:
        raise BrokenEpisode(f"'{name}' lies in another file; expected it in this one (copy it with h5repack or h5py)")
    return found


def _missing(file: h5py.File, what: str, expected: list[str]) -> str:
    """What was expected, and the nearest name that is there; most often a dataset is misnamed."""
    names = sorted({printable(name) for name in _names(file)})
    near = get_close_matches(expected[0], names, 1) or get_close_matches(expected[-1], names, 1)
    groups = [name for name in expected if isinstance(file.get(name), h5py.Group)]
    hint = f"'{groups[0]}' is a group; " if groups else f"the nearest is '{near[0]}'; " if near else ""
    wanted = " or ".join(f"'{name}'" for name in expected)
    return f"no {what}: expected a dataset {wanted}; {hint}the file holds {names[:8]}"


def _names(file: h5py.File) -> Iterator[str]:
    """Two levels deep, groups by what they hold."""
    for name in map(str, file):
        inside = file.get(name)
        children = [f"{name}/{child}" for child in map(str, inside)] if isinstance(inside, h5py.Group) else []
        yield from children or [name]


def _described(dataset: h5py.Dataset) -> str:
    row_type = h5py.check_vlen_dtype(dataset.dtype)
    dtype = str(dataset.dtype) if row_type is None else f"rows of {row_type}"
    return f"an empty dataset of {dtype}" if dataset.shape is None else f"{dataset.shape} {dtype}"


def _kind_of_frames(shape: tuple[int, ...]) -> str:
    """What such a shape usually is, for the reader of the reason."""
    if len(shape) == 3 or (len(shape) == 4 and shape[-1] == 1):
        return " (grey frames?)"
    if len(shape) == 4 and shape[-1] == 4:
        return " (with an alpha channel?)"
    if len(shape) == 4 and shape[1] == 3:
        return " (channels first?)"
    return ""
