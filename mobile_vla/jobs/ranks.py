"""Several processes, one training: which of them is this one, and which folder do they share.

Lightning starts the other ranks of a machine by running the same command line again; torchrun and SLURM start
all of them. The first rank makes the output folder and names it in the environment variable MOBILE_VLA_OUT,
which the processes that it starts inherit.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mobile_vla.core.errors import UserError
from mobile_vla.jobs.command import Context

PINNED = "MOBILE_VLA_OUT"
NO_SUBPROCESS = ("spawn", "fork", "notebook")  # strategies that start ranks without running the command again


def _read(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else None


def find_rank() -> int:
    """The rank of this process, 0 where it is alone. Of other ranks only "not 0" is sure before they meet."""
    rank = _read("RANK")
    if rank is not None:
        return rank
    if "LOCAL_RANK" in os.environ or "NODE_RANK" in os.environ:
        return (_read("LOCAL_RANK") or 0) + (_read("NODE_RANK") or 0)
    if (_read("SLURM_NTASKS") or 1) > 1 and "SLURM_STEP_ID" in os.environ:  # started by srun
        return _read("SLURM_PROCID") or 0
    return 0


def find_pinned_folder() -> Path | None:
    """The folder that the first rank made; None in a process that is no rank of a training."""
    folder = os.environ.get(PINNED)
    has_rank = any(name in os.environ for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
    return Path(folder) if folder and has_rank else None


def is_one_of_several() -> bool:
    """True where something else starts all the ranks, so none of them can tell the others its folder."""
    by_torchrun = "RANK" in os.environ and (_read("WORLD_SIZE") or 1) > 1
    by_hand = "NODE_RANK" in os.environ and (_read("NODE_RANK") or 0) > 0
    by_slurm = (_read("SLURM_NTASKS") or 1) > 1 and "SLURM_STEP_ID" in os.environ
    return (by_torchrun or by_hand or by_slurm) and find_pinned_folder() is None


@contextmanager
def pin_folder(folder: Path) -> Iterator[None]:
    """Name the folder to the processes that start while the block runs."""
    before = os.environ.get(PINNED)
    os.environ[PINNED] = str(folder)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(PINNED, None)
        else:
            os.environ[PINNED] = before


def refuse_sweep_over_ranks(context: Context, devices: int | str | Sequence[int], strategy: str = "auto") -> None:
    """A UserError where a sweep's job would start ranks by running the command line, and so the sweep, again.

    `devices` and `strategy` are the Trainer's; -1 and "auto" count the machine's GPUs.
    """
    if not context.sweep or is_one_of_several() or any(word in strategy for word in NO_SUBPROCESS):
        return
    if count_devices(devices) > 1:
        raise UserError(
            f"--multirun with trainer.devices={devices} and trainer.strategy={strategy}: every rank would start "
            "the sweep again; sweep with trainer.devices=1, or start one run a time with several devices"
        )


def count_devices(devices: int | str | Sequence[int]) -> int:
    """How many devices the Trainer's `devices` means."""
    if isinstance(devices, str) and devices.strip() not in ("auto", "-1"):
        parts = [part for part in devices.split(",") if part.strip()]
        if len(parts) == 1 and "," not in devices and parts[0].strip().isdigit():
            return int(parts[0])
        return len(parts)
    if isinstance(devices, int) and devices >= 0:
        return devices
    if isinstance(devices, int | str):  # -1 or "auto"
        import torch

        return torch.cuda.device_count()
    return len(devices)
