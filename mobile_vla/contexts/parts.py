"""What has come of a store that is not complete yet: finished parts, each a folder that appeared whole.

A part holds some rows in the order in which they came: their table and one `.npy` a tap. Which process wrote a part
means nothing; of rows that came twice, the first of the first rank counts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather

from mobile_vla.contexts.manifest import PARTS, PLAN, Manifest, TapSpec, name_folders
from mobile_vla.contexts.npy import write_npy
from mobile_vla.contexts.precision import STORED
from mobile_vla.contexts.rows import Row, RowId, conform, join_schemas, list_ids, make_plan_table, make_table
from mobile_vla.contexts.vectors import Vectors, map_file
from mobile_vla.core.durable import made_whole, replaced
from mobile_vla.core.errors import UserError

TABLE = "rows.arrow"


class Parts:
    """The finished parts of a store, and where in them each row is."""

    def __init__(self, folder: Path, manifest: Manifest):
        self.manifest = manifest
        self.paths = find_parts(folder)
        self.where: dict[RowId, tuple[int, int]] = {}
        schemas = []
        for number, path in enumerate(self.paths):
            table = self._check(path)
            schemas.append(table.schema)
            for place, id in enumerate(list_ids(table)):
                self.where.setdefault(id, (number, place))
        self.schema = join_schemas(schemas)

    def locate(self, ids: Sequence[RowId]) -> np.ndarray:
        """(n, 2): the part of each row, and its place there."""
        return np.array([self.where[id] for id in ids], dtype=np.int64).reshape(-1, 2)

    def vectors(self, tap: str, located: np.ndarray) -> Vectors:
        """The vectors of located rows."""
        folder = name_folders(self.manifest.taps)[tap]
        files = [path / f"{folder}.npy" for path in self.paths]
        return Vectors(files, located[:, 0], located[:, 1], self.manifest.taps[tap])

    def table(self, located: np.ndarray) -> pa.Table:
        """The rows' table, in the order asked for."""
        pieces, whose = [self.schema.empty_table()], [np.empty(0, np.int64)]
        for number in np.unique(located[:, 0]):
            rows = np.flatnonzero(located[:, 0] == number)
            part = feather.read_table(self.paths[number] / TABLE, memory_map=False)
            pieces.append(conform(part.take(pa.array(located[rows, 1])), self.schema))
            whose.append(rows)
        return pa.concat_tables(pieces).take(pa.array(np.argsort(np.concatenate(whose)))).combine_chunks()

    def _check(self, path: Path) -> pa.Table:
        try:
            table = feather.read_table(path / TABLE, memory_map=False)
            for tap, folder in name_folders(self.manifest.taps).items():
                if len(map_file(path / f"{folder}.npy", self.manifest.taps[tap])) != len(table):
                    raise UserError(f"{folder}.npy has not as many rows as {TABLE}")
        except (OSError, pa.ArrowException, UserError) as error:
            raise UserError(
                f"{path}: damaged ({error}); delete that folder and run the same command again, which stores its rows "
                "anew"
            ) from error
        return table


def find_parts(folder: Path) -> list[Path]:
    """Finished parts, by rank and number."""
    paths = [path for path in (folder / PARTS).glob("*/*") if path.is_dir() and path.name.isdigit()]
    return sorted(paths, key=lambda path: (int(path.parent.name), int(path.name)))


def write_part(
    path: Path, rows: Sequence[Row], values: Mapping[str, Sequence[np.ndarray]], taps: Mapping[str, TapSpec]
) -> None:
    """Write rows and their vectors, stored form, as one part; `values` holds a tap's rows in some blocks."""
    with made_whole(path) as folder:
        feather.write_feather(make_table(rows), str(folder / TABLE), compression="uncompressed")
        for tap, name in name_folders(taps).items():
            spec = taps[tap]
            write_npy(folder / f"{name}.npy", len(rows), spec.shape, STORED[spec.dtype], values[tap])


def write_plan(folder: Path, planned: Sequence[RowId]) -> None:
    with replaced(folder / PLAN) as part:
        feather.write_feather(make_plan_table(planned), str(part), compression="uncompressed")


def read_plan(folder: Path) -> list[RowId]:
    return list_ids(feather.read_table(folder / PLAN, memory_map=False))
