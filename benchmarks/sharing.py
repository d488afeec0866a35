"""Overlapping windows: one step over an episode's windows, each frame computed once, against window by window.

In: nothing. Out: windows a second of both, on episodes of 72 frames with a window at every frame. The step holds all 65
windows of an episode (`data.batch_size=65 data.span=65`); window by window, the same policy computes some of them in
batches of one, whose gradients are accumulated into one optimizer step too, so that nothing but the sharing differs.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.policy_step import FrozenPart, PolicyStep, with_cached
from benchmarks.setting import RESOLUTION, Setting, prepare_training
from benchmarks.steps import ON_CPU, ROUNDS, TEXT
from benchmarks.table import Line
from benchmarks.timing import Variant, alternate
from mobile_vla.data.requests import WindowRequest
from mobile_vla.sources.synthetic.writer import SynthConfig

TINY = ("model=tiny", "trainer=cpu")
NUM_FRAMES = 72
EPISODES = SynthConfig(episodes=4, frames=NUM_FRAMES, resolution=RESOLUTION, workers=1)
NUM_ALONE = 5  # windows that are computed one by one in a run, evenly from the first to the last
TOGETHER, ALONE = "an episode's 65 windows in one step", "window by window"
ASKED = ">= 5"


def run(limit_s: float, threads: int) -> list[Line]:
    """Half of the time for each model."""
    tiny = measure("tiny", TINY, "nothing", NUM_ALONE, limit_s / 2, threads)
    middle = (*ON_CPU, *TEXT, "trainer.precision=bf16-mixed")
    return [*tiny, *measure("166 M, text, bf16", middle, "image_tokens", NUM_ALONE, limit_s / 2, threads)]


def measure(
    name: str, overrides: Sequence[str], cached: FrozenPart, num_alone: int, limit_s: float, threads: int
) -> list[Line]:
    """name: of the model, in the lines."""
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting.of(prepare_training(Path(folder), overrides, EPISODES))
        data = setting.training.data
        starts = data.config.starts(NUM_FRAMES)
        assemble = data.assembler(data.episodes("train"))
        whole = assemble([WindowRequest(episode=0, start=start) for start in starts])
        some = [starts[i * (len(starts) - 1) // (num_alone - 1)] for i in range(num_alone)]
        alone = [assemble([WindowRequest(episode=0, start=start)]) for start in some]
    together = PolicyStep(setting, [with_cached(setting.policy, whole, cached)])
    one_by_one = PolicyStep(setting, [with_cached(setting.policy, window, cached) for window in alone], accumulate=True)
    names = [f"{name}: {what}" for what in (ALONE, TOGETHER)]
    variants: dict[str, Variant] = dict(zip(names, (one_by_one, together), strict=True))
    timings = alternate(variants, rounds=ROUNDS, limit_s=limit_s, threads=threads)
    windows = dict(zip(names, (float(num_alone), float(len(starts))), strict=True))
    slow, fast = names
    first = Line.rate(timings, slow, None, windows, "windows/s")
    return [first, Line.rate(timings, fast, slow, windows, "windows/s", ASKED)]
