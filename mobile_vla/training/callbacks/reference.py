"""Logs the baselines beside every validation, so that no chart shows a loss that stands alone."""

from collections.abc import Mapping

from lightning.pytorch import Callback, LightningModule, Trainer


class BaselineReference(Callback):
    """losses: baseline -> its loss on the validation windows, which does not change while training runs."""

    def __init__(self, losses: Mapping[str, float]):
        self.losses = dict(losses)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            pl_module.log_dict({f"baseline/{name}": loss for name, loss in self.losses.items()})
