"""What tap points of a policy put out, found before anything is read: one pass over black frames.

In: a policy and taps. Out: shape and dtype of a row of each. A tap that cannot be captured is refused here,
before a long run begins: its module does not run, runs several times, or has no row for each pair.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from mobile_vla.contexts.manifest import TapSpec
from mobile_vla.contexts.precision import Precision
from mobile_vla.core.batch import Batch, PairId
from mobile_vla.taps.capture import capture
from mobile_vla.taps.points import Tap

NUM_FRAMES, NUM_PAIRS = 2, 3  # they differ, so that a row for each frame is told from a row for each pair


@torch.no_grad()
def measure_taps(policy: nn.Module, taps: Sequence[Tap]) -> dict[str, TapSpec]:
    """Tap name -> what one row of it looks like; the policy is as it was before."""
    was_training = policy.training
    batch = _black_batch(policy)
    try:
        with capture(policy.eval(), taps) as captured:
            policy(batch)
            taken = captured.take(batch)
    finally:
        policy.train(was_training)
    dtypes: dict[str, Precision] = {
        name: cast(Precision, str(rows.dtype).removeprefix("torch.")) for name, rows in taken.items()
    }
    return {name: TapSpec(shape=tuple(rows.shape[1:]), dtype=dtypes[name]) for name, rows in taken.items()}


def _black_batch(policy: nn.Module) -> Batch:
    """One window of three pairs of two black frames with a text of one token."""
    head: Any = policy.head
    backbone: Any = policy.backbone
    side: Any = policy.preprocessing.size
    chunks = torch.zeros(1, NUM_PAIRS, head.chunk, head.num_components)
    batch = Batch(
        frames=torch.zeros(NUM_FRAMES, side, side, 3, dtype=torch.uint8),
        text_ids=torch.zeros(1, 1, dtype=torch.int64),
        text_mask=torch.ones(1, 1, dtype=torch.bool),
        pair_frame=torch.arange(NUM_PAIRS) % NUM_FRAMES,
        pair_text=torch.zeros(NUM_PAIRS, dtype=torch.int64),
        windows=torch.arange(NUM_PAIRS)[None],
        chunks=chunks,
        chunk_mask=torch.zeros(chunks.shape[:-1], dtype=torch.bool),
        pair_id=tuple(PairId("", frame, "") for frame in range(NUM_PAIRS)),
    )
    return batch.to(backbone.action_token.device)
