"""Who is examined: a policy, with as much as is known of where it comes from.

In: a run, a checkpoint of ours or from elsewhere, or the settings of a model that was never trained; with episodes or
without. Out: a `Case`. Of the episodes only what is needed is read: all actions, and the frames of two windows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mobile_vla.checkpoints.key_maps import plain_name
from mobile_vla.checkpoints.parts import find_part
from mobile_vla.checkpoints.trained import action_space, read_checkpoint
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch
from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.data.catalog import scan
from mobile_vla.data.dataset import DataConfig, fit_actions
from mobile_vla.data.frames import FileFrames, PackedFrames
from mobile_vla.data.requests import WindowRequest
from mobile_vla.models.backbones.loading import Source, open_source
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.policy import Policy
from mobile_vla.opening.importing import Import
from mobile_vla.opening.stored_run import StoredRun, build_trained, find_machine
from mobile_vla.sources.layouts import frames_of, read_frames
from mobile_vla.sources.opening import BrokenEpisode, open_file, reading
from mobile_vla.sources.schema import Episode
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.start import build_start
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

    @property
    def trained(self) -> bool:
        return self.state is not None

    def has_trained(self, part: str) -> bool:
        """Whether this part (of `checkpoints.parts`) has seen training."""
        return self.trained and part not in self.new

    @classmethod
    def of_run(cls, stored: StoredRun, with_data: bool) -> "Case":
        """With the episodes that its configuration names, where they still are; an imported run names none."""
        notes = [] if stored.note is None else [stored.note]
        recorded = _read_if_there(with_data, stored.source, stored.config, stored.actions, notes)
        content, policy = read_checkpoint(stored.checkpoint), stored.policy()
        state = None if stored.at_start else content["state_dict"]
        return cls(
            policy=policy,
            config=stored.config,
            machine=stored.machine,
            source=stored.source,
            actions=stored.actions,
            recorded=recorded,
            state=state,
            about={"run": str(stored.folder), "checkpoint": "start" if stored.at_start else str(stored.checkpoint)},
            new=_list_new(content["mobile_vla"], policy),
            notes=tuple(notes),
        )

    @classmethod
    def of_checkpoint(cls, file: Path, config: TrainConfig, with_data: bool) -> "Case":
        """A checkpoint of ours without its folder; `config` is the one that it holds."""
        content = read_checkpoint(file)
        actions = action_space(content["mobile_vla"])
        machine, note = find_machine(config.trainer, insist=False)
        source = open_source(config.model)
        notes = [] if note is None else [note]
        recorded = _read_if_there(with_data, source, config, actions, notes)
        policy = build_trained(config, source, actions, machine, file)
        return cls(
            policy=policy.to(machine.device),
            config=config,
            machine=machine,
            source=source,
            actions=actions,
            recorded=recorded,
            state=content["state_dict"],
            about={"run": None, "checkpoint": str(file)},
            new=_list_new(content["mobile_vla"], policy),
            notes=tuple(notes),
        )

    @classmethod
    def of_foreign(cls, found: Import, with_data: bool) -> "Case":
        """A policy's file from elsewhere, in memory. Its head's bounds hold; those of a new head are the data's."""
        config, source, foreign = found.config, found.source, found.foreign
        machine, note = find_machine(config.trainer, insist=True)
        episodes = scan(config.data.roots(), config.data.instructions).episodes if with_data else ()
        policy, parts = found.assemble(machine.compute_dtype)
        new = frozenset(name for name, part in parts.items() if not part.loaded)
        actions = None if "action_head" in new else found.actions
        recorded = None
        if with_data:
            actions = actions or fit_actions(config.data, list(episodes))
            recorded = read_recorded(config.data, source, config, actions, episodes)
        plain = {name: plain_name(name) for name in policy.trained()}
        state = {name: foreign.read(own) for name, own in plain.items() if own in found.names}
        notes = [*foreign.notes, *([] if note is None else [note])]
        if new:
            notes.append(f"the file has no {', '.join(sorted(new))}: as a training begins with it")
        return cls(
            policy=policy.to(machine.device),
            config=config,
            machine=machine,
            source=source,
            actions=actions,
            recorded=recorded,
            state=state or None,
            about={"run": None, "checkpoint": str(foreign.path), "format": foreign.format.name},
            new=new,
            notes=tuple(notes),
        )

    @classmethod
    def untrained(cls, config: TrainConfig, with_data: bool) -> "Case":
        """The model as a training with these settings begins."""
        machine, note = find_machine(config.trainer, insist=True)
        source = open_source(config.model)
        episodes: tuple[Episode, ...] = ()
        if with_data:
            episodes = scan(config.data.roots(), config.data.instructions).episodes
        actions = fit_actions(config.data, list(episodes)) if with_data else None
        recorded = None if actions is None else read_recorded(config.data, source, config, actions, episodes)
        policy = build_start(config, source, len(config.data.components), machine.compute_dtype)
        return cls(
            policy=policy.to(machine.device),
            config=config,
            machine=machine,
            source=source,
            actions=actions,
            recorded=recorded,
            state=None,
            about={"run": None, "checkpoint": None},
            notes=() if note is None else (note,),
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
            found = _read_raw(episode, first, first + COMPARED)
        except BrokenEpisode:
            continue
        raw = raw or found
        chosen.append(episode)
    if not chosen:
        return None
    whole = data.pack and all(packed.has(episode) for episode in chosen)
    frames = packed if whole else FileFrames(source.preprocessing)
    prompter = Prompter(source.tokenizer, config.model.prompt)
    assembler = BatchAssembler(chosen, frames, prompter, actions, data, "error")
    requests = [WindowRequest(episode=i, start=data.starts(episode.num_frames)[-1]) for i, episode in enumerate(chosen)]
    batch = assembler(requests)
    if isinstance(frames, FileFrames):
        frames.close()
    return Recorded(episodes=tuple(episodes), batch=batch, raw=tuple(raw))


def _read_raw(episode: Episode, low: int, high: int) -> list[np.ndarray]:
    with open_file(episode.path) as file, reading():
        dataset = frames_of(file, episode.frames_at, episode.num_frames)
        return list(read_frames(dataset, low, min(high, episode.num_frames)))


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
    return read_recorded(data, source, config, actions, scan(data.roots(), data.instructions).episodes)


def _list_new(known: Mapping[str, Any], policy: Policy) -> frozenset[str]:
    """Of an imported checkpoint; what was trained since has a checkpoint of its own."""
    trained = Counter(find_part(name, name) for name in policy.trained())
    new: Mapping[str, int] = known.get("imported", {}).get("new", {})
    return frozenset(part for part, number in new.items() if number == trained[part])
