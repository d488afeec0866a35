"""`.npy` files, written block by block with their checksum, and read block by block.

numpy's own `save` writes through C streams, which report a full disk without saying so.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK_BYTES = 2**22


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """What a file must be."""

    sha256: str
    bytes: int


def write_npy(file: Path, num_rows: int, row_shape: tuple[int, ...], dtype: np.dtype, blocks: Iterable) -> Checksum:
    """Write (num_rows, *row_shape); `blocks` are its rows, some at a time."""
    header = io.BytesIO()
    form = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (num_rows, *row_shape)}
    np.lib.format.write_array_header_1_0(header, form)
    digest, size, written = hashlib.sha256(), 0, 0
    with file.open("wb") as stream:
        head = header.getvalue()
        stream.write(head)
        digest.update(head)
        size += len(head)
        for block in blocks:
            assert block.dtype == dtype
            assert block.shape[1:] == row_shape
            content = np.ascontiguousarray(block).data.cast("B")
            stream.write(content)
            digest.update(content)
            size += len(content)
            written += len(block)
    assert written == num_rows, f"{file}: {written} rows came, {num_rows} were announced"
    return Checksum(sha256=digest.hexdigest(), bytes=size)


def sum_file(file: Path) -> Checksum:
    """The checksum of a file as it is."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return Checksum(sha256=digest.hexdigest(), bytes=file.stat().st_size)


def block_bounds(num_rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 of the blocks of rows that are moved at a time."""
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)
