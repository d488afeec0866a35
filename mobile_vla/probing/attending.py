"""Runs a policy over a few frames of an episode and hands out where its action token looks, ready to be drawn."""

import numpy as np
import torch

from mobile_vla.data.assemble import BatchAssembler, WindowRequest
from mobile_vla.display.attention_figure import AttendedFrame
from mobile_vla.models.policy import Policy
from mobile_vla.taps.attention import attend
from mobile_vla.taps.attention_config import AttentionConfig
from mobile_vla.taps.places import starts_of


@torch.no_grad()
def attend_frames(
    policy: Policy, assembler: BatchAssembler, episode: int, config: AttentionConfig
) -> list[AttendedFrame]:
    """`config.frames` frames from the first to the last, in order, fewer where there are fewer; none of a broken file.

    episode  index into the assembler's
    """
    chosen = assembler.episodes[episode]
    frames = sorted({round(share * (chosen.num_frames - 1)) for share in np.linspace(0, 1, config.frames)})
    starts = starts_of(frames, assembler.windows.window)
    batch = assembler([WindowRequest(episode=episode, start=start) for start in starts])
    if batch.broken:
        return []
    was_training = policy.training
    policy.eval()
    try:
        with attend(policy, config) as attention:
            on_device = batch.to(policy.backbone.action_token.device)
            policy(on_device)
            maps = attention.take(on_device)
    finally:
        policy.train(was_training)
    assert batch.frames is not None, "an assembler without frames has none to attend to"
    rows = {pair.frame: row for row, pair in enumerate(batch.pair_id)}
    return [
        AttendedFrame(
            pair=batch.pair_id[rows[frame]],
            progress=chosen.progress(frame),
            frame=batch.frames[batch.pair_frame[rows[frame]]].numpy(),
            map=maps.map[rows[frame]].cpu().numpy(),
            text_shares={name: float(share[rows[frame]]) for name, share in maps.text_shares.items()},
            image_shares={name: float(share[rows[frame]]) for name, share in maps.image_shares.items()},
        )
        for frame in frames
    ]
