"""Finds something, and takes its process with it."""

import os
import signal

from benchmarks.gpu.findings import Note


def run(bench):
    yield Note(what="before", text="it died")
    os.kill(os.getpid(), signal.SIGKILL)
