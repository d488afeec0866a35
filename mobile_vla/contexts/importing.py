"""A store made of `context_vectors.npy` and `context_metadata.json` (`arrays`), whoever wrote them.

In: a folder with the two. Out: `ForeignArrays`, checked: misaligned, duplicated and non-finite rows are refused by
name; and a complete store with the one tap `context`. The vectors are never in memory all at once.

What older dumps do not say: without an instruction it is unknown (empty), without a variant the row is as recorded.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mobile_vla.contexts.annotations import read_rows
from mobile_vla.contexts.arrays import METADATA, SCHEMA, TAP, VECTORS
from mobile_vla.contexts.manifest import Manifest, StoreInfo, TapSpec
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.npy import block_bounds, sum_file
from mobile_vla.contexts.rows import Row
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core.errors import UserError

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ForeignArrays:
    """What the two files hold. Row i belongs to vector i; `metadata` is theirs, as it came."""

    folder: Path
    rows: Sequence[Row]
    width: int
    precision: Literal["float32", "float16"]
    metadata: Mapping[str, Any]

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, D) vectors as stored. The file is open only meanwhile."""
        mapped = np.load(self.folder / VECTORS, mmap_mode="r")
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused as such
            return np.array(mapped[start:stop], self.precision)

    def bounds(self) -> list[tuple[int, int]]:
        return list(block_bounds(len(self.rows), 8 * self.width))


def open_arrays(folder: Path, progress: Progress | None = None) -> ForeignArrays:
    """The two files, read through and checked; `UserError` that names the first row with a fault."""
    missing = [name for name in (VECTORS, METADATA) if not (folder / name).is_file()]
    if missing:
        found = sorted(path.name for path in folder.iterdir())[:5] if folder.is_dir() else "no such folder"
        raise UserError(
            f"expected a folder with {VECTORS} and {METADATA}, found {found}", argument="path", value=folder
        )
    shape, dtype = _read_form(folder / VECTORS)
    content = _read_json(folder / METADATA)
    annotations = content["annotations"]
    if len(annotations) != shape[0]:
        raise UserError(
            f"{folder}: misaligned: {shape[0]} vectors in {VECTORS}, {len(annotations)} annotations in {METADATA}; "
            "each vector needs its own"
        )
    arrays = ForeignArrays(
        folder=folder,
        rows=read_rows(annotations, folder / METADATA),
        width=shape[1],
        precision="float16" if dtype.itemsize == 2 else "float32",
        metadata=content.get("metadata") or {},
    )
    _refuse_infinite(arrays, progress)
    return arrays


def write_store(arrays: ForeignArrays, out: Path, progress: Progress | None = None) -> Manifest:
    """Make a complete store of them in the folder `out`."""
    chunk = next((c.shape for row in arrays.rows for c in (row.action, row.predicted) if c is not None), None)
    info = StoreInfo(
        fingerprints={name: sum_file(arrays.folder / name).sha256 for name in (VECTORS, METADATA)},
        run={"imported": arrays.metadata},
        steps=chunk[0] if chunk else None,
        components=_name_components(arrays.metadata, chunk[1]) if chunk else (),
    )
    taps = {TAP: TapSpec(shape=(arrays.width,), dtype=arrays.precision)}
    with StoreWriter(out, [row.id for row in arrays.rows], taps, info) as writer:
        for start, stop in arrays.bounds():
            writer.add(arrays.rows[start:stop], {TAP: arrays.read(start, stop)})
            if progress:
                progress(stop, len(arrays.rows))
    return complete(out)


def _read_form(file: Path) -> tuple[tuple[int, ...], np.dtype]:
    try:
        mapped = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file}: not an array of numbers that can be read ({error})") from error
    if mapped.ndim != 2 or 0 in mapped.shape:
        raise UserError(f"{file}: expected (N, D), one vector a row, got {mapped.shape}")
    if mapped.dtype.kind != "f":
        raise UserError(f"{file}: expected floats, got {mapped.dtype}")
    return mapped.shape, mapped.dtype


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_read_constant)
    except ValueError as error:
        raise UserError(f"{file}: not json that can be read ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        keys = list(content) if isinstance(content, dict) else []
        near = get_close_matches("annotations", keys, n=1)
        hint = f": did you mean '{near[0]}'?" if near else ""
        raise UserError(f"{file}: expected a list 'annotations', found {keys[:8] or type(content).__name__}{hint}")
    if content.get("schema", SCHEMA) != SCHEMA:
        raise UserError(f"{file}: schema {content['schema']} is not known, expected {SCHEMA}, or none in older files")
    if not isinstance(content.get("metadata") or {}, dict):
        raise UserError(f"{file}: 'metadata': expected values by name, got {type(content['metadata']).__name__}")
    return content


def _read_constant(word: str) -> None:
    if word != "NaN":
        raise ValueError(f"it holds {word}")


def _refuse_infinite(arrays: ForeignArrays, progress: Progress | None) -> None:
    wrong: list[int] = []
    for start, stop in arrays.bounds():
        finite = np.isfinite(arrays.read(start, stop)).all(axis=1)
        wrong += (start + np.flatnonzero(~finite)).tolist()
        if progress:
            progress(stop, len(arrays.rows))
    if wrong:
        raise UserError(
            f"{arrays.folder / VECTORS}: {len(wrong)} of {len(arrays.rows)} vectors hold NaN or infinity (first: "
            f"vector_idx {wrong[0]}, {arrays.rows[wrong[0]].id.describe()}); leave them out, with their annotations"
        )


def _name_components(metadata: Mapping[str, Any], number: int) -> tuple[str, ...]:
    names = metadata.get("components")
    if isinstance(names, list) and len(names) == number and all(isinstance(name, str) for name in names):
        return tuple(names)
    return tuple(f"component_{index}" for index in range(number))
