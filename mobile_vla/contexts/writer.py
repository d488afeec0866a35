"""Puts rows and their vectors on disk beside the work that makes them, and knows which are still to come.

In: the plan (who the rows will be, in their order), what the taps give, and then rows as they come: in any order, any
number at a time, from any number of processes, each with its own rank. Out: finished parts (`parts`). When all ranks
have closed, `complete` (`merge`) makes the store of them.

A thread converts, checks and writes. What goes wrong in it is raised by the next `add` or by `close`; the parts that
were finished before stay, and the same call continues there.
"""

import queue
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from mobile_vla.contexts.manifest import (
    MANIFEST,
    PARTS,
    ROWS,
    SHARDS,
    Manifest,
    StoreInfo,
    TapSpec,
    list_differences,
    load_manifest,
    plan_manifest,
)
from mobile_vla.contexts.parts import Parts, find_parts, write_part, write_plan
from mobile_vla.contexts.precision import encode, find_infinite
from mobile_vla.contexts.rows import Row, RowId
from mobile_vla.core.durable import PART, tell
from mobile_vla.core.errors import UserError
from mobile_vla.core.locking import FileLock, Held

PART_BYTES = 2**24  # of vectors; a part is written when it holds as much
PART_S = 20.0  # or when its first row came so long ago: what a kill can cost
WAITING = 2  # calls of `add` that may wait for the disk


