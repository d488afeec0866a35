"""How a command ends: an exit code, and one line or a traceback on stderr.

0, which means that the result is there; 2 for a user's mistake; 1 for ours, with its traceback; 130 for Ctrl-C, 143 for
SIGTERM. Only `main` exits the process: in a sweep one job's end is a number, and the next job starts, unless a signal
ended it.
"""

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.words import tell

USER, OURS, INTERRUPTED = 2, 1, 130


def find_outcome(work: Callable[[], int], rank: int = 0, names: Mapping[str, str] | None = None) -> int:
    """Run the work and say how it ended; only Ctrl-C passes through. names: of arguments, see `words.tell`."""
    try:
        return work()
    except UserError as error:
        where = f"rank {rank}: " if rank else ""
        print(f"mobile-vla: error: {where}{tell(error, names)}", file=sys.stderr)
        return USER
    except SystemExit as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        # A library that exits takes the other jobs of a sweep with it; here it only ends its own.
        traceback.print_exc()
        return OURS
    except Exception:
        traceback.print_exc()
        return OURS


def find_worst(codes: Iterable[int]) -> int:
    """The code of several jobs: our fault before the user's."""
    seen = set(codes)
    return OURS if OURS in seen else USER if USER in seen else max(seen, default=0)


def _was_interrupted(error: BaseException | None) -> bool:
    # Lightning answers Ctrl-C with exit(1), raised while KeyboardInterrupt is handled.
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
