"""A policy and the episodes that are looked into with it, for a probe.

In: an opened policy and which of its episodes. Out: a `Subject`.
"""

from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import Progress
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.probing.subject import Subject, Wanted

ALLOWED = ("validation", "test", "train", "all")


def check_split(split: str | None) -> None:
    """`UserError` for a word that names no episodes, before anything is opened."""
    if split not in (None, *ALLOWED):
        raise UserError(f"expected one of {', '.join(ALLOWED)}", argument="split", value=split)


def open_subject(opened: OpenedPolicy, split: Wanted | None = None, progress: Progress | None = None) -> Subject:
    """split: without it the validation part of a run; of other data, and of a policy that is no run's, all episodes.

    `UserError` where a run was trained on one of them and was not asked for it.
    """
    split = split or opened.default_split()
    data, parts = opened.look_into(split, progress)
    opened = opened.fit_to(data.actions, data.dataset.episodes)
    return Subject(
        model=opened.config.model,
        accelerator=opened.machine.accelerator,
        precision=opened.machine.precision,
        data=data,
        split=split,
        parts=parts,
        device=opened.device,
        build=opened.policy,
        trained=opened.has_trained_head,
        run=opened.origin,
        note=" ".join(opened.caveats) or None,
    )
