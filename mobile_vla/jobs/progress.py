"""A progress bar on stderr for long work; on stdout are only the table and the folder.

Work that fails takes its bars away: what went wrong is then the only line.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def show_progress(what: str, enabled: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes (done, total) and moves the bar."""
    with _bars(enabled) as bars:
        bars.start()
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def show_steps(enabled: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes (what, done, total): one bar for each kind of work, shown once it takes a while."""
    tasks = {}
    with _bars(enabled) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                bars.start()
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


@contextmanager
def _bars(enabled: bool) -> "Iterator[Progress]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True), disable=not enabled)
    try:
        yield bars
    except BaseException:
        bars.live.transient = True
        raise
    finally:
        if bars.live.is_started:
            bars.stop()
