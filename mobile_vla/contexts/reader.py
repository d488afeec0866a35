"""Opens a store of contexts: numpy arrays and an Arrow table, on any machine, without torch and without the model.

In: a store's folder. Out: a `Store`; of a complete one nothing but the manifest is read before it is asked for.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from mobile_vla.contexts.manifest import ROWS, Manifest, TapSpec, load_manifest
from mobile_vla.contexts.npy import sum_file
from mobile_vla.contexts.parts import Parts, read_plan
from mobile_vla.contexts.rows import LABEL, OWN
from mobile_vla.contexts.vectors import Vectors
from mobile_vla.core.errors import UserError

CHUNKS = ("action", "predicted")


class Store:
    """Rows and their vectors, aligned: row i of `rows` is row i of `vectors(tap)`, in the planned order.

    For scikit-learn, aligned as well, each with a row for every row of the store:

        X, y, groups = store["context"], store.label("direction"), store.episodes
        own = store.select()  # where the store holds variants too
    """

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder, self.manifest = folder, manifest
        self._partial: tuple[Parts, np.ndarray] | None = None  # the parts of an incomplete one, and its rows in them
        if not manifest.complete:
            parts = Parts(folder, manifest)
            self._partial = parts, parts.locate([id for id in read_plan(folder) if id in parts.where])

    def __len__(self) -> int:
        return self.manifest.planned if self._partial is None else len(self._partial[1])

    @property
    def complete(self) -> bool:
        return self.manifest.complete

    @property
    def taps(self) -> Mapping[str, TapSpec]:
        return self.manifest.taps

    @cached_property
    def rows(self) -> pa.Table:
        """Who the rows are, their labels and chunks: the columns that `rows.py` lists."""
        if self._partial is not None:
            parts, located = self._partial
            return parts.table(located)
        return pq.read_table(self.folder / ROWS)

    @property
    def labels(self) -> list[str]:
        """Names of the labels; the column of one is `label.<name>`."""
        return [name.removeprefix(LABEL) for name in self.rows.column_names if name.startswith(LABEL)]

    def column(self, name: str) -> np.ndarray:
        """One column as an array of (N,): text as objects with None for unknown, numbers with NaN for unknown.

        `action` and `predicted` come as (N, C, A) float32, NaN where there is none; `action_mask` as (N, C) bool.
        """
        if name not in self.rows.column_names:
            raise UserError(f"{self.folder}: no column '{name}'; there are {', '.join(self.rows.column_names)}")
        values = self.rows[name].combine_chunks()
        shape = (self.manifest.info.steps or 0, len(self.manifest.info.components))
        if name in CHUNKS:
            return _unfold(values, shape, np.float32, np.nan)
        if name == "action_mask":
            return _unfold(values, shape[:1], np.bool_, False)
        if pa.types.is_integer(values.type) and not values.null_count:
            return values.to_numpy()
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            return values.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        found = np.empty(len(values), object)
        found[:] = values.to_pylist()
        return found

    def label(self, name: str) -> np.ndarray:
        """One label as an array of (N,), as `column` gives it."""
        if name not in self.labels:
            raise UserError(f"{self.folder}: no label '{name}'; there are {', '.join(self.labels) or 'none'}")
        return self.column(f"{LABEL}{name}")

    @property
    def episodes(self) -> np.ndarray:
        """(N,) the id of each row's episode: the groups of a cross-validation."""
        return self.column("episode")

    def __getitem__(self, tap: str) -> Float[np.ndarray, "N ..."]:
        """All vectors of a tap in memory, (N, *shape); `vectors` reads them as they are needed."""
        return self.vectors(tap)[:]

    def vectors(self, tap: str = "context") -> Vectors:
        """What one tap gave, row by row, read from disk as it is indexed."""
        if tap not in self.taps:
            raise UserError(f"{self.folder}: no tap '{tap}'; there are {', '.join(self.taps)}")
        if self._partial is not None:
            parts, located = self._partial
            return parts.vectors(tap, located)
        files = [self.folder / self.manifest.shard(tap, number) for number in range(self.manifest.num_shards)]
        shard, place = np.divmod(np.arange(len(self)), self.manifest.shard_rows)
        return Vectors(files, shard, place, self.taps[tap])

    def select(
        self, *, variant: str | None = OWN, part: str | None = None, labels: Mapping[str, str | float] | None = None
    ) -> Int[np.ndarray, " n"]:
        """Indices of the rows of a variant (None: of all), a part of the split and these values of labels."""
        chosen = np.ones(len(self), bool)
        wanted = {"variant": variant, "part": part} | {
            f"{LABEL}{name}": value for name, value in (labels or {}).items()
        }
        for name, value in wanted.items():
            if value is not None:
                chosen &= self.column(name) == value
        return np.flatnonzero(chosen)

    def verify(self) -> None:
        """Read every file; `UserError` that names those which are not what was written."""
        wrong = []
        for name, expected in self.manifest.checksums.items():
            file = self.folder / name
            if not file.is_file() or sum_file(file) != expected:
                wrong.append(name)
        if wrong:
            raise _damaged(self.folder, wrong)


def open_store(folder: Path | str, *, partial: bool = False, verify: bool = False) -> Store:
    """The store in a folder; `UserError` where there is none, or it is damaged or incomplete.

    partial  opens an incomplete one too: the rows that have come
    verify   checks all of it, not only that every file is there in its size
    """
    folder = Path(folder).expanduser().absolute()
    manifest = load_manifest(folder)
    wrong = [name for name, expected in manifest.checksums.items() if _size(folder / name) != expected.bytes]
    if wrong:
        raise _damaged(folder, wrong)
    store = Store(folder, manifest)
    if not (store.complete or partial):
        raise UserError(
            f"{folder}: not complete: {len(store)} of {manifest.planned} planned rows are there; run the command that "
            "makes it again, it continues there, or open it with partial=True"
        )
    if verify:
        store.verify()
    return store


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _damaged(folder: Path, names: list[str]) -> UserError:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return UserError(
        f"{folder}: damaged or missing: {', '.join(names[:3])}{more}; restore from a copy, or make the store anew"
    )


def _unfold(values: pa.Array, shape: tuple[int, ...], dtype: type, unknown: float) -> np.ndarray:
    found = np.full((len(values), *shape), unknown, dtype)
    known = values.is_valid().to_numpy(zero_copy_only=False)
    found[known] = values.flatten().to_numpy(zero_copy_only=False).reshape(int(known.sum()), *shape)
    return found
