"""What a training step takes of the device's memory where the text decoder alone is adapted: as `memory` finds it."""

from collections.abc import Iterator

from benchmarks.gpu.bench import TEXT, Bench
from benchmarks.gpu.findings import Note
from benchmarks.gpu.sections.memory import measure
from benchmarks.table import Line


def run(bench: Bench) -> Iterator[Line | Note]:
    yield from measure(bench, TEXT, "LoRA text, bf16")
