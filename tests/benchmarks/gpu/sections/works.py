"""Notes which process it runs in, and which bench it got."""

import os

from benchmarks.gpu.findings import Note


def prepare(folder):
    with (folder / "prepared").open("a") as file:
        file.write("x")
    return folder


def run(bench):
    yield Note(what="process", text=str(os.getpid()))
    yield Note(what="prepared", text=(bench / "prepared").read_text())
