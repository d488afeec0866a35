"""TensorBoard's view of a store: histograms, the numbers that describe it, and the Projector with labels and pictures.

In: a store, its numbers, and where frames come from. Out: events and the Projector's files in the probe's folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.rows import LABEL
from mobile_vla.contexts.vectors import spread
from mobile_vla.data.frames import FrameSource
from mobile_vla.data.schema import Episode

EVENTS = "events.out.tfevents.*"
MOST_ROWS = 5_000  # in the Projector, which is a web page
MOST_VALUES = 4_000_000  # numbers of one tap there, some 40 MB of text
MOST_IN_HISTOGRAM = 1_000_000
NORM_BINS = 50  # the default ones grow exponentially: lengths that differ by a tenth would be in one
THUMBNAIL = 48  # pixels a side: 5,000 of them are 3,408 x 3,408 pixels, and a sprite may have 8,192 x 8,192
GREY = 0.5  # in the place of a picture that is no episode's frame
COLUMNS = ("episode", "frame", "progress", "part", "variant", "instruction")


class ProbeBoard:
    """Shows one store. step: of the training that the weights come from."""

    def __init__(self, store: Store, episodes: Sequence[Episode], frames: FrameSource, step: int):
        self.store, self.frames, self.step = store, frames, step
        self.episodes = {episode.id: episode for episode in episodes}

    def write(
        self, folder: Path, numbers: Mapping[str, Mapping[str, float]], figures: Mapping[str, Figure]
    ) -> list[str]:
        """numbers: tap -> name -> value. Returns what of the store is not all shown, in words."""
        for stale in folder.glob(EVENTS):  # of a call that was killed
            stale.unlink()
        notes = []
        with SummaryWriter(str(folder)) as writer:
            for name, figure in figures.items():
                writer.add_figure(name, figure, self.step)
            for tap in self.store.taps:
                for name, value in numbers[tap].items():
                    writer.add_scalar(f"{tap}/{name}", value, self.step)
                vectors = self.store.vectors(tap)
                width = int(np.prod(vectors.shape[1:]))
                chosen = vectors[spread(len(vectors), max(MOST_IN_HISTOGRAM // width, 1))].reshape(-1, width)
                writer.add_histogram(f"{tap}/values", chosen, self.step)
                norms = np.linalg.norm(chosen.astype(np.float64), axis=1)
                writer.add_histogram(f"{tap}/norms", norms, self.step, bins=NORM_BINS)  # pyright: ignore[reportArgumentType]
                notes += self._project(writer, tap, width)
        return notes

    def _project(self, writer: SummaryWriter, tap: str, width: int) -> list[str]:
        vectors = self.store.vectors(tap)
        if vectors.ndim != 2:
            return [f"{tap} is not in the Projector: a row of it is {self.store.taps[tap].shape}, not one vector"]
        rows = spread(len(vectors), min(MOST_ROWS, max(MOST_VALUES // width, 1)))
        header, labels = self._labels(rows)
        writer.add_embedding(
            vectors[rows].astype(np.float32),
            metadata=labels,
            metadata_header=header,
            label_img=self._thumbnails(rows),
            tag=tap,
            global_step=self.step,
        )
        return [f"the Projector shows {len(rows)} of {len(vectors)} rows of {tap}"] if len(rows) < len(vectors) else []

    def _labels(self, rows: np.ndarray) -> tuple[list[str], list[list[str]]]:
        """Names and, row by row, values: text without tabs and line ends, which would be columns and rows."""
        names = [*COLUMNS, *(f"{LABEL}{name}" for name in self.store.labels)]
        columns = [self.store.column(name)[rows].tolist() for name in names]
        header = [" ".join(name.removeprefix(LABEL).split()) for name in names]
        return header, [[_tell(value) for value in values] for values in zip(*columns, strict=True)]

    def _thumbnails(self, rows: np.ndarray) -> Float[Tensor, "n 3 side side"]:
        """What the model was shown in each row, in [0, 1]."""
        names = ("episode", "frame", "shown_episode", "shown_frame")
        columns = [self.store.column(name)[rows].tolist() for name in names]
        seen: dict[tuple[str, int], Tensor] = {}  # rows of variants show the same frames
        pictures = []
        for episode, frame, shown, shown_frame in zip(*columns, strict=True):
            at = (episode, frame) if shown is None else (shown, int(shown_frame))
            if at not in seen:
                seen[at] = self._thumbnail(*at)
            pictures.append(seen[at])
        return torch.stack(pictures)

    def _thumbnail(self, id: str, frame: int) -> Float[Tensor, "3 side side"]:
        episode = self.episodes.get(id)
        if episode is None:
            return torch.full((3, THUMBNAIL, THUMBNAIL), GREY)
        picture = self.frames.read(episode, frame, frame + 1).permute(0, 3, 1, 2).float() / 255  # (1, 3, H, W)
        return F.interpolate(picture, (THUMBNAIL, THUMBNAIL), mode="bilinear", antialias=True)[0].clamp(0, 1)


def _tell(value: object) -> str:
    if value is None or value != value:
        return "unknown"
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()) or "-"
