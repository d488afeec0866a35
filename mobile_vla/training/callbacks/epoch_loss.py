"""The mean training loss of an epoch, over its windows, also where the epoch was interrupted in between."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mobile_vla.core.batch import Batch

NAME = "train/epoch_loss"


class EpochLoss(Callback):
    """Adds up; logged in the epoch's last hook, before the epoch's checkpoint is saved.

    Batches whose loss is not a number do not count. A step counts when it is done: a checkpoint that is saved in the
    midst of one says where it began, and its batches come again.
    """

    def __init__(self):
        self.sums = torch.zeros(2, dtype=torch.float64)  # loss x windows, windows
        self._step: list[tuple[Tensor, int]] = []  # loss and windows of each batch of the step at hand

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._step.append((outputs["shown"].detach(), batch.num_windows))
        if trainer.fit_loop._should_accumulate():
            return
        losses = torch.stack([loss for loss, _ in self._step]).cpu().double()
        windows = torch.tensor([count for _, count in self._step])
        counts = losses.isfinite()
        self.sums += torch.stack([(losses * windows)[counts].sum(), windows[counts].sum()])
        self._step = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.current.processed < trainer.num_training_batches:
            return  # stopped within the epoch, which a resumed run will end
        loss, windows = self._over_ranks(trainer, pl_module).tolist()
        mean = loss / windows if windows else math.nan
        pl_module.log(NAME, mean, logger=False)  # for those who print it
        for logger in trainer.loggers:
            logger.log_metrics({NAME: mean, "epoch": trainer.current_epoch}, trainer.global_step - 1)
        self.sums = torch.zeros_like(self.sums)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["epoch_loss"] = self._over_ranks(trainer, pl_module).tolist()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            self.sums = torch.tensor(checkpoint["epoch_loss"], dtype=torch.float64)

    def _over_ranks(self, trainer: Trainer, pl_module: LightningModule) -> Tensor:
        if trainer.world_size == 1:
            return self.sums
        return trainer.strategy.reduce(self.sums.to(pl_module.device, copy=True), reduce_op="sum")  # in place
