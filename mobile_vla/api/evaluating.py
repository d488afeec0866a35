"""`evaluate`: what a run is worth on episodes that it was not trained on.

In: a run, or several, and which episodes. Out: the fields of `eval.json`, from the code of `mobile-vla eval`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities.seed import isolate_rng

from mobile_vla.api.given import Episodes, Run, data_of, find_place
from mobile_vla.api.training import TrainedRun
from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Report
from mobile_vla.jobs.output import taken
from mobile_vla.jobs.progress import show_steps
from mobile_vla.jobs.results import write_report
from mobile_vla.opening.evaluation import Evaluation, check_wanted
from mobile_vla.opening.place import Device, check_device, open_run


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """found: the fields of `eval.json`;  folder: where they and the figures are, None where nothing was written"""

    folder: Path | None
    found: Mapping[str, Any] = field(repr=False)

    @property
    def loss(self) -> float:
        """Huber loss in normalised units; of several runs their mean."""
        return self.found["loss"]

    @property
    def baselines(self) -> Mapping[str, Any]:
        """The same loss on the same windows, of what needs no policy."""
        return self.found["baselines"]


def evaluate(
    run: Run | Sequence[Run],
    *,
    checkpoint: Path | str = "best",
    split: Literal["validation", "test"] | None = None,
    episodes: Episodes | None = None,
    device: Device = None,
    out: Path | str | None = None,
) -> Evaluated:
    """What a run is worth on episodes that it was not trained on, or several, with the spread between them.

    checkpoint  `best` (by validation loss), `last` or a file
    split       of the run's own episodes; without it validation, or with `episodes` all of these
    episodes    folders of other episodes
    device      for example `cuda:1`
    out         a new or empty folder for `eval.json` and figures; without it nothing is written

    `UserError` where the run was trained on one of the episodes, or there are none.
    """
    check_wanted(split, str(checkpoint))
    check_device(device)
    runs = [run] if isinstance(run, Path | str | TrainedRun) else list(run)
    if not runs:
        raise UserError("expected a run, or several", argument="run", value=())
    with isolate_rng(), show_steps() as progress:
        opened = [open_run(find_place(one), str(checkpoint), device=device, data=data_of(episodes)) for one in runs]
        evaluation = Evaluation.open(opened, split, progress=progress)
        if out is None:
            return Evaluated(folder=None, found=evaluation.run(None, progress))
        with taken(out) as folder:
            found = evaluation.run(folder, progress)
            write_report(Report(payload=found), folder / "eval.json")
    return Evaluated(folder=folder, found=found)
