"""What a stored row is beside its vectors, and the table that holds it: identity, labels, chunks.

In: `Row`s as a probe makes them. Out: Arrow tables with one column a property, and `label.<name>` for each label:
text, float64, or lists of float64 (boxes). What is not known is null.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

OWN = "own"  # the variant of a row as recorded: its own frame with its own instruction
UNKNOWN = "unknown"  # as a label's value: nothing is known
LABEL = "label."  # before a label's name in the table
Label = str | float | Sequence[float]

IDENTITY = pa.schema(
    [
        ("episode", pa.string()),
        ("frame", pa.int64()),
        ("instruction", pa.string()),
        ("variant", pa.string()),
    ]
)
FIXED = pa.schema(
    [
        *IDENTITY,
        ("progress", pa.float64()),
        ("part", pa.string()),
        ("fingerprint", pa.string()),
        ("shown_episode", pa.string()),
        ("shown_frame", pa.int64()),
        ("action", pa.list_(pa.float32())),
        ("action_mask", pa.list_(pa.bool_())),
        ("predicted", pa.list_(pa.float32())),
    ]
)


class RowId(NamedTuple):
    """Who a row is, as `PairId` says it of a pair; order of arrival means nothing."""

    episode: str
    frame: int
    instruction: str
    variant: str = OWN

    def describe(self) -> str:
        return f"episode '{self.episode}', frame {self.frame}, instruction '{self.instruction}', {self.variant}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One row without its vectors.

    progress     where in its episode the frame lies, 0 to 1
    part         train, validation or test; None where there is no split
    fingerprint  of the episode's content
    shown        episode and frame whose image the model was given, where it is not the row's own
    labels       name -> text, a number, or numbers; `unknown`, None and what is not finite are left out
    action       true chunk, velocities; what `action_mask` calls False means nothing and becomes NaN
    predicted    the chunk that the head gave, velocities; None where no head ran
    """

    id: RowId
    progress: float
    part: str | None = None
    fingerprint: str | None = None
    shown: tuple[str, int] | None = None
    labels: Mapping[str, Label | None] = field(default_factory=dict)
    action: Float[np.ndarray, "C A"] | None = None
    action_mask: Bool[np.ndarray, " C"] | None = None
    predicted: Float[np.ndarray, "C A"] | None = None


def make_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as a table; a label that no row has gets no column."""
    shown = [row.shown or (None, None) for row in rows]
    columns = {
        **{name: [getattr(row.id, name) for row in rows] for name in IDENTITY.names},
        "progress": [row.progress for row in rows],
        "part": [row.part for row in rows],
        "fingerprint": [row.fingerprint for row in rows],
        "shown_episode": [episode for episode, _ in shown],
        "shown_frame": [frame for _, frame in shown],
        "action": [_flatten(_hide_unknown(row)) for row in rows],
        "action_mask": [_flatten(row.action_mask) for row in rows],
        "predicted": [_flatten(row.predicted) for row in rows],
    }
    arrays = [pa.array(columns[column.name], column.type) for column in FIXED]
    table = pa.Table.from_arrays(arrays, schema=FIXED)
    for name in sorted({name for row in rows for name in row.labels}):
        values = [_known(row.labels.get(name)) for row in rows]
        if any(value is not None for value in values):
            kind = agree({_kind(value) for value in values if value is not None})
            table = table.append_column(f"{LABEL}{name}", pa.array(_as_kind(values, kind), kind))
    return table


def make_plan_table(planned: Sequence[RowId]) -> pa.Table:
    """Only who the rows are."""
    columns = zip(*planned, strict=True)
    arrays = [pa.array(values, column.type) for values, column in zip(columns, IDENTITY, strict=True)]
    return pa.Table.from_arrays(arrays, schema=IDENTITY)


def list_ids(table: pa.Table) -> list[RowId]:
    """The identity of every row."""
    return [RowId(*values) for values in zip(*(table[name].to_pylist() for name in IDENTITY.names), strict=True)]


def join_schemas(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """One schema for tables that may know different labels; the labels in the order of their names."""
    kinds: dict[str, set[pa.DataType]] = {}
    for schema in schemas:
        for column in schema:
            if column.name.startswith(LABEL):
                kinds.setdefault(column.name, set()).add(column.type)
    return pa.schema([*FIXED, *((name, agree(kinds[name])) for name in sorted(kinds))])


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns of the schema."""
    columns = []
    for column in schema:
        if column.name not in table.column_names:
            columns.append(pa.nulls(len(table), column.type))
        elif table[column.name].type == column.type:
            columns.append(table[column.name])
        else:
            columns.append(pa.array(_as_kind(table[column.name].to_pylist(), column.type), column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def agree(kinds: set[pa.DataType]) -> pa.DataType:
    """The type of a label whose values are of these types: text holds them all."""
    return next(iter(kinds)) if len(kinds) == 1 else pa.string()


def _known(value: Label | None) -> Label | None:
    if value is None or (isinstance(value, str) and value == UNKNOWN):
        return None
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        return None
    return value


def _kind(value: Label) -> pa.DataType:
    if isinstance(value, str | bool | np.bool_):
        return pa.string()
    return pa.float64() if isinstance(value, int | float | np.number) else pa.list_(pa.float64())


def _as_kind(values: Sequence[Label | None], kind: pa.DataType) -> list:
    if pa.types.is_string(kind):
        return [None if value is None else _write(value) for value in values]
    return list(values)


def _write(value: Label) -> str:
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, int | float | np.number):
        return repr(float(value)).removesuffix(".0")
    return value if isinstance(value, str) else ",".join(_write(part) for part in value)


def _hide_unknown(row: Row) -> np.ndarray | None:
    if row.action is None or row.action_mask is None:
        return row.action
    return np.where(row.action_mask[:, None], row.action, np.float32(np.nan))


def _flatten(chunk: np.ndarray | None) -> np.ndarray | None:
    return None if chunk is None else chunk.reshape(-1)
