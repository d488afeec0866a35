"""SIGTERM and Ctrl-C while something is at hand that should be ended first: the first is noted, a second one acts.

In: what stays, in words. Out: a function that is called where the work may end, and raises `Interrupted` if it should.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mobile_vla.core.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def hold_signals(
    what: str, kept: str, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
) -> Iterator[Callable[[], None]]:
    """While the block runs; elsewhere than in the main thread, which alone may ask for it, signals are left alone.

    what  is ended before;  kept  what is left then, and how to go on
    """
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if received:
            raise Interrupted(f"stopped by a second {name}; {kept}", number, at_once=True)
        received.append(number)
        say(f"{name}: stopping after {what}; once more to stop at once")

    def leave_if_asked() -> None:
        if received:
            raise Interrupted(f"stopped by {signal.Signals(received[0]).name}; {kept}", received[0])

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, receive) for number in SIGNALS}
    try:
        yield leave_if_asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
