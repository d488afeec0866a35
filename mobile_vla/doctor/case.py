"""Who is examined: a policy, with as much as is known of where it comes from.

In: an opened policy (a run, a checkpoint, or settings of which nothing was trained yet), with episodes or without.
Out: a `Case`. Of the episodes only what is needed is read: all actions, and the frames of two windows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch
from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.data.dataset import DataConfig, find_episodes, fit_actions
from mobile_vla.data.frames import PackedFrames, RecordedFrames
from mobile_vla.data.requests import WindowRequest
from mobile_vla.models.backbones.loading import Source
from mobile_vla.models.backbones.model_config import RANDOM
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.policy import Policy
from mobile_vla.opening.configuration import Configuration
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.sources.reader import read_frames
from mobile_vla.sources.schema import BrokenEpisode, Episode
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.trainer import Machine

WINDOWS = 2  # of different episodes
COMPARED = 4  # frames that are read again from their files


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What was read of episodes. batch: windows at their ends; raw: its first frames as they are in the files."""

    episodes: tuple[Episode, ...]
    batch: Batch
    raw: tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """actions   None where no data and no checkpoint say what an action is
    state        the trained weights as the checkpoint holds them; None for a model that was never trained
    first_time   whether these are pretrained weights that nothing was trained on yet
    new          trained parts that a file from elsewhere lacked: they are as a training begins
    about        where it comes from, in plain values;  notes  what could not be looked at
    """

    policy: Policy
    config: TrainConfig
    machine: Machine
    source: Source
    actions: ActionSpace | None
    recorded: Recorded | None
    state: Mapping[str, Tensor] | None
    about: Mapping[str, Any]
    new: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    first_time: bool = False

    @property
    def trained(self) -> bool:
        return self.state is not None

    def has_trained(self, part: str) -> bool:
        """Whether this part (of `checkpoints.parts`) has seen training."""
        return self.trained and part not in self.new

    @classmethod
    def of(cls, opened: OpenedPolicy, with_data: bool, settings: Mapping[str, Any] | None = None) -> "Case":
        """settings: of a file from elsewhere, where each came from. Episodes that a run was trained on may have gone;
        others that the settings name must be there."""
        config, source, actions = opened.config, opened.source, opened.actions
        notes, recorded = list(opened.notes), None
        if opened.names_its_episodes and actions is not None:
            recorded = _read_if_there(with_data, source, config, actions, notes)
        elif with_data:
            episodes = find_episodes(config.data).episodes
            actions = actions or fit_actions(config.data, list(episodes))
            opened = opened.fit_to(actions, episodes)
            config = opened.config
            recorded = read_recorded(config.data, source, config, actions, episodes)
        policy = opened.policy()
        origin, new = opened.origin, opened.new_parts(policy)
        if new and "format" in origin:
            notes.append(f"the file has no {', '.join(sorted(new))}: as a training begins with it")
        about: dict[str, Any] = {"run": origin["folder"], "checkpoint": origin["checkpoint"]}
        about |= {"format": origin["format"]} if "format" in origin else {}
        return cls(
            policy=policy,
            config=config,
            machine=opened.machine,
            source=source,
            actions=actions,
            recorded=recorded,
            state=opened.trained_state(policy),
            about=about if settings is None else {**about, "settings": settings},
            new=new,
            notes=tuple(notes),
            first_time=isinstance(opened, Configuration) and config.model.weights != RANDOM,
        )


def read_recorded(
    data: DataConfig, source: Source, config: TrainConfig, actions: ActionSpace, episodes: Sequence[Episode]
) -> Recorded | None:
    """The last window of the first two episodes with different instructions; None where no frame can be read."""
    packed = PackedFrames(source.preprocessing, Path(data.pack_dir).expanduser())
    chosen: list[Episode] = []
    raw: list[np.ndarray] = []
    by_text = {episode.instruction: episode for episode in reversed(episodes)}  # the first of each text
    for episode in [*by_text.values(), *episodes]:
        if len(chosen) == WINDOWS or any(episode is one for one in chosen) or not data.starts(episode.num_frames):
            continue
        try:
            first = data.starts(episode.num_frames)[-1]
            found = read_frames(episode.reader, first, min(first + COMPARED, episode.num_frames))
        except BrokenEpisode:
            continue
        raw = raw or found
        chosen.append(episode)
    if not chosen:
        return None
    whole = data.pack and all(packed.has(episode) for episode in chosen)
    frames = packed if whole else RecordedFrames(source.preprocessing)
    prompter = Prompter(source.tokenizer, config.model.prompt)
    assembler = BatchAssembler(chosen, frames, prompter, actions, data, "error")
    requests = [WindowRequest(episode=i, start=data.starts(episode.num_frames)[-1]) for i, episode in enumerate(chosen)]
    batch = assembler(requests)
    if isinstance(frames, RecordedFrames):
        frames.close()
    return Recorded(episodes=tuple(episodes), batch=batch, raw=tuple(raw))


def _read_if_there(
    with_data: bool, source: Source, config: TrainConfig, actions: ActionSpace, notes: list[str]
) -> Recorded | None:
    data = config.data
    if not with_data:
        notes.append("without data.root=<episodes> frames and prompt are made up, actions are not looked at")
        return None
    gone = [str(root.path) for root in data.roots() if not root.path.is_dir()]
    if gone:
        notes.append(
            f"the episodes are not at {gone[0]} any more: frames and prompt are made up, actions and files are not "
            "looked at (data.root=<folder> says where they are)"
        )
        return None
    return read_recorded(data, source, config, actions, find_episodes(data).episodes)
