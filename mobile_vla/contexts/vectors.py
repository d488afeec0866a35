"""The vectors of one tap, read from their files as they are asked for, never all of them at once unasked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.contexts.manifest import TapSpec
from mobile_vla.contexts.npy import block_bounds
from mobile_vla.contexts.precision import READ, STORED, decode
from mobile_vla.core.errors import UserError


class Vectors:
    """(N, *shape): index it by row (a number, a slice, numbers in any order, a mask) and numpy arrays come out.

    bfloat16 comes as float32, float32 and float16 as they are. `np.asarray` loads all; `blocks` goes through them in
    little memory. Files are open only while they are read.
    """

    def __init__(
        self, files: Sequence[Path], file_of: Int[np.ndarray, " N"], place: Int[np.ndarray, " N"], spec: TapSpec
    ):
        """Row i is row `place[i]` of `files[file_of[i]]`."""
        self._files, self._file_of, self._place, self._spec = list(files), file_of, place, spec

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._spec.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of what comes out."""
        return READ[self._spec.dtype]

    def __len__(self) -> int:
        return len(self._place)

    def __repr__(self) -> str:
        return f"Vectors(shape={self.shape}, stored as {self._spec.dtype})"

    def __getitem__(self, rows: Any) -> Float[np.ndarray, "..."]:
        if isinstance(rows, tuple):
            raise IndexError(f"rows are chosen by one index, got {len(rows)}: index what comes out further")
        chosen = np.arange(len(self))[rows]
        found = decode(self.read(np.atleast_1d(chosen)), self._spec.dtype)
        return found if chosen.ndim else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the vectors are on disk: an array of them is always a copy")
        return np.asarray(self[:], dtype)

    def blocks(self) -> Iterator[tuple[slice, Float[np.ndarray, "..."]]]:
        """All rows in their order, some megabytes at a time: where they are, and what they are."""
        for start, stop in block_bounds(len(self), self._spec.row_bytes):
            yield slice(start, stop), self[start:stop]

    def read(self, rows: Int[np.ndarray, " n"]) -> np.ndarray:
        """(n, *shape) as stored."""
        file_of, place = self._file_of[rows], self._place[rows]
        found = np.empty((len(rows), *self._spec.shape), STORED[self._spec.dtype])
        for number in np.unique(file_of):
            where = np.flatnonzero(file_of == number)
            found[where] = map_file(self._files[number], self._spec)[place[where]]
        return found


def map_file(file: Path, spec: TapSpec) -> np.ndarray:
    """The file's rows, memory-mapped; `UserError` where it is not what was written."""
    try:
        mapped = np.load(file, mmap_mode="r")
        if mapped.dtype == STORED[spec.dtype] and mapped.shape[1:] == spec.shape:
            return mapped
        reason = f"it holds {mapped.shape[1:]} a row in {mapped.dtype}, expected {spec.shape} in {spec.dtype}"
    except (OSError, ValueError, EOFError) as error:
        reason = str(error)
    raise UserError(f"{file}: damaged ({reason}); restore it, or make the store anew")


def spread(count: int, most: int) -> Int[np.ndarray, " n"]:
    """Indices of at most `most` of `count`, evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
