"""What a command is: a name, a line about it, examples, and a function that prepares its job.

In: the composed configuration as a plain dict (resolved; without the words that the command line itself reads:
`out`, `name`, and `run` or `config` where the command takes them) and a `Context`.
Out: a `Job`, whose `run` does the work in the output folder and returns a `Report`.

A command is one small file in `cli` that defines `COMMAND`, and a line in `cli/registry.py`. Its module imports nothing
heavy at the top: `--help` imports it. What it does lies in the rooms below, and `api` offers it to programs as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SavedRun:
    """A run that `run=` named. config: its own, with this command line's overrides; saved: as the run stored it."""

    folder: Path
    config: dict[str, Any]
    saved: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a command may know about how it was called."""

    command: str
    overrides: tuple[str, ...] = ()  # as typed; in a sweep, those of this job
    name: str = "default"  # name= or, without it, a short file name made of the overrides
    sweep: bool = False
    job_index: int | None = None  # in a sweep, from 0
    run_folder: Path | None = None  # run=<folder>, absolute; the first of several
    runs: tuple[SavedRun, ...] = ()  # all that run= named
    config_file: Path | None = None  # the saved configuration that run= or config= named, absolute
    rank: int = 0  # of this process among those of one training
    out: Path | None = None  # the folder that out= names, absolute; None for a default one, and in a sweep

    @property
    def settings(self) -> frozenset[str]:
        """Dotted names of what was typed."""
        return frozenset(text.lstrip("+").partition("=")[0] for text in self.overrides)

    @property
    def insists_on_machine(self) -> bool:
        """Whether the accelerator was asked for now, so that what else there is will not do."""
        return not self.settings.isdisjoint(("trainer.accelerator", "trainer.precision"))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a job found: `payload` becomes `<command>.json`, `table` is printed.

    `schema` is the version of the payload's form. Rows hold anything that `str` turns into a cell. `fault` is what
    makes that which was looked at unusable, in one line: told behind all else, with the exit code of a user's mistake.
    """

    payload: Mapping[str, Any]
    table: Sequence[Sequence[object]] = ()
    columns: Sequence[str] = ()  # headings; none, when empty
    schema: int = 1
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work that was found valid. `folder` is an existing folder to continue in; None asks for a new one.

    Every rank of a training calls `run`; the folder is sure to exist on rank 0 alone until the ranks first meet.
    """

    run: Callable[[Path], Report]
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Command:
    """One verb of `mobile-vla`.

    `prepare` checks everything that a user can get wrong and raises `UserError`: nothing has been written yet.
    `saved` says which of the words `run` and `config` this command takes: each loads the configuration that a
    run saved, in place of composing one from groups. `config` is for the command that saved it, to repeat the run.
    `several`: `run` may be a list of runs. `needs_run`: the command does nothing without one.
    `optional`: settings that a saved configuration may lack (`???`) without being asked for: they are null.
    `names`: what the command line calls an argument of the library, for errors: `taps` is typed `probe.taps`.
    `continues`: whether the folder that `out=` names, which is not empty, holds work of this command to go on with.
    """

    name: str
    prepare: Callable[[dict[str, Any], Context], Job]
    summary: str = ""
    examples: tuple[str, ...] = ()
    saved: tuple[str, ...] = field(default=())
    several: bool = False
    needs_run: bool = False
    optional: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    continues: Callable[[Path], bool] = field(default=lambda out: False)

    @property
    def own_words(self) -> tuple[str, ...]:
        """Settings that the command line itself reads."""
        return ("out", "name", *self.saved)
