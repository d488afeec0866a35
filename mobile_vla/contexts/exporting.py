"""A store's vectors and rows as `context_vectors.npy` and `context_metadata.json` (`arrays`).

In: a complete store, one of its taps, a variant or all. Out: the two files, aligned, written some rows at a time.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import mobile_vla
from mobile_vla.contexts.arrays import ALWAYS, METADATA, SCHEMA, TAP, VECTORS, key_of
from mobile_vla.contexts.npy import block_bounds, write_npy
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.rows import LABEL
from mobile_vla.core.durable import replaced
from mobile_vla.core.errors import UserError

FORM = np.dtype("<f4")
ROWS = 1024  # annotations that are made at a time


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What of a store is written. variant: null for all."""

    store: Path | None = None
    tap: str = TAP
    variant: str | None = None


def choose_rows(store: Store, config: ExportConfig) -> np.ndarray:
    """Indices of the rows to write; `UserError` where there are none, or the tap has no plain vectors."""
    shape = store.vectors(config.tap).shape[1:]
    if len(shape) != 1:
        plain = [name for name, spec in store.taps.items() if len(spec.shape) == 1]
        raise UserError(
            f"{shape} a row, but {VECTORS} holds one vector a row; taps that do: {', '.join(plain) or 'none'}",
            argument="tap",
            value=config.tap,
        )
    rows = store.select(variant=config.variant)
    if not len(rows):
        there = sorted(set(store.column("variant").tolist()))
        raise UserError(f"no such rows; there are {', '.join(there)}", argument="variant", value=config.variant)
    return rows


def export_arrays(
    store: Store, rows: np.ndarray, tap: str, out: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write these rows of a tap into the folder `out`, as float32 and numbered anew from 0."""
    vectors = store.vectors(tap)
    width = vectors.shape[1]

    def blocks() -> Iterator[np.ndarray]:
        for start, stop in block_bounds(len(rows), width * FORM.itemsize):
            yield vectors[rows[start:stop]].astype(FORM, copy=False)
            if progress:
                progress(stop, len(rows))

    with replaced(out / VECTORS) as file:
        write_npy(file, len(rows), (width,), FORM, blocks())
    with replaced(out / METADATA) as file, file.open("w", encoding="utf-8") as stream:
        head = {"schema": SCHEMA, "version": mobile_vla.__version__, "metadata": describe(store, tap)}
        stream.write(f'{json.dumps(head, indent=1, ensure_ascii=False)[:-2]},\n "annotations": [')
        for index, annotation in enumerate(annotate(store, rows)):
            text = json.dumps(annotation, ensure_ascii=False, allow_nan=False)
            stream.write(f"{',' if index else ''}\n  {text}")
        stream.write("\n ]\n}\n")


def describe(store: Store, tap: str) -> dict[str, Any]:
    """What the vectors were made with. Of an imported store: what it was imported with."""
    info = store.manifest.info
    if "imported" in info.run:
        return info.run["imported"]
    return {"tap": tap, "dtype": store.taps[tap].dtype, **asdict(info)}


def annotate(store: Store, rows: np.ndarray) -> Iterator[dict[str, Any]]:
    """The annotations of these rows, in their order."""
    width = len(store.manifest.info.components)
    for start in range(0, len(rows), ROWS):
        some = store.rows.take(pa.array(rows[start : start + ROWS]))
        for offset, row in enumerate(some.to_pylist()):
            yield _annotate(start + offset, row, width)


def _annotate(index: int, row: Mapping[str, Any], width: int) -> dict[str, Any]:
    labels = {name.removeprefix(LABEL): value for name, value in row.items() if name.startswith(LABEL)}
    known = {name: _plain(value) for name, value in labels.items() if value is not None}
    annotation = {
        "vector_idx": index,
        "episode": row["episode"],
        **{name: known.pop(name, unknown) for name, unknown in ALWAYS.items()},
        "frame_idx": row["frame"],
        "progress": row["progress"],
        "instruction": row["instruction"],
        "variant": row["variant"],
    }
    for name in ("part", "fingerprint", "shown_episode", "shown_frame"):
        if row[name] is not None:
            annotation[name] = row[name]
    for name in ("action", "predicted"):
        if row[name] is not None:
            annotation[name] = _nest(row[name], width)
    return annotation | {key_of(name): value for name, value in known.items()}


def _nest(values: list[float], width: int) -> list[list[float | None]]:
    plain = _plain(values)
    return [plain[start : start + width] for start in range(0, len(plain), width)]


def _plain(value: Any) -> Any:
    """NaN, which json has no word for, as null."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
