"""Windows a second, and the share of the time spent waiting for data, while training runs."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from mobile_vla.batch import Batch


class Throughput(Callback):
    """Time between a batch's end and the next one's start is waiting for data (and the loop's own work).

    Validation is not counted. `windows_per_s` counts the windows of all ranks.
    """

    def __init__(self):
        self.windows = 0
        self.waiting_s = 0.0
        self.working_s = 0.0
        self._mark: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self.waiting_s += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self.working_s += now - self._mark
        self._mark = now
        self.windows += batch.num_windows * trainer.world_size
        pl_module.log("speed/windows_per_s", self.windows_per_s, prog_bar=True)
        pl_module.log("speed/data_wait_share", self.data_wait_share, prog_bar=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = None

    @property
    def windows_per_s(self) -> float:
        return self.windows / max(self.waiting_s + self.working_s, 1e-9)

    @property
    def data_wait_share(self) -> float:
        return self.waiting_s / max(self.waiting_s + self.working_s, 1e-9)
