"""One pass over all frames of an episode: what its content is (a fingerprint), and whether it can be trained on.

In: an episode as the scan left it. Out: an `Examination`, remembered in a small JSON file that is called by a hash of
what it depends on (as its reader says: of a file its size and time of change, ...), so an episode is read whole once.
One that could not be read to its end is not remembered: that may be the network's fault, and pass.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

import mobile_vla
from mobile_vla.core.ahead import Ahead
from mobile_vla.core.durable import replaced
from mobile_vla.sources.reader import Frame, OpenEpisode, read_frames
from mobile_vla.sources.schema import Episode

Keep = Callable[[Frame], object]

SCHEMA = 1
FROZEN_FROM = 3  # identical frames; two may well be the same


@dataclass(frozen=True)
class Examination:
    """fingerprint  of frames and actions, whatever the source, and the file's name, layout, compression and attributes
    fault        why the content cannot be trained on, or None
    """

    fingerprint: str
    fault: str | None = None


def examine(episode: Episode, keep: Keep | None = None) -> Examination:
    """Read all of the episode, a block at a time; `keep` is given every frame, in order.

    `BrokenEpisode` if it cannot be read, or does not hold what it held when it was scanned.
    """
    content = hashlib.sha256()
    fault: str | None = None
    first: np.ndarray | None = None
    frozen = True
    with episode.reader.opened() as opened:
        actions = np.asarray(opened.actions())
        for index, frame in enumerate(every_frame(opened, episode.num_frames)):
            content.update(repr(frame.shape).encode())
            content.update(frame.tobytes())
            if fault is None and is_one_colour(frame):
                fault = f"frame {index} is one colour everywhere: {tuple(frame[0, 0].tolist())}"
            first = frame.copy() if first is None else first  # a copy, or it would keep its whole block alive
            frozen = frozen and np.array_equal(frame, first)
            if keep is not None:
                keep(frame)
    content.update(repr(actions.shape).encode())
    content.update(actions.astype("<f4").tobytes())
    if fault is None and frozen and episode.num_frames >= FROZEN_FROM and is_commanded(actions):
        fault = (
            f"all {episode.num_frames} frames are identical although the robot is commanded to move: a frozen camera"
        )
    return Examination(content.hexdigest()[:32], fault)


def every_frame(opened: OpenEpisode, num_frames: int) -> Iterator[Frame]:
    """All frames in order, two blocks of them in memory: one is read while the one before is used."""
    step = opened.block()
    blocks = (read_frames(opened, low, min(low + step, num_frames)) for low in range(0, num_frames, step))
    for block in Ahead(blocks):
        yield from block


def is_one_colour(frame: UInt8[np.ndarray, "height width 3"]) -> bool:
    colour = frame[0, 0]
    return bool((frame[0] == colour).all() and (frame == colour).all())  # the first row settles most frames


def is_commanded(actions: Float[np.ndarray, "N A"]) -> bool:
    """Whether the robot is told to move while it is filmed: the last action comes after the last frame."""
    return bool(actions[:-1].any())


def content_key(episode: Episode, *more: object) -> str:
    """A name for what is known of the episode as it is now; `BrokenEpisode` if it is gone."""
    content = (*episode.reader.identity(), *more)
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]


class Examinations:
    """The examinations that are remembered, below a folder that any number of processes may share."""

    def __init__(self, folder: Path):
        self.folder = folder

    def find(self, episode: Episode) -> Examination | None:
        """What is known of the episode as it is now; None if it has to be read."""
        path = self._path(content_key(episode))
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return Examination(stored["fingerprint"], stored["fault"]) if stored["schema"] == SCHEMA else None
        except (OSError, ValueError, KeyError, TypeError):  # never written, or not whole
            return None

    def examine(self, episode: Episode, keep: Keep | None = None) -> Examination:
        """Read the episode (see `examine`) and remember what was found; `OSError` if that cannot be written."""
        target = self._path(content_key(episode))  # from before it is read: a file that changes meanwhile has another
        examination = examine(episode, keep)
        payload = {"schema": SCHEMA, "version": mobile_vla.__version__, **asdict(examination)}
        target.parent.mkdir(parents=True, exist_ok=True)
        with replaced(target, sync=False) as part:
            part.write_text(json.dumps(payload), encoding="utf-8")
        return examination

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
