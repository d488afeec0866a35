"""The source `synthetic`: episodes straight from the hall, without files.

They are those that `mobile-vla synth` with the same settings writes and the source `hdf5` reads back, to the bit: ids,
frames, actions, instructions, labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from mobile_vla.core.actions import COMPONENTS
from mobile_vla.sources.hdf5.labels import read_labels
from mobile_vla.sources.hdf5.layouts import decode_jpeg
from mobile_vla.sources.reader import EpisodeReader, Facts, Frame, OpenEpisode, Root
from mobile_vla.sources.source import EpisodeSource
from mobile_vla.sources.synthetic.episode import Drive, Task, drive_task, film, make_task
from mobile_vla.sources.synthetic.layouts import encode_jpeg, list_attributes
from mobile_vla.sources.synthetic.naming import file_name, labels_of, recorded_at
from mobile_vla.sources.synthetic.scene import STEP_S
from mobile_vla.sources.synthetic.settings import HallConfig

VERSION = 1  # to be raised when the hall looks or is driven otherwise: copies of its frames are outdated then


@dataclass(frozen=True, kw_only=True)
class SyntheticSource(HallConfig, EpisodeSource):
    """layout: which labels the episodes have, as the names of such files say them; `jpeg` frames are compressed."""

    place: ClassVar[str] = "data.source."
    reads_folders: ClassVar[bool] = False
    name: str = "synthetic"

    def find(self, roots: Sequence[Root]) -> Sequence[EpisodeReader]:
        return [self._make_reader(index) for index in range(self.episodes)]

    def known_components(self) -> tuple[str, ...]:
        return COMPONENTS

    def make_task(self, index: int) -> Task:
        return make_task(self.seed, index, self.world, self.frames)

    def _make_reader(self, index: int) -> "HallReader":
        file = file_name(labels_of(self.make_task(index)), recorded_at(self.seed, index), self.layout)
        id = Path(file).stem
        return HallReader(id=id, path=Path("hall", id), hall=self, index=index)


@dataclass(frozen=True, kw_only=True, eq=False)
class HallReader(EpisodeReader):
    """Drives one episode, and films what is wanted of it."""

    hall: SyntheticSource
    index: int

    def read(self) -> Facts:
        hall, task = self.hall, self.hall.make_task(self.index)
        labels, when = labels_of(task), recorded_at(hall.seed, self.index)
        attributes = list_attributes(task.instruction, hall.frames, labels, when, self.id, hall.layout)
        return Facts(
            num_frames=hall.frames,
            resolution=hall.resolution,
            actions=drive_task(task, hall.frames).actions,
            instruction=task.instruction,
            labels=read_labels(self.id, attributes),
            step_s=STEP_S,
            speed_scale=1.0,
            layout="flat" if hall.layout == "flat" else "nested",
            encoding="jpeg" if hall.layout == "jpeg" else "raw",
        )

    def frames(self, low: int, high: int) -> list[Frame]:
        return OpenDrive(self).frames(low, high)

    @contextmanager
    def opened(self) -> Iterator["OpenDrive"]:
        yield OpenDrive(self)

    def identity(self) -> tuple[object, ...]:
        hall = self.hall
        encoding = "jpeg" if hall.layout == "jpeg" else "raw"
        shown = (hall.resolution, float(hall.noise), encoding)
        return ("hall", VERSION, hall.seed, self.index, hall.world, hall.frames, *shown)


class OpenDrive(OpenEpisode):
    """An episode that is driven once, however many of its frames are filmed."""

    def __init__(self, reader: HallReader):
        self.reader = reader

    @cached_property
    def driven(self) -> Drive:
        return drive_task(self.reader.hall.make_task(self.reader.index), self.reader.hall.frames)

    def actions(self) -> Float[np.ndarray, "N A"]:
        return self.driven.actions

    def frames(self, low: int, high: int) -> list[Frame]:
        hall = self.reader.hall
        frames = film(self.driven, low, high, resolution=hall.resolution, noise=hall.noise)
        if hall.layout == "jpeg":
            return [decode_jpeg(encode_jpeg(frame), index) for index, frame in enumerate(frames, start=low)]
        return [np.array(frame) for frame in frames]  # Pillow's own may not be written to
