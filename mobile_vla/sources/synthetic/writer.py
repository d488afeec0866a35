"""Writes synthetic episodes in the lab's real layouts, one file an episode, in several processes.

In: a `SynthConfig` and a folder. Out: files, and a summary of what they hold. The same configuration gives the same
bytes; episode i is the same however many are written, and by however many processes.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py

from mobile_vla.core.durable import replaced
from mobile_vla.core.errors import UserError
from mobile_vla.sources.synthetic.episode import Task, make_task, record
from mobile_vla.sources.synthetic.layouts import write_recording
from mobile_vla.sources.synthetic.naming import file_name, labels_of, recorded_at
from mobile_vla.sources.synthetic.settings import HallConfig, check_whole

MAX_WORKERS = 8
NAME_LABELS = {  # what a layout's file names say
    "flat": ("boxes", "orientation", "direction", "pattern", "distance"),
    "nested": ("position", "direction", "pattern", "distance"),
    "jpeg": ("position", "direction", "pattern", "distance"),
}


@dataclass(frozen=True, kw_only=True)
class SynthConfig(HallConfig):
    """Which episodes to write. workers: processes; by default one a core, 8 at most; changes no byte."""

    workers: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.workers is not None:
            check_whole("workers", self.workers, 1)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """One file to write."""

    index: int
    task: Task
    labels: dict[str, str]
    path: Path


def write_episodes(
    config: SynthConfig, out: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Write all episodes into the folder `out` and sum them up.

    progress  called as progress(written, episodes) after each file

    Returns `files`, `bytes`, `frames` (numbers), `labels` (name -> value -> episodes), `instructions` (text ->
    episodes), `world`, `layout`, `seed`. Raises `UserError`, before anything is written, if one of the files exists.
    """
    out = Path(out)
    plans = [_plan(config, index, out) for index in range(config.episodes)]
    for plan in plans:
        if plan.path.exists():
            raise UserError(
                f"out: '{plan.path}' exists already and is not overwritten; give another out= or another seed="
            )
    out.mkdir(parents=True, exist_ok=True)
    num_bytes = 0
    for written, size in enumerate(_write_all(config, plans), start=1):
        num_bytes += size
        if progress:
            progress(written, config.episodes)
    labels = {
        name: dict(sorted(Counter(plan.labels[name] for plan in plans).items())) for name in NAME_LABELS[config.layout]
    }
    return {
        "files": config.episodes,
        "bytes": num_bytes,
        "frames": config.episodes * config.frames,
        "labels": labels,
        "instructions": dict(sorted(Counter(plan.task.instruction for plan in plans).items())),
        "world": config.world,
        "layout": config.layout,
        "seed": config.seed,
    }


def _plan(config: SynthConfig, index: int, out: Path) -> _Plan:
    task = make_task(config.seed, index, config.world, config.frames)
    labels = labels_of(task)
    name = file_name(labels, recorded_at(config.seed, index), config.layout)
    return _Plan(index=index, task=task, labels=labels, path=out / name)


def _write_all(config: SynthConfig, plans: list[_Plan]) -> Iterator[int]:
    """The size of each file in bytes, in the order of completion."""
    workers = min(config.workers or min(os.cpu_count() or 1, MAX_WORKERS), len(plans))
    if workers == 1:
        for plan in plans:
            yield _write_one(config, plan)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_write_one, config, plan) for plan in plans]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_one(config: SynthConfig, plan: _Plan) -> int:
    """Record and write one episode, beside its place first, so that no half-written file ever has its name."""
    recording = record(plan.task, num_frames=config.frames, resolution=config.resolution, noise=config.noise)
    when = recorded_at(config.seed, plan.index)
    with replaced(plan.path, sync=False) as part:
        with h5py.File(part, "w") as file:
            write_recording(file, recording, plan.labels, when, plan.path.stem, config.layout)
        return part.stat().st_size
