"""`train`: a fine-tune with the words of the command line, from a program.

In: settings as `mobile-vla train` takes them. Out: a `TrainedRun`, whose folder holds what the command's would: both
run the job that `prepare` makes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

from mobile_vla.api.loading import load
from mobile_vla.api.policy import LoadedPolicy
from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.doctor.examination import check_wiring
from mobile_vla.jobs.command import Command, Context, Job, Report
from mobile_vla.jobs.launch import launch
from mobile_vla.jobs.listener import Caller
from mobile_vla.jobs.progress import show_steps
from mobile_vla.jobs.ranks import refuse_sweep_over_ranks
from mobile_vla.models.policy import Policy
from mobile_vla.opening.training import open_training
from mobile_vla.settings.conf_folder import find_conf_folder
from mobile_vla.settings.saved import write_config
from mobile_vla.settings.typed import build
from mobile_vla.training.config import TrainConfig

REPORT = "train.json"
PATHS = (("data", "root"), ("data", "labels"), ("model", "weights"))  # may name a file or folder
FOLDERS = (("data", "pack_dir"), ("cache", "dir"))  # do, and are made where they are not there yet


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """folder: of the run;  found: the fields of its `train.json` (`val_loss`, `baselines`, `instruction_effect`, …)"""

    folder: Path
    found: Mapping[str, Any] = field(repr=False)

    @property
    def val_loss(self) -> float:
        """Of the best checkpoint: Huber loss in normalised units."""
        return self.found["val_loss"]

    def load(self, **wanted: Any) -> LoadedPolicy:
        """Its policy: `mobile_vla.load(run.folder, **wanted)`."""
        return load(self.folder, **wanted)


def train(words: Sequence[str]) -> TrainedRun:
    """Train, and return the run when it has ended.

    words  as on the command line: `["data.root=episodes", "model=tiny"]`; `out=<folder>` says where, `run=<folder>`
           continues a run, `config=<file>` repeats one

    `UserError` for wrong settings or data, before anything is written.
    """
    if isinstance(words, str):
        raise UserError(f"expected a list of settings, got one text; write [{words!r}]", argument="words")
    for word in words:
        if not isinstance(word, str) or word.startswith("-"):
            raise UserError(
                f"expected settings such as 'trainer.max_epochs=3', got {word!r}; flags and sweeps are the command "
                "line's",
                argument="words",
            )
    caller = Caller()
    launch(Command(name="train", prepare=prepare, saved=("run", "config")), words, find_conf_folder(), caller)
    if caller.error is not None:
        raise caller.error
    assert caller.out is not None
    return TrainedRun(folder=caller.out, found=loads((caller.out / REPORT).read_text(encoding="utf-8")))


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Check settings, machine, model and data; the job trains."""
    for group, key in PATHS:
        config[group][key] = _absolute(config[group][key])
    for group, key in FOLDERS:
        if isinstance(config[group][key], str):
            config[group][key] = str(Path(config[group][key]).expanduser().absolute())
    config["start"] = _absolute(config["start"])
    settings = build(TrainConfig, config)
    refuse_sweep_over_ranks(context, settings.trainer.num_devices, settings.trainer.strategy)
    shown = context.rank == 0
    with show_steps(enabled=shown) as progress:
        training = open_training(settings, config, context.run_folder, progress)
    if shown:
        print("\n".join(training.describe()))

    def run(out: Path) -> Report:
        with show_steps(enabled=shown) as progress:
            check = _make_check(settings.doctor.refuse, shown)
            return Report(payload=training.run(out, lambda file: write_config(config, file), progress, check))

    return Job(run=run, folder=context.run_folder)


def _make_check(refuse: bool, shown: bool) -> Callable[[Policy, Batch], None]:
    """What is done about an input that is not wired: a `UserError`, or a line."""

    def check(policy: Policy, batch: Batch) -> None:
        found = [finding for finding in check_wiring(policy, batch) if finding.severity == "error"]
        if found and refuse:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise UserError(f"{found[0].line}{more}; to train all the same, doctor.refuse=false")
        if shown:
            for finding in found:
                print(f"not wired: {finding.line}", flush=True)

    return check


def _absolute(value: Any) -> Any:
    """Existing paths made absolute, so that the stored configuration means the same everywhere; other words stay."""
    if isinstance(value, list):
        return [_absolute(entry) for entry in value]
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    return str(path.absolute()) if path.exists() or value.startswith(("~", ".", "/")) else value
