"""Two processes train what one process trains with the same windows a step, and validate every window once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.comparing import differences

SCRIPT = Path(__file__).with_name("ddp_training.py")
RESUMED = Path(__file__).with_name("resumed_ddp_training.py")


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
        for name in ("val_loss", "effects/image"):
            assert found["metrics"][name] == pytest.approx(one["metrics"][name], rel=1e-4)


def train_in_two(out: Path, root: Path, **asked) -> list[dict]:
    """How both processes ended."""
    settings = {"trainer": {"devices": 2, "strategy": "ddp"}, "data": {"batch_size": 4, "num_workers": 1}}
    asked = {**settings, "out": str(out), "root": str(root), **asked}
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(RESUMED), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((out / f"ended_{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_resume_to_the_last_bit(episode_files, tmp_path):
    """Left within an epoch; then by a signal that reached one of them only; then to the end."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    first, second = train_in_two(whole, episode_files)
    assert first == second
    assert first["why"] == "finished"
    for ended in train_in_two(out, episode_files, interrupt=2):
        assert ended == {"step": 2, "why": "at 2"}
    for ended in train_in_two(out, episode_files, sigterm=4):
        assert ended == {"step": 5, "why": "stopped by SIGTERM after step 5, which is saved"}
    assert torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["position"]["step"] == 5
    train_in_two(out, episode_files)
    assert differences(out, whole) == []


@pytest.mark.slow
def test_a_bad_loss_is_told_by_its_episodes_whichever_process_met_it(episode_files, tmp_path):
    """The mean of a whole step of both is above the limit, and all of its episodes are named by both."""
    first, second = train_in_two(tmp_path / "run", episode_files, guard={"max_loss": 1e-3})
    assert first["why"] == second["why"]
    assert first["step"] == second["step"] == 0
    assert first["why"].count("episode_") >= 5
