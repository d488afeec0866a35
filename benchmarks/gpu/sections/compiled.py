"""Compiled layers (`trainer.compile=true`): the training step and the control step, and how long compiling takes.

Layers take any number of frames and tokens from the first batch on, so they are compiled once for all batches.
"""

import time
from collections.abc import Iterator, Mapping

from benchmarks.gpu.bench import ALL, Bench, draw_batch
from benchmarks.gpu.findings import Note, attempted
from benchmarks.gpu.plain_step import PlainStep
from benchmarks.gpu.sections.control import Control
from benchmarks.gpu.sections.graphs import count_eager, measure
from benchmarks.gpu.words import LORA_ALL
from benchmarks.table import Line
from mobile_vla.training.callbacks.compiled import CompiledLayers

COMPILED = "compiled layers"


def run(bench: Bench) -> Iterator[Line | Note]:
    operations = {count: count_eager(bench, count) for count in reversed(bench.size.windows[:2])}
    layers = CompiledLayers(bench.setting(ALL).policy)
    layers.switch_on()
    try:
        yield from measure_steps(bench, operations)
        yield from attempted(f"control step, {COMPILED}", measure_control(bench))
    finally:
        layers.switch_off()


def measure_steps(bench: Bench, operations: Mapping[int, int]) -> Iterator[Line | Note]:
    """operations: of a step, by its number of windows."""
    setting = bench.setting(ALL)
    step = PlainStep(setting, draw_batch(setting, max(operations)), bench.device)
    begun = time.perf_counter()
    step()
    bench.device.wait()
    step.close()
    yield Line.number(f"{COMPILED}: the first training step", time.perf_counter() - begun, "s")
    for count, counted in operations.items():
        what = f"{LORA_ALL}, batch {count}, {COMPILED}"
        yield from attempted(what, measure(bench, what, PlainStep, count, counted))


def measure_control(bench: Bench) -> Iterator[Line]:
    begun = time.perf_counter()
    control = Control(bench)
    control.fill()
    yield Line.number(f"{COMPILED}: the first window of control steps", time.perf_counter() - begun, "s")
    yield from control.time(COMPILED, control.stepper.step)
