"""The layers of vision tower and text decoder through `torch.compile`, in the training step and nowhere else.

In: a policy. Out: the same policy, whose layers compute with compiled kernels from a batch's start to its end.

Layer by layer, since all layers of a kind share one compiled graph, and the whole model would be compiled for as long
as some trainings last. Validation, probes and the doctor run what they always run: hooks inside a compiled layer would
see nothing, and `eval` finds the loss that training has found. Weights and their names are untouched.

A graph takes any number of frames and tokens from its first batch on: one that was made for the first batch's sizes and
made again for the second's would give a resumed run other last bits. What cannot be compiled is an error.
"""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.compiler.config
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.models.policy import Policy


class CompiledLayers(Callback):
    """Nothing is compiled before a layer first runs: those that a cache stands in for never are."""

    def __init__(self, policy: Policy):
        layers = (*policy.backbone.vision_layers, *policy.backbone.text_layers)
        self.compiled: dict[nn.Module, Callable[..., Any]] = {
            layer: torch.compile(layer.forward, fullgraph=True, dynamic=True) for layer in layers
        }

    def switch_on(self) -> None:
        for layer, forward in self.compiled.items():
            layer.forward = forward

    def switch_off(self) -> None:
        """Layers compute as their class says."""
        for layer in self.compiled:
            vars(layer).pop("forward", None)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self.switch_on()  # until the batch's end: layers are recomputed in the backward pass

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.switch_off()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.switch_off()


def check_compiler(accelerator: str) -> None:
    """Compile something small, forward and backward; `UserError` where that fails, before anything else is done."""
    device = "cuda" if accelerator == "gpu" else accelerator
    log = logging.getLogger("torch._inductor.utils")
    level = log.level
    log.setLevel(logging.ERROR)  # it would tell of files that it keeps
    try:
        # What was compiled before would be found without a compiler.
        with warnings.catch_warnings(action="ignore"), torch.compiler.config.patch(force_disable_caches=True):
            torch.compile(_probe)(torch.ones(8, device=device, requires_grad=True)).backward()
    except Exception as error:  # a missing compiler, header or Triton each has its own kind
        raise UserError(
            f"torch.compile does not work here ({str(error).splitlines()[0]}); expected a C++ "
            "compiler, and Triton on a GPU; install what is missing, or leave out trainer.compile",
            argument="trainer.compile",
            value=True,
        ) from error
    finally:
        log.setLevel(level)


def _probe(values: torch.Tensor) -> torch.Tensor:
    return (2 * values).relu().sum()
