"""Sections in their turn, in a process that may die, within what is left of the time.

In: sections, the most worth first, and how many seconds there are. Out: a `Findings` of each, and every piece of them
as soon as it is found. One process runs section after section, since importing and building take long; where a section
fails, takes longer than it may, or takes the process with it, that process is ended and the next section gets a fresh
one. A section that would not be begun in time is skipped, and says so.
"""

import importlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.gpu.findings import DONE, Findings, describe_error

Deliver = Callable[[Findings, Any], None]  # a piece that was found; None where the section ended


@dataclass(frozen=True, kw_only=True)
class Section:
    """One thing that is measured, by the function `run` of a module: from a bench to pieces.

    limit_s  it may take, a fresh process included;  least_s  with less left it is not begun
    """

    name: str
    title: str
    module: str
    limit_s: float
    least_s: float = 15.0


@dataclass(frozen=True)
class Worker:
    """How a fresh process makes what its sections share. prepare: `module:function`, without imports of its own kind.

    arguments  of that function, plain values;  log  the file that gets what the process prints
    """

    prepare: str
    arguments: tuple[Any, ...]
    log: Path


def run_all(sections: Sequence[Section], worker: Worker, budget_s: float, deliver: Deliver) -> list[Findings]:
    """`deliver` is called in this process, for each piece and for each end."""
    until = time.monotonic() + budget_s
    found: list[Findings] = []
    process: _Process | None = None
    try:
        for section in sections:
            findings = Findings(name=section.name)
            found.append(findings)
            left = until - time.monotonic()
            if left < section.least_s:
                findings.ended = (
                    f"skipped: {max(left, 0):.0f} s of {budget_s:.0f} s were left, and it needs {section.least_s:.0f}"
                )
                deliver(findings, None)
                continue
            process = process or _Process(worker)
            begun = time.monotonic()
            for piece in process.run(section, min(section.limit_s, left), findings):
                findings.pieces.append(piece)
                deliver(findings, piece)
            findings.seconds = time.monotonic() - begun
            deliver(findings, None)
            if findings.ended != DONE:
                process.end()
                process = None
    finally:
        if process is not None:
            process.end()
    return found


class _Process:
    """A fresh process, with a group of its own: what it starts ends with it."""

    def __init__(self, worker: Worker):
        context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a fork
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, worker))
        self._process.start()
        there.close()

    def run(self, section: Section, limit_s: float, findings: Findings) -> Iterator[Any]:
        """Its pieces; `findings.ended` says how it ended."""
        until = time.monotonic() + limit_s
        try:
            self._here.send(section.module)
            while self._here.poll(max(until - time.monotonic(), 0)):
                kind, content = self._here.recv()
                if kind == "ended":
                    findings.ended = content
                    return
                yield content
            findings.ended = f"failed: not done within {limit_s:.0f} s"
        except (EOFError, OSError):
            self._process.join(5)
            findings.ended = f"failed: its process died ({_describe_exit(self._process.exitcode)})"

    def end(self) -> None:
        assert self._process.pid is not None, "it was started"
        self._process.kill()  # by itself: it may not yet lead its group
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._here.close()


def _serve(there: Connection, worker: Worker) -> None:
    """In the new process: run what is asked for, until nothing is any more."""
    os.setsid()
    with worker.log.open("a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    bench = None
    while True:
        try:
            module = there.recv()
        except EOFError:
            return
        try:
            bench = bench or _find(worker.prepare)(*worker.arguments)
            pieces: Iterable[Any] = importlib.import_module(module).run(bench)
            for piece in pieces:
                there.send(("piece", piece))
            there.send(("ended", DONE))
        except Exception as error:  # whatever it is: the others have their turn, and it is written down
            traceback.print_exc()
            there.send(("ended", f"failed: {describe_error(error)}"))


def _find(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
