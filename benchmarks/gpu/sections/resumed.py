"""fp16 with its gradient scaler: a training that is killed and continued ends as one that nothing disturbed.

Through the command line, the tiny model, a checkpoint a step, SIGKILL after some of them. The last checkpoints of both
are compared entry by entry, to the last bit: weights, optimizer, schedule, loops, and the scaler.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.findings import Note
from benchmarks.gpu.words import ENTRIES
from benchmarks.setting import RESOLUTION
from benchmarks.table import Line
from mobile_vla.checkpoints.files import LAST
from mobile_vla.sources.synthetic.writer import SynthConfig, write_episodes
from tests.training.comparing import compare

EPISODES = SynthConfig(episodes=6, resolution=RESOLUTION, workers=1)
SAVED = 4  # checkpoints, before it is killed
PATIENCE_S = 120
SCALER = "MixedPrecision"  # where Lightning keeps its state
# With it cuBLAS adds up in the same order every time, in the LSTM too.
REPEATABLE = {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}


def run(bench: Bench) -> Iterator[Line | Note]:
    folder = bench.folder / "resumed"
    write_episodes(EPISODES, folder / "episodes")
    words = [
        "train",
        "model=tiny",
        *bench.size.trained,
        "trainer.deterministic=warn",
        "callbacks.checkpoint.every_n_steps=1",
        "callbacks.figures=null",
        "logger.tensorboard=false",
        "doctor.refuse=false",
        f"data.root={folder / 'episodes'}",
        f"data.pack_dir={folder / 'packed'}",
        f"cache.dir={folder / 'features'}",
    ]
    whole, killed = folder / "whole", folder / "killed"
    undisturbed = start([*words, f"out={whole}"], folder / "whole.log")
    step = kill(start([*words, f"out={killed}"], folder / "killed.log"), killed)
    yield Note(what="killed", text=f"by SIGKILL, when step {step} was saved")
    finish(undisturbed, folder / "whole.log")
    finish(start(["train", f"run={killed}"], folder / "killed.log"), folder / "killed.log")
    yield from describe(*(read_last(out) for out in (killed, whole)))


def start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("a") as out:
        command = [sys.executable, "-m", "mobile_vla", *words]
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **REPEATABLE})


def kill(training: subprocess.Popen[bytes], out: Path) -> int:
    """After some checkpoints; the step that the last whole one stands at."""
    last, until = out / "checkpoints" / LAST, time.monotonic() + PATIENCE_S
    seen: set[int] = set()
    while len(seen) < SAVED:
        if training.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{SAVED} checkpoints were not seen (exit code {training.poll()})")
        if last.exists():
            seen.add(last.stat().st_mtime_ns)
        time.sleep(0.002)
    training.send_signal(signal.SIGKILL)
    training.wait()
    return int(read_last(out)["global_step"])


def finish(training: subprocess.Popen[bytes], log: Path) -> None:
    if code := training.wait(PATIENCE_S):
        raise RuntimeError(f"a training ended with {code}: {log.read_text()[-300:]}")


def read_last(out: Path) -> dict:
    return torch.load(out / "checkpoints" / LAST, weights_only=True, map_location="cpu")


def describe(found: dict, expected: dict) -> Iterator[Line | Note]:
    """What says where a run lies is left out."""
    for content in (found, expected):
        content.pop("mobile_vla")
    lines = compare(found, expected, LAST)
    yield Line.number("steps of the whole training", expected["global_step"], "steps")
    yield Line.number("last checkpoint", len(lines), ENTRIES)
    if lines:
        yield Note(what="first difference", text=lines[0][:300])
    scaler = expected.get(SCALER)
    yield Note(what="scaler in the checkpoint", text="none: float32 has none" if scaler is None else str(scaler))
