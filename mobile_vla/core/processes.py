"""Several processes that share one piece of work without training: who this one is, and where they wait for each other.

In: the environment that torchrun gives (RANK, WORLD_SIZE, LOCAL_RANK). Out: `Processes`; alone where there is none.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process's number among all, and among those of its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def find(cls) -> "Processes":
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return cls()
        names = {"rank": "RANK", "world": "WORLD_SIZE", "local": "LOCAL_RANK"}
        return cls(**{field: int(os.environ.get(name, 0)) for field, name in names.items()})

    def device(self, alone: torch.device) -> torch.device:
        """`alone`, or of several GPUs the one of this process."""
        if self.world == 1 or alone.type != "cuda":
            return alone
        return torch.device("cuda", self.local % torch.cuda.device_count())

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Around the work: begins when all are there."""
        if self.world == 1:
            yield
            return
        distributed.init_process_group("gloo")  # only to wait for each other: no tensor travels
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Until all have come here."""
        if self.world > 1:
            distributed.barrier()
