"""How the cost of a step grows with frames an episode, with episodes, with the overlap of windows and with the batch.

In: nothing. Out: lines of milliseconds a step and a window, at 1, 4 and 16 times the least of each (of the overlap,
which has an end, at 1, 2, 4 and 8: a window at every 8th, 4th, 2nd and every frame). One is changed and the others
stay: 12 episodes of 18 frames, a window at every frame, batches of 8 windows in spans of 8; for overlap and batch the
episodes have 72 frames. The demo's tiny model, the real Trainer, batches from the real plan. `draw` makes a figure.
"""

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.policy_step import PolicyStep
from benchmarks.setting import RESOLUTION, Setting, prepare_training
from benchmarks.table import Line
from benchmarks.timing import Spread, alternate
from mobile_vla.sources.synthetic.writer import SynthConfig

TINY = ("model=tiny", "trainer=cpu")
ROUNDS = 20  # at most; the limit of seconds comes first
NUM_BATCHES = 4  # in a run; a step's cost depends on which frames its windows share
WINDOW = 8


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a step's cost may depend on."""

    frames: int = 18
    episodes: int = 12
    stride: int = 1
    batch: int = 8

    @property
    def overrides(self) -> list[str]:
        return [f"data.stride={self.stride}", f"data.batch_size={self.batch}", f"data.span={min(self.batch, WINDOW)}"]

    @property
    def written(self) -> SynthConfig:
        return SynthConfig(episodes=self.episodes, frames=self.frames, resolution=RESOLUTION, workers=1)


LONG = Scale(frames=72)  # long enough for spans of windows that share no frame
Axes = Mapping[str, Mapping[int, Scale]]
AXES: Axes = {  # -> value -> the scale that it stands for
    "frames an episode": {n: Scale(frames=n) for n in (18, 72, 288)},
    "episodes": {n: Scale(episodes=n) for n in (12, 48, 192)},
    "windows that a frame is in": {WINDOW // stride: replace(LONG, stride=stride) for stride in (8, 4, 2, 1)},
    "windows a batch": {n: replace(LONG, batch=n) for n in (1, 4, 16)},
}
STEP, WINDOW_COST = "ms a step", "ms a window"


def run(limit_s: float, threads: int) -> list[Line]:
    return measure(AXES, limit_s, threads)


def measure(axes: Axes, limit_s: float, threads: int) -> list[Line]:
    """All scales take turns, so that every ratio is of one round. Ratios are to the least of each axis."""
    with tempfile.TemporaryDirectory() as folder:
        scales = dict.fromkeys(scale for values in axes.values() for scale in values.values())
        steps = {str(scale): _prepare(Path(folder), scale) for scale in scales}
    timings = alternate(dict(steps), rounds=ROUNDS, limit_s=limit_s, threads=threads)
    lines = []
    for axis, values in axes.items():
        least = next(iter(values))
        for value, scale in values.items():
            costs = {STEP: NUM_BATCHES, WINDOW_COST: NUM_BATCHES * scale.batch}
            for unit, count in costs.items():
                spread = Spread.of([1e3 * seconds / count for seconds in timings.seconds(str(scale))])
                lines.append(Line(what=f"{axis}: {value}", spread=spread, unit=unit, rounds=timings.rounds))
                if value != least:
                    first = values[least]
                    windows = first.batch / scale.batch if unit == WINDOW_COST else 1
                    pairs = zip(timings.seconds(str(scale)), timings.seconds(str(first)), strict=True)
                    ratio = Spread.of([a / b * windows for a, b in pairs])
                    lines[-1] = replace(lines[-1], ratio=ratio, to=f"{axis}: {least}")
    return lines


def draw(lines: Sequence[Line], file: Path) -> None:
    """One panel an axis: what a step and a window take against what grows, with quartiles."""
    points: dict[str, dict[str, list[tuple[int, Spread]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        axis, value = line.what.split(": ")
        points[axis][line.unit].append((int(value), line.spread))
    figure, panels = plt.subplots(1, len(points), figsize=(3.2 * len(points), 3), sharey=True, layout="constrained")
    for panel, (axis, costs) in zip(np.atleast_1d(panels), points.items(), strict=True):
        for unit, series in costs.items():
            values = [value for value, _ in series]
            medians = [spread.median for _, spread in series]
            reach = [[s.median - s.low for _, s in series], [s.high - s.median for _, s in series]]
            panel.errorbar(values, medians, yerr=reach, marker="o", capsize=3, label=unit)
        panel.set(xscale="log", yscale="log", xlabel=axis)
        panel.set_xticks(values, map(str, values))
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    np.atleast_1d(panels)[0].legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _prepare(folder: Path, scale: Scale) -> PolicyStep:
    """Batches as the first epoch deals them."""
    written = folder / f"{scale.frames}_{scale.episodes}"
    training = prepare_training(written, [*TINY, *scale.overrides], scale.written)
    data = training.data
    assemble = data.assembler(data.episodes("train"))
    planned = islice(data.plan("train").batches(epoch=0), NUM_BATCHES)
    return PolicyStep(Setting.of(training), [assemble(assemble.requests(each)) for each in planned])
