"""Finds something, starts a process, and waits for it forever."""

import subprocess
import sys

from benchmarks.gpu.findings import Note


def run(bench):
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    yield Note(what="child", text=str(child.pid))
    child.wait()
