"""`train`: a fine-tune with the words of the command line, from a program.

In: settings as `mobile-vla train` takes them. Out: a `TrainedRun`, whose folder holds what the command's would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

from mobile_vla.api.loading import load
from mobile_vla.api.policy import LoadedPolicy
from mobile_vla.cli.registry import load_command
from mobile_vla.core.errors import UserError
from mobile_vla.jobs.launch import launch
from mobile_vla.jobs.listener import Caller
from mobile_vla.settings.conf_folder import find_conf_folder

REPORT = "train.json"


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
        raise UserError(f"words: expected a list of settings, got one text; write [{words!r}]")
    for word in words:
        if not isinstance(word, str) or word.startswith("-"):
            raise UserError(
                f"words: expected settings such as 'trainer.max_epochs=3', got {word!r}; flags and sweeps "
                "are the command line's"
            )
    caller = Caller()
    launch(load_command("train"), words, find_conf_folder(), caller)
    if caller.error is not None:
        raise caller.error
    assert caller.out is not None
    return TrainedRun(folder=caller.out, found=loads((caller.out / REPORT).read_text(encoding="utf-8")))
