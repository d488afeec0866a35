"""How threads that share a computation wait for each other: asleep, unless the user has said otherwise.

By default OpenMP's threads spin for some milliseconds first. On a machine that other processes use too, a thread that
spins holds the core that the thread it waits for would need, and every product of matrices takes a scheduler's slice.
"""

import os

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # of the standard, of GNU's library, of LLVM's


def wait_asleep() -> None:
    """Call it before torch is imported, which loads the library, which reads the environment once.

    Processes that are started by this one inherit it.
    """
    if not any(name in os.environ for name in SETTINGS):
        os.environ["OMP_WAIT_POLICY"] = "passive"
