"""What two run folders differ in, entry by entry: two runs of one training must not differ in anything."""

import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CLOCK = ("speed/",)  # scalars that a clock measured


def differences(found: Path, expected: Path) -> list[str]:
    """Empty if checkpoints, the best ones' names, `metrics.csv` and TensorBoard's scalars are the same."""
    lines = compare_checkpoints(found / "checkpoints" / "last.ckpt", expected / "checkpoints" / "last.ckpt")
    names = [sorted(file.name for file in (run / "checkpoints").iterdir()) for run in (found, expected)]
    lines += compare(*names, "checkpoints/")
    for name in names[1]:
        if name.startswith("epoch=") and name in names[0]:
            lines += compare_checkpoints(found / "checkpoints" / name, expected / "checkpoints" / name)
    tables = [(run / "metrics.csv").read_bytes() for run in (found, expected)]
    if tables[0] != tables[1]:
        lines += compare(*(table.decode().splitlines() for table in tables), "metrics.csv")
        lines.append("metrics.csv")
    return lines + compare(read_scalars(found), read_scalars(expected), "scalars")


def compare_checkpoints(found: Path, expected: Path) -> list[str]:
    """Everything but settings that must not matter: who loads the data, and how often is saved."""
    contents = [torch.load(file, weights_only=True) for file in (found, expected)]
    for content in contents:
        content["mobile_vla"]["config"]["data"].pop("num_workers")
        content["mobile_vla"]["config"]["callbacks"].pop("checkpoint")
    return compare(*contents, expected.name)


def read_scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by tag, in TensorBoard's own order; of what a clock measured the steps only.

    TensorBoard reads files by name, which begins with the second and ends with a count: of several in one second, as
    only tests make them, it would read the tenth before the second.
    """
    files = sorted(run.glob("events.out.tfevents.*"), key=lambda file: [part.zfill(9) for part in file.name.split(".")])
    with TemporaryDirectory() as ordered:
        for index, file in enumerate(files):
            shutil.copyfile(file, Path(ordered) / f"events.out.tfevents.{index:09d}")
        board = EventAccumulator(ordered, size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, 0.0 if tag.startswith(CLOCK) else event.value) for event in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
    }


def compare(found: Any, expected: Any, name: str) -> list[str]:
    """To the last bit, also of numbers that are none."""
    if type(found) is not type(expected):
        return [f"{name}: {type(found)} instead of {type(expected)}"]
    if isinstance(expected, torch.Tensor):
        same = found.dtype == expected.dtype and found.shape == expected.shape
        return [] if same and torch.equal(found, expected) else [f"{name}: {found} instead of {expected}"]
    if isinstance(expected, Mapping):
        lines = [f"{name}: {key} only on one side" for key in found.keys() ^ expected.keys()]
        return lines + [
            line for key in expected if key in found for line in compare(found[key], expected[key], f"{name}/{key}")
        ]
    if isinstance(expected, Sequence) and not isinstance(expected, str | bytes):
        lines = [f"{name}: length {len(found)} instead of {len(expected)}"] if len(found) != len(expected) else []
        return lines + [line for i, (a, b) in enumerate(zip(found, expected)) for line in compare(a, b, f"{name}/{i}")]
    if isinstance(expected, float):
        return [] if struct.pack("d", found) == struct.pack("d", expected) else [f"{name}: {found} not {expected}"]
    return [] if found == expected else [f"{name}: {found!r} instead of {expected!r}"]
