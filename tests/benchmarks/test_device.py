"""A CPU stands in for a GPU in everything that is asked of one, and CUDA is asked in one file."""

import ast
from pathlib import Path
from unittest import mock

import pytest
import torch

from benchmarks import device
from benchmarks.device import WARM_UPS, Cpu, Gpu, OutOfMemory, find_device

BENCHMARKS = Path(device.__file__).parent
MB = 2**20

pytestmark = pytest.mark.usefixtures("heap")


def used_of_cuda(file: Path) -> set[str]:
    """Dotted names below `torch` that are CUDA's."""
    found = (ast.unparse(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute))
    mine = ("torch.cuda.", "torch.backends.cu", "torch.version.cuda")
    return {name for name in found if name.startswith(mine) and "(" not in name}


def test_cuda_is_asked_in_one_file_and_has_all_that_it_is_asked_for():
    users = {file for file in BENCHMARKS.rglob("*.py") if used_of_cuda(file)}
    assert users == {BENCHMARKS / "device.py"}
    for name in used_of_cuda(BENCHMARKS / "device.py"):
        value = torch
        for part in name.split(".")[1:]:
            value = getattr(value, part)  # AttributeError for what torch does not have


def test_a_gpu_answers_whatever_a_cpu_does():
    assert {name for name in vars(Gpu) if not name.startswith("_")} <= set(dir(Cpu))
    assert isinstance(find_device("gpu"), Gpu)
    assert not isinstance(find_device("cpu"), Gpu)


def test_the_peak_is_what_was_taken_since_it_began():
    cpu = Cpu()
    cpu.begin_peak()
    before = cpu.peak().taken
    torch.ones(64 * MB)  # 256 MB, which are given back
    risen = cpu.peak().taken - before
    assert 200 * MB < risen < 400 * MB
    cpu.begin_peak()
    assert cpu.peak().taken < before + 100 * MB


def test_work_beyond_the_limit_is_out_of_memory():
    cpu = Cpu()
    cpu.begin_peak()
    now = cpu.peak().taken
    with cpu.limited_to(now + 100 * MB):
        torch.ones(MB)
    with pytest.raises(OutOfMemory, match="not enough"), cpu.limited_to(now + 100 * MB):
        torch.ones(64 * MB)


@pytest.fixture
def cuda(monkeypatch):
    """A device of 100 bytes, of which torch's allocator has reserved 4, and 6 are taken outside it."""
    fake = mock.MagicMock()
    fake.get_device_properties.return_value.total_memory = 100
    fake.mem_get_info.return_value = (90, 100)
    fake.memory_reserved.return_value = 4
    fake.max_memory_reserved.return_value = 50
    fake.max_memory_allocated.return_value = 40
    monkeypatch.setattr(torch, "cuda", fake)
    return fake


def test_what_is_taken_of_a_gpu_counts_what_lies_outside_torch(cuda):
    peak = Gpu().peak()
    assert (peak.allocated, peak.taken) == (40, 56)


def test_the_limit_of_a_gpu_leaves_room_for_what_lies_outside_torch_and_ends_with_the_work(cuda):
    limit = cuda.set_per_process_memory_fraction
    with pytest.raises(ZeroDivisionError), Gpu().limited_to(16):
        raise ZeroDivisionError
    assert limit.call_args_list == [mock.call(0.10), mock.call(1.0)]


def test_a_graph_is_captured_after_warm_ups_aside_and_replayed_without_the_function(cuda):
    runs = []

    def run():
        runs.append((cuda.stream.call_count, cuda.graph.call_count))

    replay = Gpu().capture(run)
    assert runs == [(1, 0)] * WARM_UPS + [(1, 1)]
    cuda.graph.assert_called_once_with(cuda.CUDAGraph())
    replay()
    cuda.CUDAGraph().replay.assert_called_once()
    assert len(runs) == WARM_UPS + 1
