"""A control step: a camera's frame comes in as a numpy array, and an action goes out as one.

Through `PolicyStepper`, one frame, bf16, a whole window of contexts: eager, and with all kernels behind the frame's
resizing as one CUDA graph, captured by hand. Both are shown the same frames, and their actions are compared.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.bench import ALL, Bench
from benchmarks.gpu.control_graph import GraphedStepper
from benchmarks.gpu.findings import Note, attempted
from benchmarks.gpu.words import EAGER, HZ
from benchmarks.table import Line
from benchmarks.timing import Spread
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.stepper import PolicyStepper

GRAPH = "CUDA graph"
INSTRUCTION = "go to the left of the box"
WARM_UPS = 3
Step = Callable[[Tensor], Tensor]


def run(bench: Bench) -> Iterator[Line | Note]:
    control = Control(bench)
    yield from control.measure(EAGER)
    yield from attempted(GRAPH, control.measure_graph())


class Control:
    """The variants, over the same frames."""

    def __init__(self, bench: Bench):
        self.bench, setting = bench, bench.setting(ALL)
        training = setting.training
        prompter = Prompter(training.source.tokenizer, training.config.model.prompt)
        self.window = training.config.data.window
        self.stepper = PolicyStepper(setting.policy, prompter, training.actions, self.window)
        draw = np.random.default_rng(0).integers
        count = WARM_UPS + bench.size.control_steps
        self.frames = [draw(256, size=(*bench.size.camera, 3), dtype=np.uint8) for _ in range(min(count, self.window))]
        self.expected: np.ndarray | None = None  # the eager one's last action

    def measure(self, what: str) -> Iterator[Line]:
        self.fill()
        yield from self.time(what, self.stepper.step)

    def measure_graph(self) -> Iterator[Line]:
        self.fill()
        graphed = GraphedStepper(self.stepper, torch.from_numpy(self.frames[0]), self.bench.device)
        yield from self.time(GRAPH, graphed.step)

    def fill(self) -> None:
        """Begin an episode, and see a whole window of it."""
        self.stepper.reset(INSTRUCTION)
        for step in range(self.window):
            self.stepper.step(torch.from_numpy(self.frames[step % len(self.frames)]))

    def time(self, what: str, step: Step) -> Iterator[Line]:
        seconds, action = [], None
        for index in range(WARM_UPS + self.bench.size.control_steps):
            begun = time.perf_counter()
            action = step(torch.from_numpy(self.frames[index % len(self.frames)])).cpu().numpy()
            seconds.append(time.perf_counter() - begun)
        milliseconds = [1e3 * each for each in seconds[WARM_UPS:]]
        spread = Spread.of(milliseconds)
        yield Line(what=what, spread=spread, unit="ms a step", rounds=len(milliseconds))
        yield Line.number(f"{what}: 95 % take no longer than", float(np.quantile(milliseconds, 0.95)), "ms")
        yield Line.number(what, 1e3 / spread.median, HZ)
        if self.expected is None:
            self.expected = action
        else:
            difference = float(np.abs(action - self.expected).max() / np.abs(self.expected).max())
            yield Line.number(f"{what}: its action differs from the eager one's by", difference, "of the largest")
