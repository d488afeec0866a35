"""Around a command's imports of torch and the libraries above it: quiet, and without looking for garbage meanwhile.

Thousands of modules make objects that stay until the process ends. Python's collector goes through them again and again
while they are made, a fifth of the time that importing takes, and again at every full collection afterwards, in every
worker that is forked. So it is off until all is imported, and leaves what is there by then out of its later rounds.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mobile_vla.jobs.quiet import quiet_libraries, quiet_loggers


@contextmanager
def importing_libraries() -> Iterator[None]:
    """A block of import statements."""
    quiet_libraries()
    # Where torch is there already little is left to import, and garbage may be about, which must not be frozen.
    defers = gc.isenabled() and "torch" not in sys.modules
    if defers:
        gc.disable()
    try:
        yield
    finally:
        if defers:
            gc.freeze()
            gc.enable()
    quiet_loggers()
