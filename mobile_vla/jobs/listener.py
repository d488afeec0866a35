"""Who learns how a command ended: the terminal, or the program that called it.

In: the work of a command, and its report. Out: an exit code; and a table with the folder on stdout, or, for a program,
the folder and the exception themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mobile_vla.jobs.command import Report
from mobile_vla.jobs.outcome import OURS, find_outcome
from mobile_vla.jobs.results import print_table


class Listener(Protocol):
    def settle(self, work: Callable[[], int], rank: int) -> int:
        """Do the work; the exit code. Nothing is raised but what interrupts."""
        ...

    def finish(self, report: Report, out: Path) -> None:
        """The report is written, in `out`."""
        ...


@dataclass(frozen=True)
class Terminal:
    """For people: errors go to stderr, a table and then the folder to stdout. names: of arguments, see `words.tell`."""

    names: Mapping[str, str] = field(default_factory=dict)

    def settle(self, work: Callable[[], int], rank: int) -> int:
        return find_outcome(work, rank, self.names)

    def finish(self, report: Report, out: Path) -> None:
        print_table(report)
        print(out, flush=True)


class Caller:
    """For a program: keeps the folder, and the error, which is still to be raised."""

    def __init__(self) -> None:
        self.out: Path | None = None
        self.error: Exception | None = None

    def settle(self, work: Callable[[], int], rank: int) -> int:
        try:
            return work()
        except Exception as error:
            self.error = error
            return OURS

    def finish(self, report: Report, out: Path) -> None:
        self.out = out
