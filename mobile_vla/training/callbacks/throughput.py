"""Windows a second, and the share of the time spent waiting for data, while training runs."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from mobile_vla.core.batch import Batch


class Throughput(Callback):
    """From an epoch's begin to the end of its last batch: steps, waiting for batches, and what the loop does between.

    Waiting is what the loader counts (`BatchLoader.waited_s`): progress bars and loggers are not data. Validation is
    not counted. `windows_per_s` counts the windows of all ranks.
    """

    def __init__(self):
        self.windows = 0
        self.seconds = 0.0
        self.waiting_s = 0.0
        self._mark: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self.seconds += now - self._mark
        self._mark = now
        self.waiting_s = trainer.train_dataloader.waited_s
        self.windows += batch.num_windows * trainer.world_size
        pl_module.log("speed/windows_per_s", self.windows_per_s, prog_bar=True)
        pl_module.log("speed/data_wait_share", self.data_wait_share, prog_bar=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    @property
    def windows_per_s(self) -> float:
        return self.windows / max(self.seconds, 1e-9)

    @property
    def data_wait_share(self) -> float:
        return self.waiting_s / max(self.seconds, 1e-9)
