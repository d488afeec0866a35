"""The tests that need a GPU (marked `gpu`), each with its outcome."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.findings import Note
from benchmarks.table import Line

ROOT = Path(__file__).parents[3]
MARK = "mark.gpu"
OUTCOME = re.compile(r"^(\S+::\S+) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)", re.MULTILINE)
PATIENCE_S = 120


def run(bench: Bench) -> Iterator[Line | Note]:
    """Without a GPU, the other tests of the same files."""
    files = sorted(str(file) for file in (ROOT / "tests").rglob("test_*.py") if MARK in file.read_text())
    which = "gpu" if bench.device.accelerator == "gpu" else "not gpu and not slow"
    quiet = ("-o", "addopts=", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-vv", *quiet, "-m", which, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    print(done.stdout, done.stderr)
    outcomes = OUTCOME.findall(done.stdout)
    if not outcomes:
        raise RuntimeError(f"pytest ran no test: {(done.stdout + done.stderr)[-300:]}")
    passed = [name for name, outcome in outcomes if outcome == "PASSED"]
    yield Line.number(f"marked `{which}`: passed", len(passed), f"of {len(outcomes)} tests")
    for name, outcome in outcomes:
        if outcome != "PASSED":
            yield Note(what=name, text=outcome.lower())
