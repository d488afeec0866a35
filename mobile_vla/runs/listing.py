"""The runs below one or several folders: read, named and sorted.

In: folders, as text. Out: a `RunList`; `UserError` where there is no such folder, or no run in it.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest_neighbour
from mobile_vla.runs.search import find_runs
from mobile_vla.runs.summary import RunSummary, read_run

Sort = Literal["time", "val_loss", "name"]


@dataclass(frozen=True, kw_only=True)
class RunList:
    """base: the deepest folder that holds all of them. runs: by their paths below it, in their order."""

    base: Path
    runs: Mapping[str, RunSummary]


def list_runs(runs: str | tuple[str, ...], sort: Sort) -> RunList:
    """In the order of `sort`: `time`, the newest last; `val_loss`, the best first; or `name`."""
    texts = (runs,) if isinstance(runs, str) else runs
    if not texts:
        raise UserError("expected a folder, or a list of folders", argument="runs", value=())
    found = find_runs([_find_folder(text) for text in texts])
    if not found.runs:
        raise UserError(
            "no run below it (the folder of a run holds config.yaml and checkpoints/); training makes one",
            argument="runs",
            value=runs,
        )
    base = Path(os.path.commonpath([folder.parent for folder in found.runs]))
    summaries = {str(folder.relative_to(base)): read_run(folder, found) for folder in found.runs}
    return RunList(base=base, runs={name: summaries[name] for name in _sort(summaries, sort)})


def _find_folder(text: str) -> Path:
    folder = Path(text).expanduser().absolute()
    if folder.is_dir():
        return folder
    parts = text.split(",")
    if folder.exists():
        raise UserError("is a file: expected the folder that holds the runs", argument="runs", value=text)
    if len(parts) > 1 and all(Path(part).expanduser().is_dir() for part in parts):
        raise UserError(f"several folders are a list: [{','.join(parts)}]", argument="runs", value=text)
    hint = suggest_neighbour(folder)
    raise UserError(f"there is no such folder{hint}; give the one that holds the runs", argument="runs", value=text)


def _sort(runs: Mapping[str, RunSummary], sort: Sort) -> list[str]:
    """By time: the newest last, next to the prompt. By loss: the best first, runs without a loss last."""
    if sort == "name":
        return sorted(runs)
    by_time = sorted(runs, key=lambda name: (runs[name].began, name))
    if sort == "time":
        return by_time
    losses = {name: run.val_loss for name, run in runs.items() if run.val_loss is not None}
    return sorted(by_time, key=lambda name: loss if math.isfinite(loss := losses.get(name, math.inf)) else math.inf)
