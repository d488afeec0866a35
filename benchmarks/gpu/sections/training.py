"""LoRA on every linear layer, in bf16: windows a second against upstream's, and the share of the device's peak.

Upstream's step is that of `upstream_step`: float32, one window, every window with frames of its own; alone on the
device. Ours runs without the Trainer, in turn with the product that is the peak, and then through the real Trainer, as
users run it.
"""

from collections.abc import Iterator

import torch

from benchmarks.device import OutOfMemory
from benchmarks.gpu.bench import ALL, Bench, draw_batch
from benchmarks.gpu.findings import Note
from benchmarks.gpu.plain_step import PlainStep, repeated
from benchmarks.gpu.speed import count_operations, describe_speed, measure_peak, measure_step
from benchmarks.gpu.words import LORA_ALL, RATE, TRAINER
from benchmarks.policy_step import PolicyStep, as_upstream
from benchmarks.setting import Setting
from benchmarks.steps import UPSTREAM, build_upstream
from benchmarks.table import Line
from benchmarks.upstream_step import UpstreamStep

PASSES = 8  # steps of the Trainer that are timed, one behind the other


def run(bench: Bench) -> Iterator[Line | Note]:
    setting = bench.setting(ALL)
    upstream = measure_upstream(bench, setting)
    yield upstream
    for count in bench.size.windows:
        what = f"{LORA_ALL}, batch {count}"
        try:
            yield from measure_ours(bench, what, count, upstream.spread.median)
        except OutOfMemory:
            yield Note(what=what, text="does not fit into this device's memory")


def measure_upstream(bench: Bench, setting: Setting) -> Line:
    setting.policy.cpu()
    bench.device.free()
    window = as_upstream(setting.policy, draw_batch(setting, 1))
    with torch.device(bench.device.name):
        policy = build_upstream(setting)
    step = UpstreamStep(policy, window, bench.device)
    timings = bench.take_turns({UPSTREAM: repeated(step.step, bench.device)})
    return Line.rate(timings, UPSTREAM, None, {UPSTREAM: 1.0}, RATE)


def measure_ours(bench: Bench, what: str, count: int, upstream: float) -> Iterator[Line]:
    """upstream: windows a second."""
    setting = bench.setting(ALL)
    bench.device.free()
    batch = draw_batch(setting, count)
    step = PlainStep(setting, batch, bench.device)
    try:
        operations = count_operations(step)
        yield Line.number(f"{what}: operations of a step", operations / 1e12, "TFLOP")
        yield from measure_step(bench, what, step, count, operations, upstream)
    finally:
        step.close()
    peak = measure_peak(bench)
    took = PolicyStep(setting, [batch], passes=PASSES)()
    yield from describe_speed(f"{what}, {TRAINER}", [1 / took.wall], [peak], count, operations, upstream)
