"""What a training step takes of the device's memory: one window, and the largest batch that fits into a card.

A card's memory is imitated: no more than that may be taken of this device, CUDA's own part included. The largest batch
is found by doubling and halving, two steps each, so that the optimizer's state is there; its speed is that within the
limit.
"""

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.device import GB, OutOfMemory
from benchmarks.gpu.bench import ALL, Bench, draw_batch
from benchmarks.gpu.findings import Note
from benchmarks.gpu.plain_step import PlainStep, repeated
from benchmarks.gpu.speed import count_operations, describe_speed, measure_peak
from benchmarks.gpu.words import LORA_ALL, TAKEN
from benchmarks.policy_step import PolicyStep
from benchmarks.table import Line

FINENESS = 16  # a batch is looked for to within this part of it


def run(bench: Bench) -> Iterator[Line | Note]:
    yield from measure(bench, ALL, LORA_ALL)


def measure(bench: Bench, overrides: str, name: str) -> Iterator[Line | Note]:
    yield from measure_one_window(bench, overrides, name)
    yield from measure_cards(bench, overrides, name)


def measure_cards(bench: Bench, overrides: str, name: str) -> Iterator[Line | Note]:
    """The largest batch of each, and how fast it is; the smallest card first."""
    most, least = bench.size.most_windows, 1
    for card in bench.size.cards_gb:
        what = f"{name}: largest batch within {card} GB"
        if card * GB > bench.device.total_bytes:
            yield Note(what=what, text=f"not measured: this device has {bench.device.total_bytes / GB:.1f} GB")
            continue
        found = find_largest(partial(fits, bench, overrides, card), least, most)
        if not found:
            yield Note(what=what, text="not one window fits")
            continue
        least = found
        yield Line.number(f"{what}{' (no larger one was tried)' * (found == most)}", found, "windows")
        yield from measure_within(bench, overrides, card, what, found)


def measure_one_window(bench: Bench, overrides: str, name: str) -> Iterator[Line]:
    """Through the Trainer, as users run it."""
    setting = bench.setting(overrides)
    batch = draw_batch(setting, 1)
    bench.device.begin_peak()
    PolicyStep(setting, [batch])()
    peak = bench.device.peak()
    yield Line.number(f"{name}: {TAKEN}", peak.taken / GB, "GB")
    yield Line.number(f"{name}: of it, tensors", peak.allocated / GB, "GB")


def find_largest(fits: Callable[[int], bool], least: int, most: int) -> int:
    """The largest number that fits, to within a part of it; 0 where 1 does not. least: that may be assumed to fit."""
    fitting, low = 0, least
    while low <= most and fits(low):
        fitting, low = low, 2 * low
    if not fitting:
        return 0 if least == 1 else find_largest(fits, 1, least - 1)
    behind = min(low, most + 1)
    while behind - fitting > max(fitting // FINENESS, 1):
        middle = (fitting + behind) // 2
        fitting, behind = (middle, behind) if fits(middle) else (fitting, middle)
    return fitting


def fits(bench: Bench, overrides: str, card: int, count: int) -> bool:
    """Two steps, on a card of so many GB."""
    setting = bench.setting(overrides)
    try:
        with bench.device.limited_to(card * GB):
            step = PlainStep(setting, draw_batch(setting, count), bench.device)
            try:
                step()
                step()
            finally:
                step.close()
    except OutOfMemory:
        return False
    return True


def measure_within(bench: Bench, overrides: str, card: int, what: str, count: int) -> Iterator[Line]:
    setting, peak = bench.setting(overrides), measure_peak(bench)
    with bench.device.limited_to(card * GB):
        step = PlainStep(setting, draw_batch(setting, count), bench.device)
        try:
            timings = bench.take_turns({what: repeated(step, bench.device)})
            taken = bench.device.peak().taken
            operations = count_operations(step)
        finally:
            step.close()
    yield Line.number(f"{what}: taken of the device", taken / GB, "GB")
    rates = timings.rates(what, 1)
    yield from describe_speed(what, rates, [peak] * len(rates), count, operations)