class StoreWriter:
    """One process's way into a store. `UserError` where the folder cannot be that store's, and nothing is touched.

    planned     identities of all rows of the store, of all ranks, in their final order; each once
    rank        of this process; two at a time with the same rank are refused
    shard_rows  rows of a shard of the finished store; by default about 32 MiB of the widest tap
    """

    def __init__(
        self,
        folder: Path,
        planned: Sequence[RowId],
        taps: Mapping[str, TapSpec],
        info: StoreInfo,
        *,
        rank: int = 0,
        shard_rows: int | None = None,
        part_bytes: int = PART_BYTES,
        part_s: float = PART_S,
    ):
        assert planned, "a store of no rows"
        self._ids = frozenset(planned)
        assert len(self._ids) == len(planned), "rows are planned twice"
        self.folder, self.taps, self._planned = folder, dict(taps), planned
        self._part_bytes, self._part_s = part_bytes, part_s
        self.manifest, self._lock = _enter(folder, planned, plan_manifest(planned, taps, info, shard_rows), rank)
        stored = self._ids if self.manifest.complete else Parts(folder, self.manifest).where.keys()
        self._to_come = set(self._ids - stored)
        self._room = folder / PARTS / str(rank)
        self._number = 1 + max((int(p.name) for p in find_parts(folder) if p.parent == self._room), default=-1)
        self._rows: list[Row] = []
        self._values: dict[str, list[np.ndarray]] = {tap: [] for tap in taps}
        self._since = 0.0
        self._error: BaseException | None = None
        self._queue: queue.Queue[tuple[list[Row], dict[str, np.ndarray]] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def missing(self) -> list[RowId]:
        """Planned rows that have not come yet, in their order.

        Those of other ranks count as they were when this writer was made: deal out the plan, not what is missing.
        """
        return [id for id in self._planned if id in self._to_come]

    def add(self, rows: Sequence[Row], values: Mapping[str, np.ndarray]) -> None:
        """Store rows; `values` holds (n, *shape) for every tap. A row that is there already is left as it is.

        The arrays may be used again afterwards. bfloat16 comes as its bits in uint16, or as floats to be rounded.
        """
        self._raise()
        self._check(rows, values)
        new = []
        for index, row in enumerate(rows):
            if row.id in self._to_come:
                self._to_come.remove(row.id)
                new.append(index)
        if new:
            self._hand_over(([rows[i] for i in new], {tap: values[tap][new] for tap in self.taps}))

    def close(self) -> None:
        """Write what is left and let go of the folder; raises what the thread could not do."""
        self._hand_over(None)
        self._thread.join()
        if self._lock is not None:
            self._lock.release()
        self._raise()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # else that one came first
                raise

    def _hand_over(self, item: tuple[list[Row], dict[str, np.ndarray]] | None) -> None:
        while self._thread.is_alive():  # nobody waits for a thread that has given up
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            break

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _check(self, rows: Sequence[Row], values: Mapping[str, np.ndarray]) -> None:
        if values.keys() != self.taps.keys():
            raise ValueError(f"values of the taps {sorted(self.taps)} expected, got {sorted(values)}")
        for tap, spec in self.taps.items():
            if values[tap].shape != (len(rows), *spec.shape):
                raise ValueError(f"tap '{tap}': {(len(rows), *spec.shape)} expected, got {values[tap].shape}")
        chunk = (self.manifest.info.steps, len(self.manifest.info.components))
        for row in rows:
            if row.id not in self._ids:
                raise ValueError(f"{row.id.describe()} is not planned")
            for name in ("action", "predicted"):
                value = getattr(row, name)
                if value is not None and value.shape != chunk:
                    raise ValueError(f"{row.id.describe()}: {name} of shape {chunk} expected, got {value.shape}")
            if row.predicted is not None and not np.isfinite(row.predicted).all():
                raise UserError(f"{row.id.describe()}: the predicted chunk holds NaN or infinity; the head is broken")

    def _work(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._take(*item)
            self._write()
        except BaseException as error:
            self._error = self._explain(error)

    def _next(self) -> tuple[list[Row], dict[str, np.ndarray]] | None:
        while True:
            left = self._since + self._part_s - time.monotonic() if self._rows else None
            try:
                return self._queue.get(timeout=None if left is None else max(left, 0))
            except queue.Empty:
                self._write()

    def _take(self, rows: list[Row], values: dict[str, np.ndarray]) -> None:
        encoded = {tap: encode(values[tap], spec.dtype) for tap, spec in self.taps.items()}
        for tap, spec in self.taps.items():
            infinite = find_infinite(encoded[tap], spec.dtype).reshape(len(rows), -1)
            if infinite.any():
                self._write()  # those before it are good
                raise _refuse(tap, spec, rows, values[tap], infinite)
        if not self._rows:
            self._since = time.monotonic()
        self._rows += rows
        for tap, array in encoded.items():
            self._values[tap].append(array)
        size = sum(array.nbytes for blocks in self._values.values() for array in blocks)
        if size >= self._part_bytes or time.monotonic() >= self._since + self._part_s:
            self._write()

    def _write(self) -> None:
        if self._rows:
            write_part(self._room / f"{self._number:06d}", self._rows, self._values, self.taps)
            self._number += 1
            self._rows, self._values = [], {tap: [] for tap in self.taps}

    def _explain(self, error: BaseException) -> BaseException:
        if not isinstance(error, OSError):
            return error
        return UserError(
            f"{self.folder}: contexts cannot be written: {tell(error)}; what was stored before stays: "
            "mend that and run the same command again, it continues there"
        )


def _enter(folder: Path, planned: Sequence[RowId], wanted: Manifest, rank: int) -> tuple[Manifest, FileLock | None]:
    """The store's manifest, made where there is none; and the lock of this rank's parts, if any are to come."""
    there = _find(folder, wanted)
    if there is not None and there.complete:
        return there, None
    room = folder / PARTS / str(rank)
    try:
        room.mkdir(parents=True, exist_ok=True)
        lock = FileLock(room / ".lock")
        for path in room.glob(".*.part"):  # what a killed process left half-written
            if PART.fullmatch(path.name) and not path.is_symlink():
                shutil.rmtree(path)
        if there is None:
            write_plan(folder, planned)
            wanted.save(folder)
    except Held as held:
        raise UserError(
            f"{folder} is being written by {held} as rank {rank}; wait until it has ended, or choose another folder"
        ) from held
    except OSError as error:
        raise UserError(f"{folder}: contexts cannot be stored there: {tell(error)}; choose another folder") from error
    return there or wanted, lock


def _find(folder: Path, wanted: Manifest) -> Manifest | None:
    """The manifest that is there, if it is of the same store; `UserError` where it is of another one."""
    if not (folder / MANIFEST).exists():
        stray = [name for name in (SHARDS, ROWS) if (folder / name).exists()] or find_parts(folder)
        if stray:
            raise UserError(f"{folder}: holds {stray[0]} without {MANIFEST}; restore that, or choose another folder")
        return None
    there = load_manifest(folder)
    differences = list_differences(there, wanted)
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise UserError(
            f"{folder} holds another store: {'; '.join(differences[:3])}{more}; choose another folder, or give the "
            "settings that it was begun with"
        )
    return there


def _refuse(tap: str, spec: TapSpec, rows: Sequence[Row], values: np.ndarray, infinite: np.ndarray) -> UserError:
    row = int(infinite.any(axis=1).argmax())
    where = f"tap '{tap}', {rows[row].id.describe()}"
    if values.dtype.kind == "f" and np.isfinite(values[row]).all():
        return UserError(
            f"{where}: the largest value, {np.abs(values[row]).max():.4g}, does not fit in {spec.dtype}; store "
            "bfloat16 or float32"
        )
    return UserError(
        f"{where}: {infinite[row].sum()} of {infinite[row].size} values are NaN or infinite; expected finite ones: the "
        "weights are broken, or overflow in the precision that the model runs in"
    )
