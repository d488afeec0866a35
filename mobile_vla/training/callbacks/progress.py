"""The progress bar: loss, windows a second, and the share of time spent waiting for data."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

SHOWN = {
    "train/loss": ("loss", "{:.4f}"),
    "train/windows_per_s": ("windows/s", "{:.1f}"),
    "train/data_wait_share": ("waiting", "{:.0%}"),
    "val_loss": ("val_loss", "{:.4f}"),
}


class ProgressBar(TQDMProgressBar):
    """Lightning's bar with short names; validation runs without a bar of its own."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        found = super().get_metrics(trainer, pl_module)
        return {short: form.format(float(found[name])) for name, (short, form) in SHOWN.items() if name in found}
