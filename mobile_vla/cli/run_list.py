"""Which runs `runs=` means: those below one or several folders, read, named and sorted.

In: the setting as typed. Out: `RunList`; `UserError` in one line where there is no folder, or no run in it.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mobile_vla.core.errors import UserError

if TYPE_CHECKING:
    from mobile_vla.runs.summary import RunSummary

Sort = Literal["time", "val_loss", "name"]


@dataclass(frozen=True, kw_only=True)
class RunList:
    """base: the deepest folder that holds all of them. runs: by their paths below it, in their order."""

    base: Path
    runs: "Mapping[str, RunSummary]"


def list_runs(runs: str | tuple[str, ...], sort: Sort) -> RunList:
    from mobile_vla.runs.search import find_runs
    from mobile_vla.runs.summary import read_run
    from mobile_vla.settings.literal import write_list

    texts = (runs,) if isinstance(runs, str) else runs
    if not texts:
        raise UserError("runs=[]: expected a folder, or a list of folders: runs=[A,B]")
    found = find_runs([_find_folder(text) for text in texts])
    if not found.runs:
        raise UserError(
            f"runs={runs if isinstance(runs, str) else write_list(runs)}: no run below it (a run's folder holds "
            "config.yaml and checkpoints/); mobile-vla train makes one"
        )
    base = Path(os.path.commonpath([folder.parent for folder in found.runs]))
    summaries = {str(folder.relative_to(base)): read_run(folder, found) for folder in found.runs}
    return RunList(base=base, runs={name: summaries[name] for name in _sort(summaries, sort)})


def _find_folder(text: str) -> Path:
    from mobile_vla.settings.literal import write_list
    from mobile_vla.settings.saved import suggest_neighbour

    folder = Path(text).expanduser().absolute()
    if folder.is_dir():
        return folder
    parts = text.split(",")
    if folder.exists():
        raise UserError(f"runs={text} is a file: expected the folder that holds the runs")
    if len(parts) > 1 and all(Path(part).expanduser().is_dir() for part in parts):
        raise UserError(f"runs={text}: several folders are a list: runs={write_list(parts)}")
    raise UserError(
        f"runs={text}: there is no such folder{suggest_neighbour(folder)}; give the one that holds the runs"
    )


def _sort(runs: "Mapping[str, RunSummary]", sort: Sort) -> list[str]:
    """By time: the newest last, next to the prompt. By loss: the best first, runs without a loss last."""
    if sort == "name":
        return sorted(runs)
    by_time = sorted(runs, key=lambda name: (runs[name].began, name))
    if sort == "time":
        return by_time
    losses = {name: run.val_loss for name, run in runs.items() if run.val_loss is not None}
    return sorted(by_time, key=lambda name: loss if math.isfinite(loss := losses.get(name, math.inf)) else math.inf)
