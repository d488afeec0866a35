"""A sketch of each episode: a few frames, small. What the contact sheet shows and copies are found by.

In: episodes and a source of frames. Out: a `Sketch` each, made in several processes, and the files whose frames turn
out to be unreadable. At most 25 frames of an episode are read, however long it is: runs of five at five points of its
progress. An episode of 18 frames is read whole, which costs little more than five single frames of compressed chunks.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.frames import FrameSource
from mobile_vla.sources.schema import BrokenEpisode, Episode, Fault

THUMBNAIL = Preprocessing(size=128, interpolation="bilinear")  # squashed; the page gives the shape back
POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of an episode's progress
RUN = 5  # frames around each point: two copies, one of them cut by up to two frames, share three of each run
GREY = 16  # side of the grey image that copies are found by
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
JPEG_QUALITY = 78
EPISODES_A_PROCESS = 24  # starting a process costs about as much as sketching this many episodes


@dataclass(frozen=True, kw_only=True, eq=False)
class Sketch:
    """A few frames of one episode.

    frames      which of them, rising
    greys       (n, 16, 16) their brightness, 0 to 255, each pixel the mean of a sixteenth of height and width
    thumbnails  a JPEG for each of `POINTS`, squashed to a square
    """

    frames: Int[np.ndarray, " n"]
    greys: Float[np.ndarray, "n 16 16"]  # float16: whole levels are too coarse for a white wall
    thumbnails: tuple[bytes, ...]

    @property
    def brightness(self) -> Float[np.ndarray, " n"]:
        """Mean grey level of each frame, 0 to 255."""
        return self.greys.astype(np.float32).mean(axis=(1, 2))


def choose_frames(num_frames: int) -> list[range]:
    """The spans of frames that a sketch reads: runs around the points, those that touch joined."""
    wanted: set[int] = set()
    for point in POINTS:
        low = round(point * (num_frames - 1)) - RUN // 2
        low = max(min(low, num_frames - RUN), 0)
        wanted |= set(range(low, min(low + RUN, num_frames)))
    spans: list[range] = []
    for frame in sorted(wanted):
        if spans and spans[-1].stop == frame:
            spans[-1] = range(spans[-1].start, frame + 1)
        else:
            spans.append(range(frame, frame + 1))
    return spans


def sketch(source: FrameSource, episode: Episode) -> Sketch:
    """One episode's sketch; `BrokenEpisode` if its frames cannot be read."""
    spans = choose_frames(episode.num_frames)
    small = np.concatenate([source.read(episode, span.start, span.stop).numpy() for span in spans])
    frames = np.concatenate([np.arange(span.start, span.stop) for span in spans])
    side = small.shape[1] // GREY
    grey = (small.astype(np.float32) @ LUMA).reshape(len(small), GREY, side, GREY, side).mean(axis=(2, 4))
    at = [int(np.abs(frames - point * (episode.num_frames - 1)).argmin()) for point in POINTS]
    return Sketch(
        frames=frames,
        greys=grey.astype(np.float16),
        thumbnails=tuple(_as_jpeg(small[i]) for i in at),
    )


def sketch_all(
    source: FrameSource, episodes: Sequence[Episode], progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Sketch], list[Fault]]:
    """Sketches by episode id, and the files whose frames could not be read."""
    num_processes = min(os.cpu_count() or 1, len(episodes) // EPISODES_A_PROCESS)
    pool: Executor | nullcontext[None] = nullcontext()
    if num_processes > 1:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(num_processes, context, torch.set_num_threads, (1,))
    sketches: dict[str, Sketch] = {}
    faults: list[Fault] = []
    with pool as executor:
        results = (executor.map if executor else map)(partial(_sketch_one, source), episodes)
        for done, (episode, result) in enumerate(zip(episodes, results, strict=True), start=1):
            if isinstance(result, Sketch):
                sketches[episode.id] = result
            else:
                faults.append(Fault(episode.place, result))
            if progress:
                progress(done, len(episodes))
    return sketches, faults


def _sketch_one(source: FrameSource, episode: Episode) -> Sketch | str:
    """The sketch, or why there is none."""
    try:
        return sketch(source, episode)
    except BrokenEpisode as error:
        return str(error)


def _as_jpeg(frame: UInt8[np.ndarray, "size size 3"]) -> bytes:
    stream = BytesIO()
    Image.fromarray(frame).save(stream, format="JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
