"""What runs and episodes may be given as: paths, lists of paths, what `train` returned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobile_vla.api.training import TrainedRun

Run = Path | str | TrainedRun
Episodes = Path | str | Sequence[Path | str]


def find_place(run: Run) -> Path | str:
    return run.folder if isinstance(run, TrainedRun) else run


def data_of(episodes: Episodes | None) -> dict[str, Any]:
    """Settings of `DataConfig` that name these episodes; none where a run's own are meant."""
    if episodes is None:
        return {}
    several = [episodes] if isinstance(episodes, Path | str) else list(episodes)
    return {"root": tuple(str(Path(one).expanduser().absolute()) for one in several)}
