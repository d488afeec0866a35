"""Which runs lie below a folder, and which evaluations and probes of them there are.

In: folders. Out: the folders of runs, wherever below they are (in a sweep's, for instance), and the reports of `eval`
and `probe` that name them. Only names are looked at, and those reports read: nothing heavy is imported.
"""

import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobile_vla.runs.lock import NAME as LOCK

CONFIG, CHECKPOINTS = "config.yaml", "checkpoints"
TOLD = ("train.json", "split.json")  # by which a run is known whose configuration was lost
REPORTS = {"eval": "run", "probe": "folder"}  # command -> the field of its report that names the run
MANIFEST = "manifest.json"  # of a store of contexts, whose folders are many and hold no runs
# Folders above a run in which evaluations and probes are looked for, as `runs/eval` is beside `runs/train/<run>`.
NEAR = 3
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Found:
    """runs: their folders. reports: of `eval` and `probe`, by the run (a path without links): (folder, content), the
    newest last."""

    runs: tuple[Path, ...]
    reports: Mapping[str, Mapping[Path, Sequence[tuple[Path, Mapping[str, Any]]]]]

    def of(self, command: str, run: Path) -> Sequence[tuple[Path, Mapping[str, Any]]]:
        return self.reports[command].get(run.resolve(), ())


def is_run(names: Collection[str]) -> bool:
    """Whether a folder that holds these names is a run's. A lock alone is what a training leaves that was refused."""
    if CONFIG in names:
        return CHECKPOINTS in names or LOCK in names
    return CHECKPOINTS in names and any(name in names for name in TOLD)


def find_runs(folders: Sequence[Path]) -> Found:
    """Links are not followed: a board's lead to runs that are found where they are."""
    runs: dict[Path, Path] = {}
    files: dict[Path, str] = {}
    near: dict[Path, None] = {}
    for folder in folders:
        for place, names in _walk(folder):
            if is_run(names):
                runs.setdefault(place.resolve(), place)
            files |= _list_reports(place, names)
    for run in runs:
        near |= dict.fromkeys(above / command for above in run.parents[:NEAR] for command in REPORTS)
    for folder in near:
        for place, names in _walk(folder):
            files |= _list_reports(place, names)
    return Found(runs=tuple(runs.values()), reports=_read_reports(files))


def _walk(folder: Path) -> Iterator[tuple[Path, set[str]]]:
    """Each folder and the names in it; not into runs, stores and hidden ones, nor where one may not look."""
    for place, below, files in os.walk(folder):
        names = {*below, *files}
        yield Path(place), names
        if is_run(names) or MANIFEST in files:
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))


def _list_reports(place: Path, names: Collection[str]) -> dict[Path, str]:
    return {place.resolve() / f"{command}.json": command for command in REPORTS if f"{command}.json" in names}


def _read_reports(files: Mapping[Path, str]) -> Mapping[str, Mapping[Path, list[tuple[Path, Mapping[str, Any]]]]]:
    """What cannot be read is no report: it is not the run that is broken then."""
    found: dict[str, dict[Path, list]] = {command: defaultdict(list) for command in REPORTS}
    for file, command in sorted(files.items(), key=lambda one: _modified(one[0])):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            continue
        for part in content.get("runs", [content]):  # `eval` of several runs holds the findings of each
            name = part.get(REPORTS[command])
            if isinstance(name, str):
                found[command][Path(name).resolve()].append((file.parent, part))
    return found


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
