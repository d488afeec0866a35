"""A dump as a real store on disk, for as long as it is looked at.

In: a `Dump`. Out: an open `Store` in a temporary folder. With the one tap `context` it goes the way of foreign arrays
(written as the two files, imported); with several, through the writer, as a probe writes its own.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mobile_vla.contexts.arrays import METADATA, NEEDED, OPTIONAL, TAP, VECTORS
from mobile_vla.contexts.importing import open_arrays, write_store
from mobile_vla.contexts.manifest import StoreInfo, TapSpec
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.contexts.rows import OWN, Row, RowId
from mobile_vla.contexts.writer import StoreWriter
from validation.second.dumps import Dump

MEMORY = Path("/dev/shm")


@contextmanager
def stored(dump: Dump) -> Iterator[Store]:
    """The store of a dump; its folder is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="validation-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield (save if set(dump.taps) == {TAP} else write)(dump, Path(folder))


def save(dump: Dump, folder: Path) -> Store:
    """As the two files of a foreign dump, imported."""
    arrays = folder / "arrays"
    arrays.mkdir()
    np.save(arrays / VECTORS, np.asarray(dump.taps[TAP], np.float32))
    content = {"metadata": dict(dump.metadata), "annotations": dump.annotations}
    (arrays / METADATA).write_text(json.dumps(content), encoding="utf-8")
    write_store(open_arrays(arrays), folder / "store")
    return open_store(folder / "store")


def write(dump: Dump, folder: Path) -> Store:
    """With all its taps."""
    rows = [_make_row(one) for one in dump.annotations]
    chunk = next((one for row in rows for one in (row.action, row.predicted) if one is not None), None)
    info = StoreInfo(
        steps=None if chunk is None else chunk.shape[0],
        components=() if chunk is None else tuple(dump.metadata["components"]),
    )
    taps = {name: TapSpec(shape=values.shape[1:]) for name, values in dump.taps.items()}
    with StoreWriter(folder / "store", [row.id for row in rows], taps, info) as writer:
        writer.add(rows, {name: np.asarray(values, np.float32) for name, values in dump.taps.items()})
    complete(folder / "store")
    return open_store(folder / "store")


def _make_row(one: Mapping[str, Any]) -> Row:
    action, predicted = (_array(one.get(name)) for name in ("action", "predicted"))
    shown = (one["shown_episode"], one["shown_frame"]) if "shown_episode" in one else None
    return Row(
        id=RowId(one["episode"], one["frame_idx"], one.get("instruction", ""), one.get("variant", OWN)),
        progress=one["progress"],
        shown=shown,
        labels={name: value for name, value in one.items() if name not in (*NEEDED, *OPTIONAL)},
        action=action,
        action_mask=None if action is None else np.asarray(np.isfinite(action).all(axis=1)),
        predicted=predicted,
    )


def _array(chunk: list | None) -> np.ndarray | None:
    return None if chunk is None else np.array(chunk, np.float32)
