"""What sections share while their process lives: the device, the sizes, a folder, and the policy on the device.

A device holds few models of full size at once: there is one policy at a time, and who asks for another one gets it in
the place of the last. Weights are made where they are used.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from benchmarks.device import Device, find_device, has_gpu
from benchmarks.gpu.size import NUM_TOKENS, SIZES, Size
from benchmarks.peak import Product
from benchmarks.setting import Setting, prepare_training
from benchmarks.timing import Timings, Variant, alternate
from mobile_vla.core.batch import Batch
from mobile_vla.jobs.quiet import quiet_loggers
from mobile_vla.models.memory import StepConfig, make_batch

ALL, TEXT = "model/lora=all", "model/lora=text"
BF16, FLOAT32 = "bf16-mixed", "32-true"


@dataclass(kw_only=True)
class Bench:
    size: Size
    device: Device
    folder: Path
    _of: tuple[str, ...] = ()
    _setting: Setting | None = field(default=None)

    def setting(self, *overrides: str, precision: str = BF16) -> Setting:
        """Of a policy that is trained with these settings; on the device."""
        words = (*self.size.model, *overrides, f"trainer.precision={precision}")
        if self._setting is None or self._of != words:
            self.drop()
            training = prepare_training(self.folder, words, self.size.episodes)
            self._setting, self._of = Setting.of(training, self.device.name), words
        self._setting.policy.to(self.device.name).eval()  # a Trainer has left it on the CPU
        return self._setting

    def drop(self) -> None:
        """Nothing of a policy is left on the device."""
        self._setting, self._of = None, ()
        self.device.free()

    def product(self, dtype: torch.dtype = torch.bfloat16) -> Product:
        return Product(dtype, self.device.name, self.size.side)

    def take_turns(self, variants: dict[str, Variant]) -> Timings:
        """Every variant in every round."""
        return alternate(
            variants,
            rounds=self.size.rounds,
            limit_s=self.size.seconds * len(variants),
            threads=torch.get_num_threads(),
            clocks=self.device.clocks,
        )


def make_bench(size: str, folder: Path) -> Bench:
    """size: of `SIZES`."""
    quiet_loggers()
    device = find_device("gpu" if size == "full" and has_gpu() else "cpu")
    return Bench(size=SIZES[size], device=device, folder=folder)


def draw_batch(setting: Setting, num_windows: int, seed: int = 0) -> Batch:
    """Windows as a training deals them by default: in spans, within which neighbours share frames; on the CPU.

    Numbers are drawn at random: a device's clock falls with what it multiplies.
    """
    config, policy = setting.training.config.data, setting.policy
    span, window = config.span, config.window
    step = StepConfig(
        batch_size=num_windows,
        window=window,
        span=span,
        chunk=config.chunk,
        tokens=NUM_TOKENS,
        components=len(setting.training.actions.components),
    )
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randint, generator=generator)
    batch = make_batch(policy, step, step.shared_frames)
    starts = torch.arange(num_windows)
    starts = starts + starts // span * (window - 1)
    assert batch.frames is not None, "it is made of frames"
    batch.frames.copy_(draw(256, batch.frames.shape, dtype=torch.uint8))
    batch.text_ids.copy_(draw(1, len(setting.training.source.tokenizer), batch.text_ids.shape))
    batch.windows.copy_(starts[:, None] + torch.arange(window))
    batch.chunks.copy_(2 * torch.rand(batch.chunks.shape, generator=generator) - 1)
    return batch
