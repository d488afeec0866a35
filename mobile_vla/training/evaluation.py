"""A policy on the windows of a plan: as recorded, and under interventions, in one pass over each batch.

An intervention asks for the same windows with another text or another episode's frames. It adds pairs to the batch,
so image tokens are shared and nothing but the decoder runs again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from mobile_vla.batch import OWN, Batch
from mobile_vla.data.assemble import BatchAssembler, WindowRequest
from mobile_vla.data.plan import BatchPlan
from mobile_vla.models.policy import Policy
from mobile_vla.training.metrics import EpisodeSums

Intervention = Callable[[WindowRequest], WindowRequest | None]  # None: this window cannot be changed that way


@dataclass
class Pace:
    """How fast an evaluation ran; a window counts once for each variant of it that was predicted."""

    windows: int = 0
    waiting_s: float = 0.0  # for batches to be read and assembled
    seconds: float = 0.0

    @property
    def windows_per_s(self) -> float:
        return self.windows / max(self.seconds, 1e-9)

    @property
    def data_wait_share(self) -> float:
        return self.waiting_s / max(self.seconds, 1e-9)


@torch.no_grad()
def evaluate(
    policy: Policy,
    assembler: BatchAssembler,
    plan: BatchPlan,
    sums: EpisodeSums,
    interventions: Mapping[str, Intervention] | None = None,
    progress: Callable[[int, int], None] | None = None,
    pace: Pace | None = None,
) -> dict[str, np.ndarray]:
    """Tables of sums by episode (see `EpisodeSums`), under `own` and under each intervention's name."""
    pace = pace or Pace()
    begun = time.perf_counter()
    device = policy.backbone.action_token.device
    sums.to(device)  # a trainer that has finished leaves it on the CPU
    names = [OWN, *(interventions or {})]
    tables = {name: torch.zeros_like(sums.table) for name in names}
    was_training = policy.training
    policy.eval()
    total = plan.num_batches()
    for done, planned in enumerate(plan.batches(0), start=1):
        own = assembler.requests(planned)
        asked: dict[str, list[WindowRequest]] = {OWN: own}
        for name, change in (interventions or {}).items():
            changed = [change(request) for request in own]
            asked[name] = [replace(request, variant=name) for request in changed if request is not None]
        asking = time.perf_counter()
        batch = assembler([request for requests in asked.values() for request in requests])
        pace.waiting_s += time.perf_counter() - asking
        pace.windows += batch.num_windows
        batch = batch.to(device)
        predicted = policy(batch)
        first = 0
        for name, requests in asked.items():
            rows = slice(first, first + len(requests))
            first = rows.stop
            if requests:
                sums.reset()
                sums.update(predicted[rows], windows_of(batch, rows))
                tables[name] += sums.table
        if progress:
            progress(done, total)
    sums.reset()
    policy.train(was_training)
    found = {name: table.cpu().double().numpy() for name, table in tables.items()}
    pace.seconds += time.perf_counter() - begun
    return found


def windows_of(batch: Batch, rows: slice) -> Batch:
    """The same pairs, fewer windows."""
    return replace(batch, windows=batch.windows[rows], chunks=batch.chunks[rows], chunk_mask=batch.chunk_mask[rows])
