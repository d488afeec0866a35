"""How fast a step is: windows a second, and the share of the device's own peak that it reaches (MFU).

Operations are counted (`work`): matrix products, convolutions, attention and the LSTM, forward and backward, each once
whatever is recomputed. The peak is that of large bf16 products, multiplied in the same rounds, or right before.
"""

from collections.abc import Sequence

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.plain_step import PlainStep, repeated
from benchmarks.gpu.words import MFU, RATE
from benchmarks.steps import UPSTREAM
from benchmarks.table import Line
from benchmarks.timing import Spread
from benchmarks.work import count_work

PEAK = "matrix product, bfloat16"


def measure_step(
    bench: Bench, what: str, step: PlainStep, num_windows: int, operations: int, upstream: float | None = None
) -> list[Line]:
    """operations: of the step;  upstream: its windows a second."""
    product = bench.product()
    timings = bench.take_turns({what: repeated(step, bench.device), PEAK: product})
    peaks = timings.rates(PEAK, product.operations)
    return describe_speed(what, timings.rates(what, 1), peaks, num_windows, operations, upstream)


def measure_peak(bench: Bench) -> float:
    """Operations a second."""
    product = bench.product()
    return Spread.of(bench.take_turns({PEAK: product}).rates(PEAK, product.operations)).median


def count_operations(step: PlainStep) -> int:
    """Of forward and backward pass, run once and watched."""
    return count_work(step.compute_gradients).operations


def describe_speed(
    what: str,
    rates: Sequence[float],
    peaks: Sequence[float],
    num_windows: int,
    operations: int,
    upstream: float | None = None,
) -> list[Line]:
    """rates: steps a second, round by round;  peaks: operations a second in the same rounds."""
    windows = [rate * num_windows for rate in rates]
    ratio = None if upstream is None else Spread.of([each / upstream for each in windows])
    shares = [100 * rate * operations / peak for rate, peak in zip(rates, peaks, strict=True)]
    return [
        Line(
            what=what,
            spread=Spread.of(windows),
            unit=RATE,
            rounds=len(rates),
            ratio=ratio,
            to=None if upstream is None else UPSTREAM,
        ),
        Line(what=what, spread=Spread.of(shares), unit=MFU, rounds=len(rates)),
    ]
