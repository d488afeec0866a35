"""Folders of results as values that can be compared: `<file>:<place in it>` -> number, text or array.

In: a folder, and texts (paths) that are replaced in every text. Out: all that its files hold. Of pictures and pages
only that they are there; a file of an unknown kind counts byte by byte.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVENTS = "events.out.tfevents"
SHOWN = {".png", ".html", ".tsv", ".pbtxt"}  # for people, or rounded copies: that they are there
TEXTS = {".md", ".txt", ".j2", ".py"}
IN_NAMES = ((r"val_loss=\d+\.\d+", "val_loss=#"), (rf"{EVENTS}\.\d+\.[^.]+\.\d+\.\d+", EVENTS))
Values = dict[str, Any]


def read_folder(folder: Path, paths: Sequence[Path]) -> Values:
    """Event files of one folder count in the order of their writing. Locks, which hold a process' number, do not."""
    values: Values = {}
    times: dict[str, int] = {}
    for file in sorted(folder.rglob("*"), key=lambda path: (path.parent, path.name)):
        if not file.is_file() or file.name == ".lock":
            continue
        name = _plain(str(file.relative_to(folder)), paths)
        if EVENTS in name:
            times[name] = times.get(name, -1) + 1
            name = f"{name}#{times[name]}"
        values[name] = "there"
        for place, value in _flatten(_read(file, paths)):
            values[f"{name}:{place}"] = value
    return values


def _read(file: Path, paths: Sequence[Path]) -> Any:
    if EVENTS in file.name:
        return _read_events(file)
    kind = file.suffix
    if kind in SHOWN:
        return {}
    if kind == ".npy":
        return {"array": np.load(file, allow_pickle=False)}
    if kind == ".safetensors":
        with safe_open(file, "np") as opened:
            return {**{name: opened.get_tensor(name) for name in list(opened.keys())}, "metadata": opened.metadata()}
    if kind == ".ckpt":
        return _clean(torch.load(file, map_location="cpu", weights_only=True), paths)
    if kind == ".h5":
        return _read_hdf5(file)
    if kind == ".parquet":
        return {name: _as_array(column) for name, column in pq.read_table(file).to_pydict().items()}
    if kind in {".json", ".yaml", ".csv", *TEXTS}:
        text = _plain(file.read_text(encoding="utf-8"), paths)
        if kind == ".csv":
            return _read_columns(text)
        return json.loads(text) if kind == ".json" else yaml.safe_load(text) if kind == ".yaml" else text.splitlines()
    return {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def _plain(text: str, paths: Sequence[Path]) -> str:
    for path in paths:
        text = text.replace(str(path), "<folder>")
    for pattern, plain in IN_NAMES:
        text = re.sub(pattern, plain, text)
    return text


def _clean(value: Any, paths: Sequence[Path]) -> Any:
    if isinstance(value, Mapping):
        return {_clean(name, paths): _clean(part, paths) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(part, paths) for part in value]
    return _plain(value, paths) if isinstance(value, str) else value


def _read_columns(text: str) -> Values:
    rows = list(csv.DictReader(StringIO(text)))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in (rows[0] if rows else ())}


def _read_events(file: Path) -> Values:
    """(N, 2) steps and values of each tag."""
    events = EventAccumulator(str(file), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: np.array([[e.step, e.value] for e in events.Scalars(tag)]) for tag in events.Tags()["scalars"]}


def _read_hdf5(file: Path) -> Values:
    found: Values = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            value = item[()]
            ragged = isinstance(value, np.ndarray) and value.dtype == object  # encoded frames, or texts
            found[name] = [one.tolist() if isinstance(one, np.ndarray) else one for one in value] if ragged else value
        found.update({f"{name}@{attribute}": value for attribute, value in item.attrs.items()})

    with h5py.File(file) as opened:
        visit("", opened)
        opened.visititems(visit)
    return found


def _flatten(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Lists of numbers, also nested ones, become arrays."""
    if isinstance(value, torch.Tensor):
        yield place, value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    elif isinstance(value, Mapping):
        if not value and place:
            yield place, "{}"
        for name, part in value.items():
            yield from _flatten(part, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list | tuple):
        array = _as_array(value)
        if array.dtype != object:
            yield place, array
        else:
            yield f"{place}.length", len(value)
            for number, part in enumerate(value):
                yield from _flatten(part, f"{place}[{number}]")
    else:
        yield place, value.decode() if isinstance(value, bytes) else value


def _as_array(values: Sequence[Any]) -> np.ndarray:
    """Of numbers, if all are; else of objects."""
    try:
        array = np.array(values)
        if array.size and array.dtype.kind in "biuf":
            return array
    except ValueError:  # of different lengths
        pass
    found = np.empty(len(values), object)
    found[:] = list(values)
    return found
