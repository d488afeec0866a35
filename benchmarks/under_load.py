"""An epoch of the demo's training while other processes compute: how OpenMP's threads wait, and how many there are.

In: nothing. Out: seconds of an epoch (training and validation, without preparing either) with as many threads as the
machine has cores and with one, when threads wait for each other as OpenMP's library does by default (they spin) and
when they sleep; each with nothing else running, and beside three processes that multiply matrices in two threads each.

The library reads the setting when torch is loaded, so each variant has a process of its own. It is prepared and runs
an epoch before anything counts, then runs one each time that it reads a line. The other processes are stopped while an
epoch is timed without them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.setting import RESOLUTION, NoCheckpoints, Setting, prepare_training
from benchmarks.table import Line
from benchmarks.timing import CLOCKS, Stopwatch, Took, Variant, alternate
from mobile_vla.sources.synthetic.writer import SynthConfig
from mobile_vla.training.trainer import build_trainer

EPISODES = SynthConfig(episodes=20, resolution=RESOLUTION, workers=1)
ROUNDS = 10  # at most; the limit of seconds comes first
WAITING = {"spinning": {}, "sleeping": {"OMP_WAIT_POLICY": "passive"}}  # what a process gets beside OMP_NUM_THREADS
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # whoever runs the benchmark may have set them
QUIET, BUSY = "alone", "beside 3 processes"
NUM_OTHERS = 3
MULTIPLY = "import torch; torch.set_num_threads(2); a = torch.randn(1024, 1024); print(flush=True)\nwhile True: a @ a"


def run(limit_s: float, threads: int) -> list[Line]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        others = [stack.enter_context(_process(["-c", MULTIPLY], {})) for _ in range(NUM_OTHERS)]
        for other in others:
            _read_line(other)  # it has begun to multiply
        _send(others, signal.SIGSTOP)
        trainings = {}
        for number in (threads, 1):
            for waiting, environment in WAITING.items():
                words = ["-m", "benchmarks.under_load", str(folder / f"{number}-{waiting}")]
                process = _process(words, {**environment, "OMP_NUM_THREADS": str(number)})
                trainings[f"{number} thread{'s' if number > 1 else ''}, {waiting}"] = stack.enter_context(process)
        variants: dict[str, Variant] = {}
        for name, training in trainings.items():
            _run_epoch(training)
            variants[f"{name}, {QUIET}"] = partial(_run_epoch, training)
            variants[f"{name}, {BUSY}"] = partial(_run_epoch_beside, training, others)
        timings = alternate(variants, rounds=ROUNDS, limit_s=limit_s, warmups=0, threads=threads)
    spinning = f"{threads} threads, spinning"
    return [
        Line.of(timings, name, None if name.startswith(spinning) else f"{spinning}, {place}", clock)
        for clock in CLOCKS
        for place in (QUIET, BUSY)
        for name in variants
        if name.endswith(place)
    ]


@contextmanager
def _process(arguments: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A Python of its own, ended with the block."""
    given = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=given | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _run_epoch_beside(training: subprocess.Popen[str], others: Sequence[subprocess.Popen[str]]) -> Took:
    _send(others, signal.SIGCONT)
    try:
        return _run_epoch(training)
    finally:
        _send(others, signal.SIGSTOP)


def _run_epoch(training: subprocess.Popen[str]) -> Took:
    assert training.stdin is not None
    print(file=training.stdin, flush=True)
    return Took(**json.loads(_read_line(training)))


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = process.stdout.readline()
    if not found:
        raise RuntimeError(f"{' '.join(map(str, process.args))} ended, with code {process.wait()}")
    return found


def _send(processes: Sequence[subprocess.Popen[str]], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)


def answer(folder: Path) -> None:
    """In a process of its own: an epoch for each line of stdin, and for each what it took, on stdout."""
    setting = Setting.of(prepare_training(folder, ["experiment=demo", "trainer=cpu"], EPISODES))
    training = setting.training
    for _ in sys.stdin:
        trainer = build_trainer(training.config.trainer, training.machine, folder, [NoCheckpoints()], [])
        module = setting.module()
        watch = Stopwatch()
        trainer.fit(module, training.data)
        print(json.dumps(asdict(watch.stop())), flush=True)


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
