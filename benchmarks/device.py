"""The device that is measured, and all that is asked of CUDA: a CPU stands in for it where there is none.

In: `gpu` or `cpu`, as Lightning names accelerators. Out: a `Device`. On a CPU its memory is that of this process, a
limit is checked when the work is done, and a captured graph is the function itself; so whatever is written for a GPU
runs on a CPU too, and its tests need no other code.
"""

import gc
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory import read_memory
from benchmarks.timing import CLOCKS, Clock

GB = 2**30  # as cards are sold
WARM_UPS = 3  # runs before a graph is captured: libraries choose their kernels in them
FORGET_PEAK = "5"  # what Linux wants to read, before it begins a new peak
OutOfMemory = torch.OutOfMemoryError


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Bytes since the last one. allocated: of tensors;  taken: of the device, all that no other program can have."""

    allocated: int
    taken: int


class Cpu:
    """Stands in for a GPU."""

    name = "cpu"
    accelerator = "cpu"

    def wait(self) -> None:
        """Until all that was handed to the device is done."""

    @property
    def clocks(self) -> Mapping[Clock, Callable[[], float]]:
        """To be read by name; what was handed to the device is waited for."""
        return CLOCKS

    @property
    def total_bytes(self) -> int:
        (line,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
        return 1024 * int(line.split()[1])

    def free(self) -> None:
        """Give back what nothing holds any more."""
        gc.collect()

    def begin_peak(self) -> None:
        self.free()
        Path("/proc/self/clear_refs").write_text(FORGET_PEAK)

    def peak(self) -> Peak:
        found = round(read_memory("VmHWM"))
        return Peak(allocated=found, taken=found)

    @contextmanager
    def limited_to(self, num_bytes: int) -> Iterator[None]:
        """As if the device had so many bytes; `OutOfMemory` where the work takes more."""
        self.begin_peak()
        yield
        if self.peak().taken > num_bytes:
            raise OutOfMemory(f"{num_bytes} bytes are not enough")

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Float32 is computed as float32 everywhere."""
        yield

    def capture(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """What runs all kernels of `run` again, on the tensors that it has read and written; `run` runs before."""
        for _ in range(WARM_UPS):
            run()
        return run

    def describe(self) -> dict[str, str]:
        return {"device": f"none: the CPU stands in ({platform.machine()})", "PyTorch": torch.__version__}


class Gpu(Cpu):
    """The current CUDA device."""

    name = "cuda"
    accelerator = "gpu"

    def wait(self) -> None:
        torch.cuda.synchronize()

    @property
    def clocks(self) -> Mapping[Clock, Callable[[], float]]:
        return {"wall": self._wait_and_read, "cpu": time.process_time}

    def _wait_and_read(self) -> float:
        self.wait()
        return time.perf_counter()

    @property
    def total_bytes(self) -> int:
        return torch.cuda.get_device_properties(self.name).total_memory

    def free(self) -> None:
        super().free()
        torch.cuda.empty_cache()

    def begin_peak(self) -> None:
        self.free()
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> Peak:
        reserved = torch.cuda.max_memory_reserved()
        return Peak(allocated=torch.cuda.max_memory_allocated(), taken=reserved + self._bytes_outside())

    @contextmanager
    def limited_to(self, num_bytes: int) -> Iterator[None]:
        self.begin_peak()
        rest = num_bytes - self._bytes_outside()
        torch.cuda.set_per_process_memory_fraction(min(max(rest, 0) / self.total_bytes, 1.0))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    @contextmanager
    def exact(self) -> Iterator[None]:
        allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed

    def capture(self, run: Callable[[], Any]) -> Callable[[], Any]:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay

    def describe(self) -> dict[str, str]:
        found = torch.cuda.get_device_properties(self.name)
        return {
            "device": f"{found.name}, {found.total_memory / GB:.1f} GB",
            "compute capability": f"{found.major}.{found.minor}",
            "multiprocessors": str(found.multi_processor_count),
            "driver": _find_driver(),
            "PyTorch": torch.__version__,
            "CUDA of PyTorch": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),
        }

    def _bytes_outside(self) -> int:
        """Of the device, outside torch's allocator: the CUDA context, and whatever else runs there."""
        free, total = torch.cuda.mem_get_info()
        return total - free - torch.cuda.memory_reserved()


Device = Cpu  # of either kind


def find_device(accelerator: str) -> Device:
    """By Lightning's name."""
    return Gpu() if accelerator == "gpu" else Cpu()


def has_gpu() -> bool:
    return torch.cuda.is_available()


def _find_driver() -> str:
    """Torch does not tell it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return "unknown: nvidia-smi does not run"
