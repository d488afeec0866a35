"""Times variants of one piece of work against each other, on a machine that may be busy with other things.

In: variants by name, each a function that does the work once. Out: `Timings`: what each took in every round, on the
clock on the wall and in seconds of processor time, of all threads. The first holds what the work waits for (disk,
locks) and what other programs take; the second holds neither, and is steady on a machine that is shared.

Every round runs each variant once, so that what disturbs the machine disturbs all of them, and a ratio is taken within
its round and never between means. The order is turned round from one round to the next: whoever runs second finds
warm caches or a hot processor, and neither may always be the same one.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

LEAST_ROUNDS = 3  # however long they take: fewer have no spread
Clock = Literal["wall", "cpu"]
CLOCKS: Mapping[Clock, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds of one run."""

    wall: float
    cpu: float

    def share(self, parts: int) -> "Took":
        """Of one of so many equal parts."""
        return Took(wall=self.wall / parts, cpu=self.cpu / parts)


Variant = Callable[[], Took | None]


class Stopwatch:
    """Runs from its making on; `clocks` are read by name."""

    def __init__(self, clocks: Mapping[Clock, Callable[[], float]] = CLOCKS):
        self.clocks = clocks
        self.begun = self._read()

    def stop(self) -> Took:
        now = self._read()
        return Took(wall=now.wall - self.begun.wall, cpu=now.cpu - self.begun.cpu)

    def _read(self) -> Took:
        return Took(wall=self.clocks["wall"](), cpu=self.clocks["cpu"]())


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and quartiles of some measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return cls(median=median, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Timings:
    """took: of each variant, by name, one a round."""

    took: Mapping[str, tuple[Took, ...]]

    @property
    def rounds(self) -> int:
        return len(next(iter(self.took.values())))

    def seconds(self, name: str, clock: Clock = "wall") -> list[float]:
        return [getattr(took, clock) for took in self.took[name]]

    def spread(self, name: str, clock: Clock = "wall") -> Spread:
        return Spread.of(self.seconds(name, clock))

    def ratio(self, name: str, to: str, clock: Clock = "wall") -> Spread:
        """How many times as long as `to`: of the ratios within each round, not the ratio of the medians."""
        pairs = zip(self.seconds(name, clock), self.seconds(to, clock), strict=True)
        return Spread.of([a / b for a, b in pairs])

    def rates(self, name: str, amount: float, clock: Clock = "wall") -> list[float]:
        """Things a second, round by round; `amount`: things in one run."""
        return [amount / seconds for seconds in self.seconds(name, clock)]

    def differences(self, name: str, to: str, clock: Clock = "wall") -> list[float]:
        """Seconds longer than `to`, round by round."""
        return [a - b for a, b in zip(self.seconds(name, clock), self.seconds(to, clock), strict=True)]


def alternate(
    variants: Mapping[str, Variant],
    *,
    rounds: int,
    limit_s: float | None = None,
    warmups: int = 1,
    threads: int,
    clocks: Mapping[Clock, Callable[[], float]] = CLOCKS,
) -> Timings:
    """Run the variants in turn; a variant that returns `Took` has timed itself: the part of it that counts.

    limit_s  no round begins after so many seconds, once there are `LEAST_ROUNDS`;  warmups  runs of each that are not
             counted;  threads  for torch, while this runs

    Garbage is collected before every run, so that none pays for the one before. During a run the collector stays on:
    what the work leaves behind is part of its cost.
    """
    names = list(variants)
    found: dict[str, list[Took]] = {name: [] for name in names}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        begun = clocks["wall"]()
        for _ in range(warmups):
            for name in names:
                _time(variants[name], clocks)
        for done in range(rounds):
            if limit_s is not None and done >= LEAST_ROUNDS and clocks["wall"]() - begun >= limit_s:
                break
            for name in names if done % 2 == 0 else reversed(names):
                found[name].append(_time(variants[name], clocks))
    finally:
        torch.set_num_threads(before)
    return Timings(took={name: tuple(values) for name, values in found.items()})


def _time(variant: Variant, clocks: Mapping[Clock, Callable[[], float]]) -> Took:
    gc.collect()
    watch = Stopwatch(clocks)
    return variant() or watch.stop()
