"""Frames of an episode, resized and uint8: straight from the HDF5 file, or from a packed copy made once.

Reading one frame of a gzip-compressed file decompresses several, so a span of frames is always one read. Packed
frames are one memory-mapped `.npy` an episode, called by a hash of what its content depends on (file, its size and
time of change, preprocessing), written beside and renamed: whoever finds the name finds the whole content, any
number of processes may share the folder, and a killed writer leaves nothing that is read.
"""

import hashlib
import os
from collections import OrderedDict
from pathlib import Path
from typing import Protocol, runtime_checkable

import h5py
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mobile_vla.data.layouts import BrokenEpisode, read_frames
from mobile_vla.data.schema import Episode
from mobile_vla.preprocessing import Preprocessing

MAX_OPEN = 64  # files or maps held open by a process


@runtime_checkable
class FrameSource(Protocol):
    """Anything that hands out frames low ... high - 1 of an episode as the model's preprocessing wants them."""

    def read(self, episode: Episode, low: int, high: int) -> UInt8[Tensor, "n size size 3"]: ...


class FileFrames:
    """Reads the HDF5 files; they are opened when first needed, by each process for itself."""

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing
        self._open: OrderedDict[Path, h5py.File] = OrderedDict()

    def read(self, episode: Episode, low: int, high: int) -> UInt8[Tensor, "n size size 3"]:
        """`BrokenEpisode` if the file turns out to be damaged."""
        try:
            dataset = self._file(episode.path)[episode.frames_at]
            assert isinstance(dataset, h5py.Dataset), "the scan has seen that it is one"
            frames = read_frames(dataset, low, high)
        except (OSError, RuntimeError, KeyError) as error:
            raise BrokenEpisode(f"frames {low} to {high - 1} cannot be read: {error}") from error
        return torch.cat([self.preprocessing.resize(torch.from_numpy(frame)[None]) for frame in frames])

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, path: Path) -> h5py.File:
        if path not in self._open:
            while len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[path] = h5py.File(path, "r")
        self._open.move_to_end(path)
        return self._open[path]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": OrderedDict()}  # handles never travel to another process


class PackedFrames:
    """Reads packed copies, and makes the one that is missing."""

    def __init__(self, preprocessing: Preprocessing, folder: Path):
        self.preprocessing = preprocessing
        self.folder = folder
        self._maps: OrderedDict[str, np.ndarray] = OrderedDict()

    def read(self, episode: Episode, low: int, high: int) -> UInt8[Tensor, "n size size 3"]:
        return torch.from_numpy(np.array(self._map(episode)[low:high]))

    def has(self, episode: Episode) -> bool:
        return self.path(episode).is_file()

    def path(self, episode: Episode) -> Path:
        """Where the packed copy of the file, as it is now, belongs."""
        stat = episode.path.stat()
        content = (
            str(episode.path.resolve()),
            stat.st_size,
            stat.st_mtime_ns,
            episode.frames_at,
            self.preprocessing.size,
            self.preprocessing.interpolation,
        )
        key = hashlib.sha256(repr(content).encode()).hexdigest()[:32]
        return self.folder / key[:2] / f"{key}.npy"

    def pack(self, episode: Episode) -> None:
        """Decode and resize all frames of one episode; `BrokenEpisode` if the file turns out to be damaged."""
        source = FileFrames(self.preprocessing)
        try:
            frames = source.read(episode, 0, episode.num_frames).numpy()
        finally:
            source.close()
        target = self.path(episode)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.stem}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.save(file, frames)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _map(self, episode: Episode) -> np.ndarray:
        if episode.id not in self._maps:
            if not self.has(episode):
                self.pack(episode)
            while len(self._maps) >= MAX_OPEN:
                self._maps.popitem(last=False)
            self._maps[episode.id] = np.load(self.path(episode), mmap_mode="r")
        self._maps.move_to_end(episode.id)
        return self._maps[episode.id]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_maps": OrderedDict()}
