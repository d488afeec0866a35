"""LoRA on the text decoder: from frames, from cached image tokens, and on its last layers from cached states."""

from collections.abc import Iterator

from benchmarks.gpu.bench import TEXT, Bench, draw_batch
from benchmarks.gpu.findings import Note, attempted
from benchmarks.gpu.plain_step import PlainStep
from benchmarks.gpu.speed import count_operations, measure_step
from benchmarks.policy_step import FrozenPart, with_cached
from benchmarks.table import Line


def run(bench: Bench) -> Iterator[Line | Note]:
    last = (TEXT, f"model.lora.layers=last:{bench.size.last}")
    variants: dict[str, tuple[tuple[str, ...], FrozenPart]] = {
        "LoRA text, bf16": ((TEXT,), "nothing"),
        "LoRA text, image tokens cached, bf16": ((TEXT,), "image_tokens"),
        f"LoRA text on the last {bench.size.last} layers, states cached, bf16": (last, "states"),
    }
    for name, (overrides, part) in variants.items():
        for count in bench.size.windows[:2]:
            what = f"{name}, batch {count}"
            yield from attempted(what, measure(bench, what, overrides, part, count))


def measure(bench: Bench, what: str, overrides: tuple[str, ...], part: FrozenPart, count: int) -> Iterator[Line]:
    setting = bench.setting(*overrides)
    batch = draw_batch(setting, count).to(bench.device.name)
    step = PlainStep(setting, with_cached(setting.policy, batch, part), bench.device)
    try:
        yield from measure_step(bench, what, step, count, count_operations(step))
    finally:
        step.close()
