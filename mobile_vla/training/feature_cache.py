"""Frozen work is done once: what no training step changes is computed before the first, kept, and read from then on.

In: a policy and a `CachePlan`. Out: `FeatureFiles`, that batches are made of instead of frames. The folder's name holds
all that its content depends on: the very weights in front of the depth, the architecture, how frames are preprocessed,
the layout, the precision, the kind of device, the versions of what computes. So nothing is ever read that another model
has written, and a later training of the same base finds all of it.
"""

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

import torch
import transformers
from torch import Tensor

from mobile_vla.core.durable import tell, write_text
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import Progress
from mobile_vla.data.features import FeatureFiles
from mobile_vla.data.frames import FrameSource
from mobile_vla.data.packed.marks import PART
from mobile_vla.models.backbones.fingerprint import fingerprint_trained
from mobile_vla.models.frozen import Depth, frozen_weights
from mobile_vla.models.policy import Policy
from mobile_vla.sources.schema import BrokenEpisode, Episode
from mobile_vla.training.cache_plan import CONTENT, GB, CacheConfig, CachePlan, list_kept, name_content, say_bytes

AT_ONCE = 16  # frames
LEFT_S = 3600  # a file that nobody has gone on writing for so long was left by a killed process
SCHEMA = 3  # since 3 each file carries the mark of its place


def fill(
    plan: CachePlan,
    config: CacheConfig,
    policy: Policy,
    frames: FrameSource,
    progress: Progress | None = None,
    rank: int = 0,
    world: int = 1,
) -> FeatureFiles | None:
    """Compute what is not there yet, on the policy's device; None where nothing is kept.

    Ranks begin at different episodes; what another one has made meanwhile is not made again.
    """
    if plan.depth == "frames":
        return None
    assert not policy.training, "what is kept is what evaluation computes"
    content = _describe_content(plan.depth, policy)
    files = FeatureFiles(plan.folder / name_content(content), plan.depth)
    first = rank * len(plan.wanted) // world
    order = plan.wanted[first:] + plan.wanted[:first]
    try:
        if rank == 0:
            if not (files.folder / CONTENT).exists():
                files.folder.mkdir(parents=True, exist_ok=True)
                write_text(files.folder / CONTENT, json.dumps(content, indent=1))
            _make_room(plan, files, config.max_gb * GB)
        for done, one in enumerate(order, start=1):
            absent = [text for text in one.texts if files.load(one.episode, text) is None]
            if absent:
                _compute(files, one.episode, absent, policy, frames)
            if progress is not None:
                progress(f"computing {plan.depth} once", done, len(order))
    except OSError as error:
        raise UserError(
            f"cannot write below {plan.folder} ({tell(error)}); set cache.dir to a folder with "
            f"{say_bytes(plan.num_bytes)} of room, or cache.at=none",
            argument="cache.dir",
        ) from error
    return files


@torch.no_grad()
def _compute(
    files: FeatureFiles,
    episode: Episode,
    texts: Sequence[tuple[int, ...]],
    policy: Policy,
    frames: FrameSource,
) -> None:
    """An episode that cannot be read any more has no file; what needs it comes from its frames, and says why."""
    backbone, device = policy.backbone, policy.backbone.action_token.device
    try:
        read = [
            frames.read(episode, low, min(low + AT_ONCE, episode.num_frames))
            for low in range(0, episode.num_frames, AT_ONCE)
        ]
    except BrokenEpisode:
        return
    tokens = [backbone.image_tokens(policy.preprocessing(block.to(device))) for block in read]
    if files.kind == "image_tokens":
        files.write(episode, (), torch.cat(tokens))
        return
    for text in texts:
        ids = torch.tensor([text], device=device)
        files.write(episode, text, torch.cat([_with_text(files, policy, block, ids) for block in tokens]))


def _with_text(files: FeatureFiles, policy: Policy, tokens: Tensor, ids: Tensor) -> Tensor:
    backbone, mask = policy.backbone, torch.ones_like(ids, dtype=torch.bool)
    if files.kind == "states":
        return backbone.frozen_states(tokens, ids, mask)
    frames = torch.arange(tokens.shape[0], device=tokens.device)
    return backbone.decode(tokens, ids, mask, frames, torch.zeros_like(frames))


def _describe_content(depth: Depth, policy: Policy) -> dict[str, object]:
    """All that the rows depend on, besides the episodes and the texts."""
    backbone = policy.backbone
    return {
        "schema": SCHEMA,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "of": depth,
        "weights": fingerprint_trained(frozen_weights(policy, depth)),
        "architecture": backbone.describe_architecture(),
        "text_layers": 0 if depth == "image_tokens" else backbone.num_frozen_layers,
        "preprocessing": asdict(policy.preprocessing),
        "layout": None if depth == "image_tokens" else backbone.layout.name,
        "special_ids": None if depth == "image_tokens" else backbone.special_ids,
        "dtype": str(backbone.compute_dtype),
        "device": backbone.action_token.device.type,
    }


def _make_room(plan: CachePlan, files: FeatureFiles, budget: float) -> None:
    """Remove what other trainings have left below the plan's folder, the longest unused first, until all fits into
    `budget` bytes and onto the disk. Files of another user, in a shared folder, stay, and so does all that trainings
    have not written (`list_kept`).

    A training that still reads one goes on with frames.
    """
    wanted = {files.path(one.episode, text): (one.episode, text) for one in plan.wanted for text in one.texts}
    there = [path for path, of in wanted.items() if files.load(*of) is not None]
    missing = plan.num_bytes * (1 - len(there) / len(wanted))
    for path in there:
        with suppress(OSError):
            os.utime(path, follow_symlinks=False)  # used last
    for part in list_kept(plan.folder, PART):
        with suppress(OSError):
            if part.stat().st_mtime < time.time() - LEFT_S:
                part.unlink()
    others = {}
    for path in list_kept(plan.folder):
        with suppress(FileNotFoundError):
            if path not in wanted:
                others[path] = path.stat()
    taken = sum(one.st_size for one in others.values())
    for path in sorted(others, key=lambda path: others[path].st_mtime):
        if plan.num_bytes + taken <= budget and shutil.disk_usage(plan.folder).free >= missing:
            break
        with suppress(OSError):
            path.unlink()
        taken -= others[path].st_size
