"""Reads one HDF5 file as an episode."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float

from mobile_vla.sources.hdf5.clock import read_steps
from mobile_vla.sources.hdf5.labels import read_labels
from mobile_vla.sources.hdf5.layouts import (
    Layout,
    block_length,
    detect,
    encoding_of,
    frame_resolution,
    frames_of,
    read_actions,
    read_frames,
    read_instruction,
)
from mobile_vla.sources.hdf5.opening import open_file, reading
from mobile_vla.sources.reader import Conventions, EpisodeReader, Facts, Frame, OpenEpisode, Steps, file_state
from mobile_vla.sources.schema import BrokenEpisode


@dataclass(frozen=True, kw_only=True, eq=False)
class Hdf5Reader(EpisodeReader):
    """layout, num_frames  what the file was found to hold; None and 0 before it was looked into"""

    layout: Layout | None = None
    num_frames: int = 0

    def read(self) -> Facts:
        conventions = self.root or Conventions()
        with open_file(self.path) as file, reading():
            layout = detect(file)
            frames = file[layout.frames]
            assert isinstance(frames, h5py.Dataset), "detect has seen that it is one"
            encoding = encoding_of(frames)
            if len(frames) == 0:
                raise BrokenEpisode("no frames: the file holds 0")
            actions = read_actions(file, layout, conventions.max_action)
            if len(actions) != len(frames):
                raise BrokenEpisode(f"{len(frames)} frames but {len(actions)} actions; expected one action a frame")
            return Facts(
                num_frames=len(frames),
                actions=actions,
                action_names=layout.action_names,
                labels=read_labels(self.path.stem, file.attrs),
                instruction=read_instruction(file, layout),
                resolution=frame_resolution(frames),
                layout=layout.name,
                encoding=encoding,
                reader=replace(self, layout=layout, num_frames=len(frames)),
            )

    def frames(self, low: int, high: int) -> list[Frame]:
        with self.opened() as opened:
            return opened.frames(low, high)

    @contextmanager
    def opened(self) -> Iterator["OpenFile"]:
        assert self.layout is not None, "read before"
        with open_file(self.path) as file:
            yield OpenFile(file, self.layout, self.num_frames)

    def identity(self) -> tuple[object, ...]:
        assert self.layout is not None, "read before"
        try:
            return (*file_state(self.path), self.layout.frames)
        except OSError:
            open_file(self.path).close()  # says why in the words of a fault
            raise

    def file(self) -> Path:
        return self.path

    def steps(self) -> Steps | None:
        return read_steps(self.path)


class OpenFile(OpenEpisode):
    """A file that was read before, open; `BrokenEpisode` where it holds something else by now."""

    def __init__(self, file: h5py.File, layout: Layout, num_frames: int):
        self.file = file
        self.layout = layout
        self.num_frames = num_frames
        self.checked = False

    def _dataset(self) -> h5py.Dataset:
        """Checked once, but looked up anew: HDF5 goes through all open objects, of all files, when it closes one."""
        with reading():
            if self.checked:
                return self.file[self.layout.frames]  # pyright: ignore[reportReturnType]
            found = frames_of(self.file, self.layout, self.num_frames)
            self.checked = True
            return found

    def block(self) -> int:
        return block_length(self._dataset())

    def actions(self) -> Float[np.ndarray, "N A"]:
        with reading():
            return read_actions(self.file, self.layout)

    def frames(self, low: int, high: int) -> list[Frame]:
        return read_frames(self._dataset(), low, high)
