"""Where training stands between two optimizer steps, and how the trainer is put there again.

Lightning stores the counters of its loops as they are when a checkpoint is saved, and tells from them, by a dozen
rules, how to go on. Here a checkpoint always says the same simple thing: this batch of this epoch comes next. What
comes before has been trained, logged and validated; nothing of what follows has begun. Saved so, a run continues
to the last bit from the middle of an epoch.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from lightning.pytorch import Trainer


@dataclass(frozen=True, kw_only=True)
class Position:
    """The next batch: `epoch`, and `batch` within it (of each rank); `step` optimizer steps lie before it."""

    epoch: int
    batch: int
    step: int

    @classmethod
    def of(cls, trainer: Trainer) -> "Position":
        """Where the trainer stands; in the midst of a step, where that step began.

        Right at the start of a batch, between epochs, and where training was stopped within one. Not during the
        validation at an epoch's end, which belongs to the epoch.
        """
        epochs = trainer.fit_loop.epoch_progress.current
        done = trainer.fit_loop.epoch_loop.batch_progress.current.processed
        epoch = epochs.processed
        if epochs.ready == epochs.processed:  # no epoch is running: it has ended, was stopped, or none has begun
            if 0 < done < trainer.num_training_batches:
                epoch -= 1
            else:
                done = 0
        steps = trainer.accumulate_grad_batches
        return cls(epoch=epoch, batch=done // steps * steps, step=trainer.global_step)

    @classmethod
    def read(cls, checkpoint: dict[str, Any]) -> "Position":
        return cls(**checkpoint["position"])

    def dealt_as(self, before: int, now: int, accumulate: int, num_batches: int) -> "Position":
        """The same place where a batch of all ranks holds `now` windows instead of `before`.

        Spans are dealt in an order that does not depend on it. At the nearest step before: a few windows come twice.
        """
        batch = self.batch * before // now
        return replace(self, batch=min(batch, num_batches - 1) // accumulate * accumulate)

    def write(self, checkpoint: dict[str, Any]) -> None:
        """Put the counters of Lightning's loops into the one form that stands for this position."""
        checkpoint["position"] = asdict(self)
        checkpoint["epoch"] = self.epoch
        loops = checkpoint["loops"]["fit_loop"]
        begun = self.epoch + (self.batch > 0)
        for counts in loops["epoch_progress"].values():
            counts.update(ready=begun, started=begun, processed=self.epoch, completed=self.epoch)
        batches = loops["epoch_loop.batch_progress"]
        _set_all(batches, self.batch)
        batches["is_last_batch"] = False
        _set_all(loops["epoch_loop.scheduler_progress"], self.step)
        for progress in loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"].values():
            _set_all(progress, self.step)
        # What loggers call the step is counted after a batch's hooks: here it always is.
        loops["epoch_loop.state_dict"]["_batches_that_stepped"] = self.step


def _set_all(progress: dict[str, Any], count: int) -> None:
    """Of this epoch and in all: what is counted is either begun and ended, or not begun."""
    for counts in (progress["current"], progress["total"]):
        counts.update(dict.fromkeys(counts, count))
