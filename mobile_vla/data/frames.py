"""Frames of an episode, resized and uint8: straight from its source, or from a packed copy made once.

Reading one frame of a gzip-compressed file decompresses several, so a span of frames is always one read. Packed
frames are one memory-mapped `.npy` an episode, called by a hash of what its content depends on (its identity, as of a
file the size and time of change, and preprocessing), written beside and renamed: whoever finds the name finds the whole
content, any number of processes and machines may share the folder, and a killed writer leaves nothing that is read.
Beside it lies where it comes from (`origins`). A copy that is damaged all the same is made anew; only what is wrong
with the recording itself is a `BrokenEpisode`.

Sources may be read by several threads: a loader reads ahead while training goes on.
"""

import os
import platform
import threading
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mobile_vla.core.errors import UserError
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.examination import Examination, Examinations, content_key
from mobile_vla.data.packed.mapping import MAX_MAPS, map_npy
from mobile_vla.data.packed.marks import write_header
from mobile_vla.data.packed.origins import PREFIX, Origin, write_origin
from mobile_vla.sources.reader import OpenEpisode, read_frames
from mobile_vla.sources.schema import BrokenEpisode, Episode

MAX_OPEN = 64  # episodes held open by a process
EXAMINED = "examined"  # below the folder of packed frames: what is known of each episode


@runtime_checkable
class FrameSource(Protocol):
    """Anything that hands out frames low ... high - 1 of an episode as the model's preprocessing wants them."""

    def read(self, episode: Episode, low: int, high: int) -> UInt8[Tensor, "n size size 3"]: ...


class RecordedFrames:
    """Reads what was recorded; episodes are opened when first needed, by each process for itself."""

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing
        self._open: OrderedDict[str, tuple[ExitStack, OpenEpisode]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, episode: Episode, low: int, high: int) -> UInt8[Tensor, "n size size 3"]:
        """`BrokenEpisode` if the recording turns out to be damaged, or to be another one by now."""
        with self._lock:
            frames = read_frames(self._opened(episode), low, high)
        return torch.cat([resized(frame, self.preprocessing) for frame in frames])

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1][0].close()

    def _opened(self, episode: Episode) -> OpenEpisode:
        if episode.id not in self._open:
            while len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1][0].close()
            stack = ExitStack()
            self._open[episode.id] = stack, stack.enter_context(episode.reader.opened())
        self._open.move_to_end(episode.id)
        return self._open[episode.id][1]

    def __getstate__(self) -> dict:
        # Neither handles nor locks travel to another process.
        return {name: value for name, value in self.__dict__.items() if name not in ("_open", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _open=OrderedDict(), _lock=threading.Lock())


class PackedFrames:
    """Reads packed copies, and makes the one that is missing or damaged."""

    def __init__(self, preprocessing: Preprocessing, folder: Path):
        self.preprocessing = preprocessing
        self.folder = folder
        self.examinations = Examinations(folder / EXAMINED)
        self._maps: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, episode: Episode, low: int, high: int) -> UInt8[Tensor, "n size size 3"]:
        """`BrokenEpisode` if there is no copy yet, and the recording is gone, damaged, or another one by now."""
        with self._lock:
            packed = self._map(episode)
        return torch.from_numpy(np.array(packed[low:high]))

    def has(self, episode: Episode) -> bool:
        """Whether the whole copy of the episode, as it is now, is there."""
        return self._load(episode) is not None

    def path(self, episode: Episode) -> Path:
        """Where the packed copy of the episode, as it is now, belongs."""
        key = content_key(episode, self.preprocessing.size, self.preprocessing.interpolation)
        return self.folder / key[:2] / f"{key}.npy"

    def pack(self, episode: Episode) -> Examination:
        """Decode and resize all frames of one episode, and examine them in the same pass.

        A copy is left only if the examination found no fault; `BrokenEpisode` if the episode cannot be read.
        """
        target = self.path(episode)  # from before it is read: a file that changes meanwhile has another
        origin = Origin.of(episode)
        part = target.with_name(f".{target.stem}.{platform.node()}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("wb") as file:
                    write_header(file, (self._shape(episode), "|u1"), f"{PREFIX}{target.stem}")
                    examination = self.examinations.examine(
                        episode, lambda frame: file.write(resized(frame, self.preprocessing).numpy().tobytes())
                    )
                if examination.fault is None:
                    if origin is not None:
                        write_origin(target, origin)
                    part.replace(target)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return examination

    def _map(self, episode: Episode) -> np.ndarray:
        if episode.id not in self._maps:
            packed = self._load(episode)
            found = self.pack(episode) if packed is None else self.examinations.find(episode)
            if found is not None:
                refuse_other_content(episode, found)
            if packed is None and (packed := self._load(episode)) is None:
                raise BrokenEpisode("changed while it was read")
            while len(self._maps) >= MAX_MAPS:
                self._maps.popitem(last=False)
            self._maps[episode.id] = packed
        self._maps.move_to_end(episode.id)
        return self._maps[episode.id]

    def _load(self, episode: Episode) -> np.ndarray | None:
        """The copy, mapped; None where there is none, or none that is whole."""
        packed = map_npy(self.path(episode))
        whole = packed is not None and packed.shape == self._shape(episode) and packed.dtype == np.uint8
        return packed if whole else None

    def _shape(self, episode: Episode) -> tuple[int, int, int, int]:
        return episode.num_frames, self.preprocessing.size, self.preprocessing.size, 3

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ("_maps", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _maps=OrderedDict(), _lock=threading.Lock())


def resized(frame: UInt8[np.ndarray, "height width 3"], preprocessing: Preprocessing) -> UInt8[Tensor, "1 size size 3"]:
    """Frame by frame: the frames of an episode may differ in size."""
    return preprocessing.resize(torch.from_numpy(frame)[None])


def refuse_other_content(episode: Episode, found: Examination) -> None:
    """`BrokenEpisode` if the episode, read anew, does not hold what was examined when its dataset was opened."""
    if found.fault is not None:
        raise BrokenEpisode(found.fault)
    if episode.fingerprint and found.fingerprint != episode.fingerprint:
        raise BrokenEpisode("changed since it was examined: holds other frames or actions")


def cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"data.pack_dir: cannot write below {folder} ({error.strerror or error}); set data.pack_dir to a folder with "
        "room that you may write to"
    )
