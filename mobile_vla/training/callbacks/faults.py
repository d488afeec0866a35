"""Names the files that go bad while training runs, in the run's table of faults, and stops when they are too many.

In: batches, which say what of them could not be read. Out: `faults.json`, and a line for each new file on stderr.
"""

import sys
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from mobile_vla.core.batch import Batch
from mobile_vla.data.faults import append_faults, load_faults, refuse_too_many
from mobile_vla.sources.schema import Fault


class FaultKeeper(Callback):
    """file: the run's `faults.json`; max_share: `data.max_fault_share`; num_files: good and bad ones at the start.

    Every rank reports what it has met. Two that write at the same moment may lose a line, so each writes its own
    again at the end of an epoch.
    """

    def __init__(self, file: Path, max_share: float, num_files: int):
        self.file = file
        self.max_share = max_share
        self.num_files = num_files
        self._met: dict[str, tuple[Fault, str]] = {}  # file -> its fault, and when

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._keep(batch, trainer)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._keep(batch, trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for fault, found in self._met.values():
            append_faults([fault], self.file, found)

    def _keep(self, batch: Batch, trainer: Trainer) -> None:
        new = [Fault(file, reason) for file, reason in batch.broken if file not in self._met]
        if not new:
            return
        found = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        known = {fault.file for fault in load_faults(self.file)} if self.file.exists() else set()
        self._met |= {fault.file: (fault, found) for fault in new}
        stored = append_faults(new, self.file, found)
        for fault in new:
            if fault.file not in known:  # else another rank, or the run before, has told
                print(f"left out from here on ({found}): {fault.file}: {fault.reason}", file=sys.stderr, flush=True)
        refuse_too_many(stored, self.num_files, self.max_share)
