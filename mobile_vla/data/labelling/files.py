"""Tables of labels as users keep them, read into rows: CSV, JSON (in three forms) and Parquet.

In: a file. Out: rows, each knowing its place in the file. A value is text, or a list of numbers (a box); numbers
become text as they are written (3 and 3.0 are "3"), booleans "true" and "false". A CSV cell is text as it stands:
nothing is guessed, so 03 stays 03. Empty cells, null and NaN are no value.
"""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mobile_vla.core.errors import UserError
from mobile_vla.sources.schema import told

EPISODE = "episode"
Value = str | tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """place: as a message names it;  values: column -> value, without what is empty."""

    place: str
    values: Mapping[str, Value]


def read_rows(file: Path) -> list[Row]:
    """All rows of the table, in its order; `UserError` where it cannot be read, or names no episodes."""
    if not file.is_file():
        raise UserError(f"data.labels: no such file: {file}; expected a .csv, .json, .jsonl or .parquet file")
    readers = {".csv": _read_csv, ".json": _read_json, ".jsonl": _read_json_lines, ".parquet": _read_parquet}
    if file.suffix.lower() not in readers:
        raise UserError(f"data.labels={file}: expected a .csv, .json, .jsonl or .parquet file, got '{file.suffix}'")
    try:
        found = readers[file.suffix.lower()](file)
    except UnicodeDecodeError as error:
        raise UserError(f"data.labels={file} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    if not found:
        raise UserError(f"data.labels={file} holds no rows")
    rows = [
        Row(place, {name: value for name in record if (value := _plain(record[name], name, place, file)) is not None})
        for place, record in found
    ]
    names = {name: None for _, record in found for name in record}  # in their order
    if EPISODE not in names:
        near = get_close_matches(EPISODE, [name.lower() for name in names], 1)
        like = [name for name in names if near and name.lower() == near[0]]
        hint = f"; did you mean '{like[0]}'? rename it" if like else ""
        raise UserError(f"data.labels={file} has no column '{EPISODE}' (there are {list(names)}){hint}")
    unnamed = [row.place for row in rows if EPISODE not in row.values]
    if unnamed:
        raise UserError(f"data.labels={file}: {unnamed[0]} names no episode ({len(unnamed)} such rows)")
    return rows


def _read_csv(file: Path) -> list[tuple[str, dict[str, Any]]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets begin a file with a mark
        reader = csv.reader(stream)
        header = [name.strip() for name in next(reader, [])]
        _refuse_twice(header, file)
        found = []
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"data.labels={file}: line {reader.line_num} has {len(cells)} values for {len(header)} columns"
                )
            found.append((f"line {reader.line_num}", dict(zip(header, cells, strict=True))))
    return found


def _read_json(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """A list of records, or {episode: {label: value}}."""
    content = _parse(file.read_text(encoding="utf-8-sig"), file, "")
    if isinstance(content, dict) and all(isinstance(labels, dict) for labels in content.values()):
        return [(f"'{name}'", {**labels, EPISODE: name}) for name, labels in content.items()]
    if isinstance(content, list) and all(isinstance(record, dict) for record in content):
        return [(f"record {index}", record) for index, record in enumerate(content, start=1)]
    raise UserError(
        f'data.labels={file}: expected a list of records, [{{"{EPISODE}": …, "direction": …}}, …], or labels by '
        f'episode, {{"…": {{"direction": …}}, …}}'
    )


def _read_json_lines(file: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            record = _parse(line, file, f"line {number}: ")
            if not isinstance(record, dict):
                raise UserError(f'data.labels={file}: line {number}: expected a record, {{"{EPISODE}": …}}')
            found.append((f"line {number}", record))
    return found


def _read_parquet(file: Path) -> list[tuple[str, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        records = parquet.read_table(file).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"data.labels={file} cannot be read as Parquet: {told(error)}") from error
    return [(f"row {index}", record) for index, record in enumerate(records, start=1)]


def _parse(text: str, file: Path, place: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_twice([name for name, _ in pairs], file)  # json itself would keep the last, silently
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise UserError(f"data.labels={file}: {place}no valid JSON: {error}") from error


def _plain(value: Any, name: str, place: str, file: Path) -> Value | None:
    if value is None or value == [] or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float | date):
        return str(value).strip() or None
    if isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return tuple(float(v) for v in value)
    raise UserError(
        f"data.labels={file}: {place}: '{name}' is {value!r:.60}; expected text, a number, true, false or a list of "
        "numbers"
    )


def _refuse_twice(names: list[str], file: Path) -> None:
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise UserError(f"data.labels={file} names '{twice[0]}' twice; one of the two would be lost")
