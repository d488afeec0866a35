"""TensorBoard's view of a store: histograms, the numbers that describe it, and the Projector with labels and pictures.

In: a store, its numbers, and where frames come from. Out: events, and clouds of points for the Projector. A probe and
a training that stores contexts write the same tags, so that one chart shows both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from matplotlib.figure import Figure
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from mobile_vla.contexts.manifest import name_folders
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.rows import LABEL
from mobile_vla.contexts.vectors import spread
from mobile_vla.data.frames import FrameSource
from mobile_vla.display.projector import SUFFIX, Cloud, write_clouds
from mobile_vla.sources.schema import BrokenEpisode, Episode
from mobile_vla.taps.points import list_described

EVENTS = "events.out.tfevents.*"
MOST_ROWS = 5_000  # in the Projector, which is a web page
MOST_VALUES = 4_000_000  # numbers of one tap there, some 40 MB of text
MOST_IN_HISTOGRAM = 1_000_000
NORM_BINS = 51  # the default ones grow exponentially: lengths that differ by a tenth would be in one; odd: no edge amid
NORM_MARGIN = 0.01  # of the largest length: a layer norm's differ by rounding alone, which is no shape to be shown
THUMBNAIL = 48  # pixels a side: 5,000 of them are 3,408 x 3,408 pixels, and a sprite may have 8,192 x 8,192
GREY = 128  # in the place of a picture that is no episode's frame, or cannot be read any more
COLUMNS = ("episode", "frame", "progress", "part", "variant", "instruction")


def tag(tap: str, name: str) -> str:
    """Of a chart."""
    return f"contexts/{tap}/{name}"


class ProbeBoard:
    """Shows one store. by: labels that the rows were chosen by; the first is written at the Projector's points."""

    def __init__(self, store: Store, episodes: Sequence[Episode], frames: FrameSource, by: Sequence[str]):
        self.store, self.frames = store, frames
        self.episodes = {episode.id: episode for episode in episodes}
        first = [name for name in by if name in store.labels]
        others = [name for name in store.labels if name not in first]
        self._columns = (*(LABEL + name for name in first), *COLUMNS, *(LABEL + name for name in others))

    def write(
        self, folder: Path, step: int, numbers: Mapping[str, Mapping[str, float]], figures: Mapping[str, Figure]
    ) -> list[str]:
        """A run of its own. numbers: tap -> name -> value. Returns what of the store is not all shown, in words."""
        for stale in folder.glob(f"{EVENTS}{SUFFIX}"):  # of a call that was killed
            stale.unlink()
        clouds, notes = self.clouds()
        write_clouds(folder, clouds)
        with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
            for name, figure in figures.items():
                writer.add_figure(name, figure, step)
            for tap in list_described(self.store.taps):
                for name, value in numbers[tap].items():
                    writer.add_scalar(tag(tap, name), value, step)
            self.add_histograms(writer, step)
        return notes

    def add_histograms(self, writer: SummaryWriter, step: int) -> None:
        """Of each tap all values, and the lengths of the vectors; without vectors that are not finite."""
        for tap in list_described(self.store.taps):
            vectors = self.store.vectors(tap)
            width = int(np.prod(vectors.shape[1:]))
            chosen = vectors[spread(len(vectors), max(MOST_IN_HISTOGRAM // width, 1))].reshape(-1, width)
            chosen = chosen[np.isfinite(chosen).all(axis=1)]
            if not len(chosen):
                continue
            writer.add_histogram(tag(tap, "values"), chosen, step)
            norms = np.linalg.norm(chosen.astype(np.float64), axis=1)
            margin = norms.max() * NORM_MARGIN
            counts, edges = np.histogram(norms, NORM_BINS, (norms.min() - margin, norms.max() + margin))
            writer.add_histogram_raw(  # the other one leaves empty bins out: one bar would fill the chart
                tag(tap, "norms"),
                min=edges[0],
                max=edges[-1],
                num=len(norms),
                sum=norms.sum(),
                sum_squares=(norms**2).sum(),
                bucket_limits=edges[1:].tolist(),
                bucket_counts=counts.tolist(),
                global_step=step,
            )

    def clouds(self, of: str = "") -> tuple[list[Cloud], list[str]]:
        """For the Projector, and what of the store is not in them, in words. of: what the vectors are of."""
        clouds, notes = [], []
        for tap in list_described(self.store.taps):
            vectors = self.store.vectors(tap)
            if vectors.ndim != 2:
                shape = self.store.taps[tap].shape
                notes.append(f"{tap} is not in the Projector: a row of it is {shape}, not one vector")
                continue
            rows = spread(len(vectors), min(MOST_ROWS, max(MOST_VALUES // vectors.shape[1], 1)))
            rows = rows[np.isfinite(vectors[rows]).all(axis=1)]  # one that is not would spoil the map of all
            if not len(rows):
                notes.append(f"{tap} is not in the Projector: no row is finite")
                continue
            if len(rows) < len(vectors):
                notes.append(f"the Projector shows {len(rows)} of {len(vectors)} rows of {tap}")
            cloud = Cloud(
                name=f"{tap} {of}".strip(),
                folder=name_folders(self.store.taps)[tap],
                vectors=vectors[rows].astype(np.float32),
                columns=[" ".join(name.removeprefix(LABEL).split()) for name in self._columns],
                labels=self._labels(rows),
                pictures=self._thumbnails(rows),
            )
            clouds.append(cloud)
        return clouds, notes

    def _labels(self, rows: np.ndarray) -> list[list[str]]:
        """Row by row the values: text without tabs and line ends, which would be columns and rows."""
        columns = [self.store.column(name)[rows].tolist() for name in self._columns]
        return [[_tell(value) for value in values] for values in zip(*columns, strict=True)]

    def _thumbnails(self, rows: np.ndarray) -> UInt8[np.ndarray, "n side side 3"]:
        """What the model was shown in each row."""
        names = ("episode", "frame", "shown_episode", "shown_frame")
        columns = [self.store.column(name)[rows].tolist() for name in names]
        shown = [
            (episode, frame) if other is None else (other, int(other_frame))
            for episode, frame, other, other_frame in zip(*columns, strict=True)
        ]
        wanted: dict[str, list[int]] = {}
        for episode, frame in dict.fromkeys(shown):  # rows of variants show the same frames
            wanted.setdefault(episode, []).append(frame)
        pictures = {
            (episode, frame): picture
            for episode, frames in wanted.items()
            for frame, picture in zip(frames, self._thumbnails_of(episode, frames), strict=True)
        }
        return np.stack([pictures[at] for at in shown])

    def _thumbnails_of(self, id: str, frames: Sequence[int]) -> UInt8[np.ndarray, "n side side 3"]:
        """Of one episode at once, and in uint8: a validation waits for them."""
        episode = self.episodes.get(id)
        grey = np.full((len(frames), THUMBNAIL, THUMBNAIL, 3), GREY, np.uint8)
        if episode is None:
            return grey
        try:
            pictures = torch.cat([self.frames.read(episode, frame, frame + 1) for frame in frames])  # (n, H, W, 3)
        except BrokenEpisode:
            return grey
        small = F.interpolate(pictures.permute(0, 3, 1, 2), (THUMBNAIL, THUMBNAIL), mode="bilinear", antialias=True)
        return small.permute(0, 2, 3, 1).numpy()


def _tell(value: object) -> str:
    if value is None or value != value:
        return "unknown"
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()) or "-"
