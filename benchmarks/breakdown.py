"""What a step's time goes to, by kind of work: torch's profiler, its kernels sorted into a few kinds.

In: a function. Out: the share of its time that each kind takes, and each kernel. On a GPU, time in which no kernel runs
is `idle`: the processor was not fast enough to hand out the next one. On a CPU what lies between operators is in
`other`.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.device import Cpu, Device

KINDS = {  # -> names of operators and of GPU kernels; the first that fits
    "attention": r"attention|flash|fmha",
    "LSTM": r"rnn|lstm",
    "matrix products": r"::(?:mm|addmm|bmm|baddbmm|linear)$|gemm|cutlass|nvjet|cublas|mkldnn_linear|matmul",
    "convolution": r"conv",
    "layer norm": r"norm",
    "optimizer": r"foreach|multi_tensor|adam",
}
ELEMENTS, IDLE = "element by element, copies, all else", "idle"
US = 1e-6


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Shares of the whole, the largest first: of each kind, which add up to 1; of each operator or kernel, by name."""

    kinds: Mapping[str, float]
    names: Mapping[str, float]


def break_down(run: Callable[[], Any], device: Device | None = None) -> Breakdown:
    """`run` is run twice, and the second time counts."""
    device = device or Cpu()
    on_gpu = device.accelerator == "gpu"
    run()
    device.wait()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        begun = time.perf_counter()
        run()
        device.wait()
        whole = time.perf_counter() - begun
    names: dict[str, float] = defaultdict(float)
    for event in found.key_averages():
        is_kernel = event.device_type.name == "CUDA"
        if is_kernel == on_gpu and not getattr(event, "is_user_annotation", False):  # which spans kernels
            names[event.key] += US * (event.self_device_time_total if on_gpu else event.self_cpu_time_total)
    kinds: dict[str, float] = defaultdict(float)
    for name, seconds in names.items():
        kinds[find_kind(name)] += seconds
    if on_gpu:
        kinds[IDLE] = max(whole - sum(kinds.values()), 0.0)
    total = sum(kinds.values())
    return Breakdown(kinds=_shares(kinds, total), names=_shares(names, total))


def _shares(seconds: Mapping[str, float], total: float) -> dict[str, float]:
    return {name: seconds[name] / total for name in sorted(seconds, key=lambda name: -seconds[name])}


def find_kind(name: str) -> str:
    """Of an operator or a kernel."""
    return next((kind for kind, names in KINDS.items() if re.search(names, name, re.IGNORECASE)), ELEMENTS)
