"""A policy on the windows of a plan: as recorded, and under interventions, in one pass over each batch.

An intervention asks for the same windows with another text or another episode's frames. It adds pairs to the batch,
so image tokens are shared and nothing but the decoder runs again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from mobile_vla.batch import OWN, Batch
from mobile_vla.data.assemble import BatchAssembler, WindowRequest
from mobile_vla.data.plan import BatchPlan
from mobile_vla.models.policy import Policy
from mobile_vla.training.metrics import EpisodeSums

Intervention = Callable[[WindowRequest], WindowRequest | None]  # None: this window cannot be changed that way


@torch.no_grad()
def evaluate(
    policy: Policy,
    assembler: BatchAssembler,
    plan: BatchPlan,
    sums: EpisodeSums,
    interventions: Mapping[str, Intervention] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Tables of sums by episode (see `EpisodeSums`), under `own` and under each intervention's name."""
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
        batch = assembler([request for requests in asked.values() for request in requests]).to(device)
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
    return {name: table.cpu().double().numpy() for name, table in tables.items()}


def windows_of(batch: Batch, rows: slice) -> Batch:
    """The same pairs, fewer windows."""
    return replace(batch, windows=batch.windows[rows], chunks=batch.chunks[rows], chunk_mask=batch.chunk_mask[rows])
