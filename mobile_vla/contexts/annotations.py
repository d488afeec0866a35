"""Annotations of foreign arrays as rows: each is checked, and what is wrong is said with its place.

In: the list of `context_metadata.json`. Out: `Row`s in the order of the vectors.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from mobile_vla.contexts.arrays import ESCAPE, NEEDED, OPTIONAL
from mobile_vla.contexts.rows import OWN, Label, Row, RowId
from mobile_vla.core.errors import UserError


def read_rows(annotations: Sequence[Any], file: Path) -> list[Row]:
    """Row i is that of vector i; `UserError` for the first annotation that is wrong, misplaced or said twice."""
    rows: list[Row | None] = [None] * len(annotations)
    known: dict[RowId, int] = {}
    for place, annotation in enumerate(annotations):
        where = f"{file}: annotation {place}"
        if not isinstance(annotation, dict):
            raise UserError(f"{where}: expected values by name, got {type(annotation).__name__}")
        _refuse_missing(annotation, where)
        index = _read_index(annotation["vector_idx"], len(rows), where)
        row = _read_row(annotation, where)
        if rows[index] is not None:
            raise UserError(f"{where} ({row.id.describe()}): vector_idx {index} has an annotation already; misaligned")
        if row.id in known:
            raise UserError(f"{where}: {row.id.describe()} is vector {known[row.id]} already, and again vector {index}")
        rows[index], known[row.id] = row, index
    return _even_out([row for row in rows if row is not None], file)


def _refuse_missing(annotation: Mapping[str, Any], where: str) -> None:
    for key in NEEDED:
        if key not in annotation:
            near = get_close_matches(key, [name for name in annotation if name not in NEEDED], n=1, cutoff=0.5)
            hint = f": did you mean '{near[0]}'?" if near else ""
            raise UserError(f"{where}: no '{key}'{hint} (there are {', '.join(list(annotation)[:12])})")


def _read_index(value: Any, number: int, where: str) -> int:
    if not _is_whole(value) or not 0 <= value < number:
        raise UserError(f"{where}: vector_idx: expected a whole number from 0 to {number - 1}, got {value!r}")
    return int(value)


def _read_row(annotation: Mapping[str, Any], where: str) -> Row:
    frame, progress = _read_frame(annotation, "frame_idx", where), annotation["progress"]
    if not _is_number(progress) or not 0 <= progress <= 1:
        raise UserError(f"{where}: progress: expected a number from 0 to 1, got {progress!r}")
    episode = _read_text(annotation, "episode", where)
    if not episode or frame is None:
        raise UserError(f"{where}: expected an episode and a frame_idx, got {annotation['episode']!r} and {frame}")
    shown, shown_frame = _read_text(annotation, "shown_episode", where), _read_frame(annotation, "shown_frame", where)
    action = _read_chunk(annotation.get("action"), f"{where}: action")
    predicted = _read_chunk(annotation.get("predicted"), f"{where}: predicted")
    if predicted is not None and np.isnan(predicted).any():
        raise UserError(f"{where}: predicted: every step of a predicted chunk is known, got NaN or null")
    others = {name: value for name, value in annotation.items() if name not in (*NEEDED, *OPTIONAL)}
    instruction, variant = (_read_text(annotation, name, where) for name in ("instruction", "variant"))
    return Row(
        id=RowId(episode, frame, instruction or "", variant or OWN),
        progress=float(progress),
        part=_read_text(annotation, "part", where),
        fingerprint=_read_text(annotation, "fingerprint", where),
        shown=(shown, shown_frame) if shown and shown_frame is not None else None,
        labels={name.removeprefix(ESCAPE): _read_label(value) for name, value in others.items()},
        action=action,
        action_mask=None if action is None else np.asarray(np.isfinite(action).all(axis=1)),
        predicted=predicted,
    )


def _read_text(annotation: Mapping[str, Any], name: str, where: str) -> str | None:
    value = annotation.get(name)
    if name == "episode" and _is_whole(value):  # some dumps count their episodes
        return str(int(value))
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: {name}: expected text, got {value!r}")
    return value


def _read_frame(annotation: Mapping[str, Any], name: str, where: str) -> int | None:
    value = annotation.get(name)
    if value is None:
        return None
    if not _is_whole(value) or value < 0:
        raise UserError(f"{where}: {name}: expected a whole number from 0 on, got {value!r}")
    return int(value)


def _read_chunk(value: Any, where: str) -> np.ndarray | None:
    """(C, A) with NaN for steps that are not known. A flat list is a chunk of one step."""
    if value is None:
        return None
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
            chunk = np.atleast_2d(np.array(value, np.float64)).astype(np.float32)
    except (TypeError, ValueError):
        chunk = np.empty(0)
    if chunk.ndim != 2 or not chunk.size:
        raise UserError(f"{where}: expected a chunk as nested lists, steps x components, got {str(value)[:60]}")
    unknown = np.isnan(chunk)
    if np.isinf(chunk).any() or (unknown.any(axis=1) & ~unknown.all(axis=1)).any():
        raise UserError(f"{where}: expected finite velocities (or null for all of a step), got {str(value)[:60]}")
    return chunk


def _even_out(rows: list[Row], file: Path) -> list[Row]:
    """Chunks of one size: a shorter `action` ends with steps that are not known."""
    sizes = [chunk.shape for row in rows for chunk in (row.action, row.predicted) if chunk is not None]
    if not sizes:
        return rows
    steps, width = max(size[0] for size in sizes), sizes[0][1]
    even = []
    for index, row in enumerate(rows):
        for name, chunk in (("action", row.action), ("predicted", row.predicted)):
            if chunk is not None and (chunk.shape[1] != width or (name == "predicted" and len(chunk) != steps)):
                raise UserError(
                    f"{file}: vector_idx {index} ({row.id.describe()}): {name}: expected {steps} steps x {width} "
                    f"components as elsewhere, got {chunk.shape[0]} x {chunk.shape[1]}"
                )
        if row.action is not None and row.action_mask is not None and len(row.action) < steps:
            rest = steps - len(row.action)
            action = np.pad(row.action, ((0, rest), (0, 0)))
            row = replace(row, action=action, action_mask=np.pad(row.action_mask, (0, rest)))
        even.append(row)
    return even


def _read_label(value: Any) -> Label | None:
    """Text, a number or a list of numbers as it is; anything else as its json."""
    if value is None or isinstance(value, str) or _is_number(value):
        return value
    if isinstance(value, list) and all(part is None or _is_number(part) for part in value):
        return [float("nan") if part is None else float(part) for part in value]
    return json.dumps(value, ensure_ascii=False)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> TypeGuard[float]:
    return _is_number(value) and float(value).is_integer()
