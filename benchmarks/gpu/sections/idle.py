"""Where a training step's time goes: torch's profiler, its kernels by kind, the longest by name, and the idle share.

Forward and backward pass, LoRA on every linear layer, bf16. Idle is time in which no kernel runs: the processor was not
fast enough to hand out the next one.
"""

from collections.abc import Iterator
from itertools import islice

from benchmarks.breakdown import break_down
from benchmarks.gpu.bench import ALL, Bench, draw_batch
from benchmarks.gpu.findings import Note
from benchmarks.gpu.plain_step import PlainStep
from benchmarks.table import Line

LONGEST = 8  # kernels that are listed
LETTERS = 100  # of a kernel's name


def run(bench: Bench) -> Iterator[Line | Note]:
    setting = bench.setting(ALL)
    for count in bench.size.windows:
        step = PlainStep(setting, draw_batch(setting, count), bench.device)
        try:
            found = break_down(step.compute_gradients, bench.device)
        finally:
            step.close()
        for kind, share in found.kinds.items():
            yield Line.number(f"batch {count}: {kind}", 100 * share, "% of the time")
    for name, share in islice(found.names.items(), LONGEST):
        yield Line.number(f"batch {count}, longest: {name[:LETTERS]}", 100 * share, "% of the time")
