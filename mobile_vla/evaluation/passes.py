"""A policy on windows: as recorded, and under interventions, which are run beside them batch by batch.

An intervention asks for the same windows with another text or another episode's frames. What the windows as recorded
have made of a frame is shared (`frame_memory`): another text costs its own tokens alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from mobile_vla.core.batch import OWN
from mobile_vla.core.pace import Pace
from mobile_vla.data.assemble import BatchAssembler, WindowRequest
from mobile_vla.data.requests import Intervention
from mobile_vla.evaluation.metrics import EpisodeSums
from mobile_vla.models.policy import Policy
from mobile_vla.probing.frame_memory import remember_frames


@torch.no_grad()
def evaluate(
    policy: Policy,
    assembler: BatchAssembler,
    batches: Sequence[Sequence[WindowRequest]],
    sums: EpisodeSums,
    interventions: Mapping[str, Intervention] | None = None,
    progress: Callable[[int, int], None] | None = None,
    pace: Pace | None = None,
) -> dict[str, np.ndarray]:
    """Tables of sums by episode (see `EpisodeSums`), under `own` and under each intervention's name.

    batches  windows as recorded, those that are run together
    """
    pace = pace or Pace()
    begun = time.perf_counter()
    device = policy.backbone.action_token.device
    sums.to(device)  # a trainer that has finished leaves it on the CPU
    tables = {name: torch.zeros_like(sums.table) for name in (OWN, *(interventions or {}))}
    was_training = policy.training
    policy.eval()
    with remember_frames(policy) as memory:
        for done, own in enumerate(batches, start=1):
            passes = _changed(own, interventions or {})
            memory.expect(len(passes))
            for name, requests in passes.items():
                asking = time.perf_counter()
                batch = assembler(requests)
                pace.waiting_s += time.perf_counter() - asking
                pace.windows += batch.num_windows
                batch, prefix = memory.feed(batch)
                batch = batch.to(device)
                sums.reset()
                sums.update(policy(batch, prefix=prefix), batch)
                memory.keep(batch)
                tables[name] += sums.table
            if progress:
                progress(done, len(batches))
    sums.reset()
    policy.train(was_training)
    found = {name: table.cpu().double().numpy() for name, table in tables.items()}
    pace.seconds += time.perf_counter() - begun
    return found


def _changed(
    own: Sequence[WindowRequest], interventions: Mapping[str, Intervention]
) -> dict[str, Sequence[WindowRequest]]:
    """The windows as recorded, and those of each intervention that can be changed so."""
    passes: dict[str, Sequence[WindowRequest]] = {OWN: own}
    for name, change in interventions.items():
        changed = [replace(request, variant=name) for window in own if (request := change(window)) is not None]
        if changed:
            passes[name] = changed
    return passes
