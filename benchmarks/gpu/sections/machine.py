"""Which device this is, and how fast it multiplies: the peak that everything else is held against."""

import platform
from collections.abc import Iterator
from importlib.metadata import version

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.findings import Note
from benchmarks.table import Line
from benchmarks.timing import Spread

PACKAGES = ("lightning", "transformers", "peft")
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def run(bench: Bench) -> Iterator[Line | Note]:
    for what, text in bench.device.describe().items():
        yield Note(what=what, text=text)
    yield Note(what="Python", text=platform.python_version())
    for name in PACKAGES:
        yield Note(what=name, text=version(name))
    for dtype in DTYPES:
        name, product = f"matrix product, {str(dtype).removeprefix('torch.')}", bench.product(dtype)
        timings = bench.take_turns({name: product})
        rates = Spread.of(timings.rates(name, product.operations / 1e12))
        yield Line(
            what=f"{name}, {len(product.out)} x {len(product.out)}", spread=rates, unit="TFLOP/s", rounds=timings.rounds
        )
