"""Which checkpoints a run keeps: the last two to continue from, and the best by `val_loss`.

Saved between optimizer steps only: when training begins, after every epoch, every few minutes within one, and when
training is asked to stop. The files of the best are the same files as the last ones under another name.
"""

import math
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from mobile_vla.checkpoints.files import LAST, NEXT, rotate
from mobile_vla.checkpoints.trained import read_checkpoint
from mobile_vla.core.durable import replaced
from mobile_vla.core.errors import Interrupted, UserError
from mobile_vla.display.loggers import CsvMetrics
from mobile_vla.training.position import Position

ASK_EVERY_STEPS = 10  # ranks agree on the time this often: their clocks differ, and all save or none
NAME = re.compile(r"epoch=(\d+)-val_loss=(-?[\d.]+|nan|inf)\.ckpt")


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """save_top_k best by `val_loss` are kept (-1: all, 0: none), and always the last two.

    every_n_minutes, every_n_steps  also save within an epoch; a run that is killed loses no more than that
    """

    save_top_k: int = 3
    every_n_minutes: float | None = 10.0
    every_n_steps: int | None = None

    def __post_init__(self):
        if self.save_top_k < -1:
            raise UserError(f"must be at least -1 (all), got {self.save_top_k}", argument="save_top_k")
        for name in ("every_n_minutes", "every_n_steps"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"must be positive, or null for never, got {value}", argument=name)


class RunCheckpoints(Checkpoint):
    """resumed: the checkpoint that training continues from;  table: `metrics.csv`, continued where that one stands."""

    def __init__(
        self,
        config: CheckpointConfig,
        run_folder: Path,
        resumed: Path | None = None,
        table: CsvMetrics | None = None,
    ):
        self.config = config
        self.folder = run_folder / "checkpoints"
        self.resumed = resumed
        self.table = table
        self.best: dict[str, float] = {}  # file name -> val_loss
        self.at_stop: dict[str, float] = {}  # validated where training stopped within an epoch; until it goes on
        self._stands: Position | None = None  # of `resumed`
        self._rows = 0  # of the table, there
        self._goes_on = False
        self._validated: float | None = None  # this epoch's val_loss
        self._saved_step: int | None = None
        self._saved_at = 0.0

    @property
    def best_path(self) -> Path | None:
        """The best checkpoint so far, the earliest where several are equally good."""
        known = self.best | self.at_stop
        return self.folder / min(sorted(known), key=known.__getitem__) if known else None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.resumed is not None and self._stands is not None and trainer.is_global_zero:
            self._tidy(self._stands, self.resumed)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if self.resumed is None:  # a run that is killed before its first epoch ends is continued, too
            self._go_on(trainer)
            self._save(trainer)
        self._saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._go_on(trainer)
        if batch_idx % trainer.accumulate_grad_batches == 0 and self._is_due(trainer):
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save(trainer)  # stopped within an epoch: what this validation logs is not where a resume begins

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            loss = float(trainer.callback_metrics["val_loss"])
            self._validated = loss if math.isfinite(loss) else math.inf

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        position = Position.of(trainer)
        ended = position.batch == 0
        epoch = position.epoch - ended
        dropped = []
        if self._validated is not None and self.config.save_top_k:
            name = f"epoch={epoch:03d}-val_loss={self._validated:.5f}.ckpt"
            (self.best if ended else self.at_stop)[name] = self._validated
            if self.config.save_top_k > 0:
                ranked = sorted(self.best, key=lambda name: (self.best[name], name))
                dropped = ranked[self.config.save_top_k :]
            for worst in dropped:
                del self.best[worst]
        self._validated = None
        if ended or self._saved_step != trainer.global_step:
            self._save(trainer)
        if trainer.is_global_zero:
            self._keep_best(self.folder / LAST)
            for worst in dropped:
                (self.folder / worst).unlink(missing_ok=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Asked to stop, or stopped before a step could do harm: nothing of the work so far is lost."""
        orderly = isinstance(exception, Interrupted) and not exception.at_once
        orderly |= isinstance(exception, UserError) and trainer.world_size == 1  # else other ranks may not know of it
        if orderly and trainer.training and trainer.global_step != self._saved_step:
            self._save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["rows"] = 0 if self.table is None else self.table.count_rows()
        checkpoint["windows_a_batch"] = _windows_a_batch(trainer)
        Position.of(trainer).write(checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._stands, self._rows = Position.read(checkpoint), checkpoint["rows"]
        num_batches = trainer.datamodule.plan("train", trainer.world_size).num_batches(trainer.world_size)
        position = self._stands.dealt_as(
            checkpoint["windows_a_batch"], _windows_a_batch(trainer), trainer.accumulate_grad_batches, num_batches
        )
        position.write(checkpoint)  # before the loops read it

    def state_dict(self) -> dict[str, Any]:
        return {"best": dict(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict["best"])

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.global_step == self._saved_step:
            return False
        steps, minutes = self.config.every_n_steps, self.config.every_n_minutes
        if steps is not None and trainer.global_step % steps == 0:
            return True
        if minutes is None or (trainer.world_size > 1 and trainer.global_step % ASK_EVERY_STEPS):
            return False
        return trainer.strategy.broadcast(time.monotonic() - self._saved_at >= 60 * minutes)

    def _go_on(self, trainer: Trainer) -> None:
        """Before the first batch: what was logged and kept after the checkpoint will come again, or never was."""
        if self._goes_on:
            return
        self._goes_on = True
        if trainer.is_global_zero and self.table is not None:
            self.table.resume_at(self._rows)
        if trainer.is_global_zero:
            for name in self.at_stop:
                (self.folder / name).unlink(missing_ok=True)
        self.at_stop = {}

    def _save(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # what a checkpoint counts as logged is there
        trainer.save_checkpoint(self.folder / NEXT, weights_only=False)
        if trainer.is_global_zero:
            rotate(self.folder)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def _keep_best(self, source: Path) -> None:
        """Give the newest checkpoint its second name, where this epoch's is among the best."""
        for name in self.best | self.at_stop:
            file = self.folder / name
            if not file.exists():
                try:
                    os.link(source, file)
                except OSError:  # a file system without hard links
                    with replaced(file) as part:
                        shutil.copyfile(source, part)

    def _tidy(self, position: Position, resumed: Path) -> None:
        """After a kill: name what was saved but not yet named; drop what was to be dropped, or will be done again."""
        for file in self.folder.glob("epoch=*.ckpt"):
            known = NAME.fullmatch(file.name)
            if known and position.batch and int(known[1]) == position.epoch:
                self.at_stop[file.name] = float(known[2])
            elif known and file.name not in self.best and _is_of_run(file, resumed):
                file.unlink()
        for name in list(self.best):
            newest = position.batch == 0 and int(name.split("=")[1].split("-")[0]) == position.epoch - 1
            if not newest and not (self.folder / name).exists():
                del self.best[name]  # the user took it away
        self._keep_best(resumed)


def _is_of_run(file: Path, resumed: Path) -> bool:
    """Whether the file, and no link, holds the same run as the checkpoint that it is resumed from: a copy of another
    run's that somebody has put there is not ours to drop."""
    if file.is_symlink():
        return False
    try:
        return read_checkpoint(file)["mobile_vla"] == read_checkpoint(resumed)["mobile_vla"]
    except UserError:
        return False


def _windows_a_batch(trainer: Trainer) -> int:
    """Over all ranks."""
    return trainer.datamodule.config.batch_size * trainer.world_size
