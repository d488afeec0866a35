"""Two processes train what one process trains with the same windows a step, and validate every window once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("ddp_training.py")


def run(folder: Path, batch_size: int, world: int) -> list[dict]:
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={world}", "--master_port=0", "--standalone"]
    command = [sys.executable, *(launcher if world > 1 else []), SCRIPT, folder, batch_size, world]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"result_{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (one,) = run(tmp_path / "one", 8, 1)
    first, second = run(tmp_path / "two", 4, 2)
    assert one["steps"] == first["steps"] == second["steps"] > 4
    for name, gradient in one["gradients"].items():
        scale = float(gradient.abs().max())
        assert torch.allclose(first["gradients"][name], gradient, atol=1e-6 + 1e-4 * scale, rtol=0), name
    for name, weight in one["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        # Adam divides by the gradient's own size, so rounding of a tiny gradient shows up undiminished: a few steps
        # of 1e-3 stay far below one step's length
        assert torch.allclose(first["weights"][name], weight, atol=2e-4, rtol=0), name
    for found in (first, second):
        assert found["metrics"]["val/windows"] == one["metrics"]["val/windows"]
        assert found["metrics"]["val/episodes"] == one["metrics"]["val/episodes"]
        assert found["metrics"]["val_loss"] == pytest.approx(one["metrics"]["val_loss"], rel=1e-4)
