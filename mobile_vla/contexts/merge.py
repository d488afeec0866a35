"""Makes a store of its finished parts: shards of a fixed size in the planned order, whoever wrote what and when.

In: a folder in which all planned rows have come, and nobody writes. Out: the shards and the table, then the manifest
that says `complete`, and only then the parts are removed. Killed anywhere, it is done again from the parts. It holds
some megabytes at a time, however large the store; on disk the rows are there twice until it ends.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mobile_vla.contexts.manifest import (
    PARTS,
    PLAN,
    ROWS,
    SHARDS,
    Manifest,
    load_manifest,
    name_folders,
)
from mobile_vla.contexts.npy import Checksum, block_bounds, sum_file, write_npy
from mobile_vla.contexts.parts import Parts, read_plan
from mobile_vla.contexts.precision import STORED
from mobile_vla.contexts.vectors import Vectors
from mobile_vla.core.durable import remove_parts, replaced, tell
from mobile_vla.core.errors import UserError
from mobile_vla.core.locking import FileLock, Held

TABLE_ROWS = 4096  # rows of the table that are moved at a time
Progress = Callable[[int, int], None]


def complete(folder: Path, progress: Progress = lambda done, total: None) -> Manifest:
    """Make the store complete; on one rank, when all have closed. `UserError` where a planned row has not come.

    Of a store that is complete it removes what a killed call left.
    """
    manifest = load_manifest(folder)
    with ExitStack() as locks:
        try:
            for room in sorted((folder / PARTS).glob("*/.lock")):
                locks.enter_context(FileLock(room))
            if not manifest.complete:
                manifest = _merge(folder, manifest, progress)
            _tidy(folder)
        except Held as held:
            raise UserError(f"{folder} is still being written by {held}; wait until it has ended") from held
        except OSError as error:
            raise UserError(
                f"{folder}: the store cannot be completed: {tell(error)}; its rows are safe in {PARTS}/: "
                "mend that and run the same command again"
            ) from error
    return manifest


def _merge(folder: Path, manifest: Manifest, progress: Progress) -> Manifest:
    planned = read_plan(folder)
    parts = Parts(folder, manifest)
    missing = [id for id in planned if id not in parts.where]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(planned)} planned rows are missing (first: {missing[0].describe()}); "
            "run the same command again, it continues there"
        )
    located = parts.locate(planned)
    del planned
    shutil.rmtree(folder / SHARDS, ignore_errors=True)
    checksums = {ROWS: _write_table(folder, parts, located)}
    num_shards = manifest.num_shards
    for index, tap in enumerate(manifest.taps):
        (folder / SHARDS / name_folders(manifest.taps)[tap]).mkdir(parents=True)
        for number in range(num_shards):
            rows = located[number * manifest.shard_rows : (number + 1) * manifest.shard_rows]
            name = manifest.shard(tap, number)
            checksums[name] = _write_shard(folder / name, manifest, tap, parts.vectors(tap, rows))
            progress(index * num_shards + number + 1, len(manifest.taps) * num_shards)
    episodes = len({id.episode for id in parts.where})
    finished = replace(manifest, complete=True, rows=len(located), episodes=episodes, checksums=checksums)
    finished.save(folder)
    return finished


def _write_shard(file: Path, manifest: Manifest, tap: str, vectors: Vectors) -> Checksum:
    spec = manifest.taps[tap]

    def blocks() -> Iterator[np.ndarray]:
        for start, stop in block_bounds(len(vectors), spec.row_bytes):
            yield vectors.read(np.arange(start, stop))

    with replaced(file) as part:
        return write_npy(part, len(vectors), spec.shape, STORED[spec.dtype], blocks())


def _write_table(folder: Path, parts: Parts, located: np.ndarray) -> Checksum:
    with replaced(folder / ROWS) as file:
        with pq.ParquetWriter(file, parts.schema) as writer:
            for start in range(0, len(located), TABLE_ROWS):
                writer.write_table(parts.table(located[start : start + TABLE_ROWS]))
        return sum_file(file)


def _tidy(folder: Path) -> None:
    if (folder / PARTS).exists():
        shutil.rmtree(folder / PARTS)
    if (folder / PLAN).exists():
        (folder / PLAN).unlink()
    remove_parts(folder)
