"""A job's report: `<command>.json` in its folder, and a short table for people."""

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import mobile_vla
from mobile_vla.core.durable import write_text
from mobile_vla.jobs.command import Report

UNFOLDED = 1000  # columns of text in a file or a pipe


def write_report(report: Report, file: Path) -> None:
    """Write the payload with `schema` and `version`; readers see the old file or the whole new one."""
    content = {"schema": report.schema, "version": mobile_vla.__version__, **make_plain(report.payload)}
    write_text(file, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def make_plain(value: Any) -> Any:
    """The value as JSON has it: NaN and infinity are null; numpy, paths, tuples and dataclasses are plain."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): make_plain(part) for key, part in value.items()}
    if not isinstance(value, type) and is_dataclass(value):
        return {field.name: make_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple | set | frozenset):
        return [make_plain(part) for part in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy's and torch's arrays and scalars
        return make_plain(value.tolist())
    raise TypeError(f"a report cannot hold {type(value).__name__}: {value!r}")


def print_table(report: Report) -> None:
    """Print the table to stdout; nothing where it has no rows. Its columns are folded only where a screen is narrow."""
    if not report.table:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(report.columns), pad_edge=False)
    width = max(len(row) for row in report.table)
    for index in range(width):
        table.add_column(report.columns[index] if index < len(report.columns) else "", overflow="fold")
    for row in report.table:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: a cell's brackets are no markup
    screen = sys.stdout.isatty() or "COLUMNS" in os.environ or not report.columns
    Console(width=None if screen else UNFOLDED).print(table)
