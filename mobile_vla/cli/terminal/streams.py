"""stdout and stderr that outlive their readers: what nobody reads any more must not end the work.

`mobile-vla train ... 2>&1 | head -1` closes the pipe after a line. Without care the next line of progress raises
`BrokenPipeError` in the midst of a step, and a training ends without a result. While the block runs, a stream whose
reader has gone (or whose terminal has) writes to nowhere: the work goes on, the results are written, and the exit code
tells how the work ended. This is the only place that knows of it, for all commands and for all that they call.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

GONE = (errno.EPIPE, errno.EIO)  # a closed pipe; a terminal that was hung up


class _Writer(io.FileIO):
    """A descriptor that becomes /dev/null once nobody reads it."""

    def write(self, text, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            if error.errno not in GONE:
                raise
        _open_nowhere(self.fileno())
        return memoryview(text).nbytes


@contextmanager
def outlive_readers() -> Iterator[None]:
    """Exchange the interpreter's own stdout and stderr; streams that others have put there stay."""
    for descriptor in (0, 1, 2):
        _fill(descriptor)
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    for descriptor, (name, stream) in enumerate(before.items(), start=1):
        if stream is None:  # closed by whoever has started this process
            setattr(sys, name, _make_stream(descriptor))
        elif isinstance(stream, io.TextIOWrapper):
            if stream is getattr(sys, f"__{name}__"):
                stream.flush()
                setattr(sys, name, _make_stream(descriptor, stream))
            else:
                stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for name, stream in before.items():
            if getattr(sys, name) is not None:
                getattr(sys, name).flush()
            setattr(sys, name, stream)


def _make_stream(descriptor: int, like: io.TextIOWrapper | None = None) -> io.TextIOWrapper:
    """As the interpreter makes them, but a path in Korean does not fail on a terminal without it."""
    raw = _Writer(descriptor, "w", closefd=False)
    direct = like is not None and like.write_through  # python -u
    return io.TextIOWrapper(
        raw if direct else io.BufferedWriter(raw),  # type: ignore[arg-type]
        encoding="utf-8" if like is None else like.encoding,
        errors="backslashreplace",
        line_buffering=descriptor == 2 or (like is not None and like.line_buffering),
        write_through=direct,
    )


def _fill(descriptor: int) -> None:
    """A closed one would be given to the next file that is opened, and what is printed would go into it."""
    try:
        os.fstat(descriptor)
    except OSError:
        _open_nowhere(descriptor)


def _open_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
