"""Finds something, and fails."""

from benchmarks.gpu.findings import Note


def run(bench):
    yield Note(what="before", text="it failed")
    raise ValueError("a message\nof two lines")
