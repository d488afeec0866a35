"""Ctrl-C that nothing swallows.

Python raises KeyboardInterrupt at the next line that it runs. After a long call into a C library that line is often
a callback of the garbage collection (h5py has one for every object), where exceptions are reported and dropped: the
work would go on. While the block runs, such a report sends the interrupt again.
"""

import _thread
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mobile_vla.core.errors import Interrupted

PAUSE_S = 0.02  # until the callback is over, and the next line may be one that can be interrupted


@contextmanager
def keep_interrupts() -> Iterator[None]:
    """Send an interrupt again when it was raised where exceptions are dropped."""
    before = sys.unraisablehook

    def report(dropped: Any) -> None:
        if dropped.exc_type is not None and issubclass(dropped.exc_type, KeyboardInterrupt | Interrupted):
            threading.Timer(PAUSE_S, _thread.interrupt_main).start()
        else:
            before(dropped)

    sys.unraisablehook = report
    try:
        yield
    finally:
        sys.unraisablehook = before
