"""Where training stands: a bar with loss, windows a second and waiting share; in a log file, a line an epoch."""

import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities import rank_zero_only

SHOWN = {
    "train/loss": ("loss", "{:.4f}"),
    "speed/windows_per_s": ("windows/s", "{:.1f}"),
    "speed/data_wait_share": ("waiting", "{:.0%}"),
    "val_loss": ("val_loss", "{:.4f}"),
}


def show_progress_of_training() -> Callback:
    """A bar where there is a terminal to draw it on."""
    return ProgressBar() if sys.stderr.isatty() else EpochLines()


IN_LINES = {"train/epoch_loss": SHOWN["train/loss"], **{k: v for k, v in SHOWN.items() if k != "train/loss"}}


def told(metrics: dict[str, Any], shown: dict[str, tuple[str, str]] = SHOWN) -> dict[str, str]:
    """The metrics that are shown, under short names."""
    return {short: form.format(float(metrics[name])) for name, (short, form) in shown.items() if name in metrics}


class ProgressBar(TQDMProgressBar):
    """Lightning's bar with short names; validation, which is short, has no bar of its own."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return told(super().get_metrics(trainer, pl_module))

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)


class EpochLines(Callback):
    """One line an epoch, with its mean loss, and none of a bar's redrawing."""

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = told(trainer.callback_metrics, IN_LINES)
        shown = " ".join(f"{name} {value}" for name, value in metrics.items())
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {shown}", file=sys.stderr, flush=True)
