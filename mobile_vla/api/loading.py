"""`load`: a policy from wherever its weights lie.

In: a run's folder (also one that `mobile-vla import` made), a folder that `mobile-vla export` wrote, or a checkpoint.
Out: a `LoadedPolicy`. Each is opened as the commands open it: weights, bounds and preprocessing are the file's own.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from mobile_vla.api.policy import LoadedPolicy
from mobile_vla.opening.importing import read_actions
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.opening.place import open_policy


def load(
    path: Path | str,
    *,
    checkpoint: Path | str = "best",
    device: torch.device | str | None = None,
    settings: Sequence[str] = (),
    trust: bool = False,
) -> LoadedPolicy:
    """A policy ready to drive. The random numbers of the program that calls it stay as they were.

    path        a run's folder, an exported folder, or a checkpoint
    checkpoint  of a run: `best` (by validation loss), `last`, `start` (before training), or a file
    device      for example `cuda:1`; without it what the run was trained on, where this machine has it, else the CPU
    settings    words as on the command line, for what a checkpoint from elsewhere does not say: `model.layout=legacy`
    trust       let such a checkpoint run what it asks for: only if you know who made it

    `UserError` where there is no policy, or it is damaged or incomplete.
    """
    with isolate_rng():  # fresh weights are drawn from a seed before the trained ones replace them
        opened = open_policy(path, checkpoint=checkpoint, device=device, settings=settings, trust=trust)
        return make_loaded(opened, None if device is None else torch.device(device))


def make_loaded(opened: OpenedPolicy, device: torch.device | None = None) -> LoadedPolicy:
    """The policy with its weights on `device`, or on its own one."""
    return LoadedPolicy(
        source=str(opened.origin["checkpoint"]),
        module=opened.policy(device),
        actions=opened.actions or read_actions(opened.config.data),
        prompter=opened.prompter,
        window=opened.config.data.window,
        trained=opened.has_trained_head,
        notes=opened.notes,
        opened=opened,
    )
