"""The training step as a CUDA graph, beside the same step without.

The graph is of forward and backward pass, captured by hand over a fixed batch; clipping and AdamW follow it as ever.
Each is timed in turn with the product that is the peak; operations are those of the eager step.
"""

from collections.abc import Iterator

from benchmarks.gpu.bench import ALL, Bench, draw_batch
from benchmarks.gpu.findings import Note, attempted
from benchmarks.gpu.plain_step import GraphedStep, PlainStep
from benchmarks.gpu.speed import count_operations, measure_step
from benchmarks.gpu.words import EAGER, LORA_ALL
from benchmarks.table import Line

VARIANTS = {EAGER: PlainStep, "CUDA graph": GraphedStep}


def run(bench: Bench) -> Iterator[Line | Note]:
    for count in bench.size.windows[:2]:
        operations = count_eager(bench, count)
        for name, kind in VARIANTS.items():
            what = f"{LORA_ALL}, batch {count}, {name}"
            yield from attempted(what, measure(bench, what, kind, count, operations))


def count_eager(bench: Bench, count: int) -> int:
    """Operations of a step over so many windows; within a graph, or compiled, none could be seen."""
    setting = bench.setting(ALL)
    step = PlainStep(setting, draw_batch(setting, count), bench.device)
    try:
        return count_operations(step)
    finally:
        step.close()


def measure(bench: Bench, what: str, kind: type[PlainStep], count: int, operations: int) -> Iterator[Line]:
    setting = bench.setting(ALL)
    step = kind(setting, draw_batch(setting, count), bench.device)
    try:
        yield from measure_step(bench, what, step, count, operations)
    finally:
        step.close()
