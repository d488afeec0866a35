"""Run by torchrun as two processes, and by itself as one: trains the tiny policy and writes what came out.

In: a folder, the batch size of each process. Out: `result_<rank>.pt` with gradients, trained weights and validation.
"""

import sys
from pathlib import Path

import lightning.pytorch as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from mobile_vla.training.callbacks.effects import EffectCurves, EffectsConfig
from tests import lab


class FirstGradients(pl.Callback):
    """As the optimizer gets them; Adam hides their scale from the weights."""

    def __init__(self):
        self.found: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if not self.found:
            self.found = {name: weight.grad.clone() for name, weight in module.policy.trained().items()}


def main(folder: Path, batch_size: int, world: int) -> None:
    torch.set_num_threads(1)
    data = lab.make_data(batch_size=batch_size)
    policy = lab.make_policy()
    module = lab.make_module(policy, data, max_epochs=2)
    gradients = FirstGradients()
    strategy = "ddp" if world > 1 else "auto"
    effects = EffectCurves(EffectsConfig(), data, delta=1.0)
    trainer = lab.make_trainer(folder, max_epochs=2, devices=world, strategy=strategy, callbacks=[gradients, effects])
    trainer.fit(module, data)
    result = {
        "weights": {name: weight.detach().clone() for name, weight in policy.trained().items()},
        "gradients": gradients.found,
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "steps": trainer.global_step,
    }
    torch.save(result, folder / f"result_{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
