"""Training and validation of the demo's tiny model, against the code and the sizes of an earlier commit.

In: that commit. Out: windows a second of

    then             the commit's code, with its own sizes
    now, its sizes   this code with the sizes that the commit's `experiment=demo` has: the same parameters
    now              this code with its own sizes

on one batch of eight episodes, as the demo deals them: all that the Trainer does for an optimizer step, and for the
validation of eight episodes. Each runs in a process of its own (see `tiny_worker`), and they take turns. How far loss
and gradient of the first two lie apart says whether they compute the same.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.earlier import BASELINE, CHECKOUT, check_out
from benchmarks.table import Line
from benchmarks.timing import CLOCKS, Took, alternate

THEN, SAME, NOW = "then", "now, its sizes", "now"
ASKED = {SAME: ">= 1.5", NOW: ">= 3"}
WORK = ("train", "validate")
ROUNDS = 20  # at most; the limit of seconds comes first


class Worker:
    """A process that runs the demo's steps when it is asked to."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process
        self.facts = self._read()  # see `tiny_worker`

    def __call__(self, work: str) -> Took:
        assert self.process.stdin is not None
        print(work, file=self.process.stdin, flush=True)
        return Took(**self._read())

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # Lightning says things too
                return json.loads(line)
        raise RuntimeError("tiny_step: a worker has ended; what it said stands above")


def run(limit_s: float, threads: int, baseline: str = BASELINE) -> list[Line]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        then = stack.enter_context(start(check_out(baseline, folder / "then"), folder / THEN, threads, []))
        same = stack.enter_context(start(CHECKOUT, folder / SAME, threads, as_overrides("model", then.facts["sizes"])))
        now = stack.enter_context(start(CHECKOUT, folder / NOW, threads, []))
        workers = {THEN: then, SAME: same, NOW: now}
        variants = {
            f"{work}: {name}": lambda worker=worker, work=work: worker(work)
            for work in WORK
            for name, worker in workers.items()
        }
        timings = alternate(variants, rounds=ROUNDS, limit_s=limit_s, threads=threads)
    windows = {f"{work}: {name}": worker.facts[work] for work in WORK for name, worker in workers.items()}
    lines = []
    for clock in CLOCKS:
        for name in variants:
            to = name.split(": ")[0] + f": {THEN}"
            asked = ASKED.get(name.split(": ")[1])
            unit = f"windows per s {clock}"
            lines.append(Line.rate(timings, name, None if name == to else to, windows, unit, asked, clock))
    for what in ("loss", "gradient"):
        apart = abs(same.facts[what] / then.facts[what] - 1)
        lines.append(Line.number(f"{what} of the same parameters, then and now: apart by", apart, "of it", "< 1e-4"))
    return lines


@contextmanager
def start(root: Path, folder: Path, threads: int, overrides: list[str]) -> Iterator[Worker]:
    """root: of the code that is measured;  folder: for its episodes."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)}
    script = Path(__file__).with_name("tiny_worker.py")
    arguments = [sys.executable, str(script), str(folder), *overrides]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
    ) as process:
        try:
            yield Worker(process)
        finally:
            process.terminate()


def as_overrides(name: str, value: Any) -> list[str]:
    """Words of a command line that set every leaf of a mapping."""
    if isinstance(value, Mapping):
        return [word for key, part in value.items() for word in as_overrides(f"{name}.{key}", part)]
    return [f"++{name}={json.dumps(value)}"]
