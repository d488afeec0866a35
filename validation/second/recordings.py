"""Which episodes were recorded when, and which of their frames are stored. numpy only.

In: a `Plan`. Out: `Recordings`: integer frames of episodes of different lengths, so that progress differs within a bin.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

FIRST_DAY = datetime(2025, 12, 1, 9, 30)
EPISODE_S = 95.0  # from the start of one episode to the start of the next


@dataclass(frozen=True, kw_only=True)
class Plan:
    """lengths  shortest and longest episode, in frames
    stored   about how many rows an episode has, evenly spaced; None: every frame
    days     in which they were recorded, one after the other
    naming   what names tell: day and time (as a laboratory's do), a running number, or nothing
    """

    episodes: int = 40
    lengths: tuple[int, int] = (12, 60)
    stored: int | None = 8
    days: int = 1
    naming: Literal["date", "number", "nothing"] = "date"


@dataclass(frozen=True, kw_only=True, eq=False)
class Recordings:
    """E episodes in the order of recording, N rows sorted by episode, then frame."""

    names: tuple[str, ...]
    length: Int[np.ndarray, " E"]
    day: Int[np.ndarray, " E"]
    episode: Int[np.ndarray, " N"]
    frame: Int[np.ndarray, " N"]

    @property
    def num(self) -> int:
        return len(self.names)

    @cached_property
    def progress(self) -> Float[np.ndarray, " N"]:
        return self.frame / (self.length[self.episode] - 1)

    @cached_property
    def place(self) -> Int[np.ndarray, " N"]:
        """Of each row among the rows of its episode."""
        first = np.flatnonzero(np.diff(self.episode, prepend=-1))
        return np.arange(len(self.episode)) - first[self.episode]


def record(plan: Plan, rng: np.random.Generator) -> Recordings:
    length = rng.integers(plan.lengths[0], plan.lengths[1] + 1, plan.episodes)
    day = np.arange(plan.episodes) * plan.days // plan.episodes
    frames = [_choose(int(number), plan.stored, rng) for number in length]
    return Recordings(
        names=tuple(_name(plan.naming, index, int(day[index]), rng) for index in range(plan.episodes)),
        length=length,
        day=day,
        episode=np.repeat(np.arange(plan.episodes), [len(chosen) for chosen in frames]),
        frame=np.concatenate(frames),
    )


def _choose(length: int, stored: int | None, rng: np.random.Generator) -> np.ndarray:
    """Every k-th frame, begun anywhere; and the last one."""
    stride = 1 if stored is None else max(1, length // stored)
    return np.unique(np.append(np.arange(rng.integers(stride), length, stride), length - 1))


def _name(naming: str, index: int, day: int, rng: np.random.Generator) -> str:
    if naming == "number":
        return f"take_{index:04d}"
    if naming == "nothing":
        return f"{rng.integers(16**8):08x}x"
    when = FIRST_DAY + timedelta(days=day, seconds=EPISODE_S * index + float(rng.uniform(0, EPISODE_S / 2)))
    return f"episode_{when:%Y%m%d_%H%M%S}_1box_hori"
