"""A run's folder, opened: which model it is, which weights, which episodes it may be judged on.

In: the folder, its configuration (with what the user changed), which checkpoint. Out: a `StoredRun`: an opened policy
that also hands out the episodes that it was not trained on, by the split that was stored with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mobile_vla.checkpoints.choosing import START, choose_checkpoint
from mobile_vla.checkpoints.trained import action_space, check_start, read_checkpoint
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.errors import UserError
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import DataConfig, Dataset, Progress, find_episodes, fit_actions
from mobile_vla.data.held_out import find_parts, locate, refuse_trained
from mobile_vla.data.labelling.table import join_labels
from mobile_vla.data.splits import Part, Split, StoredSplit, load_split
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.policy import Policy
from mobile_vla.opening.checkpoint_file import build_trained
from mobile_vla.opening.machine import find_machine
from mobile_vla.opening.opened import WHOLE, OpenedPolicy, list_new
from mobile_vla.opening.same_model import refuse_other_model
from mobile_vla.probing.subject import Wanted
from mobile_vla.sources.schema import Episode
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.start import build_start

HeldOutPart = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Episodes that a run was not trained on, all of them the validation part of `data`.

    part         of the run's own split; None for other data
    training     the run's training episodes, as far as they can be found: without frames, for what is fitted on them
    no_training  why there are none
    """

    part: HeldOutPart | None
    data: EpisodeDataModule
    training: tuple[Episode, ...]
    no_training: str | None = None

    @property
    def episodes(self) -> list[Episode]:
        return self.data.episodes("validation")


@dataclass(frozen=True, kw_only=True)
class StoredRun(OpenedPolicy):
    """trained_on  the data as the run was trained on it, before the user changed anything
    checkpoint  the file whose weights are meant
    at_start    meant are the weights that training began with, and the file only says what the run is
    untrained_head  the weights were imported from a file without a head, and its answers mean nothing
    """

    folder: Path
    trained_on: DataConfig
    checkpoint: Path
    at_start: bool = False
    untrained_head: bool = False
    split: StoredSplit
    actions: ActionSpace
    names_its_episodes = True

    @classmethod
    def open(
        cls,
        folder: Path,
        config: TrainConfig,
        checkpoint: str = "best",
        *,
        trained_on: DataConfig | None = None,
        insist_on_machine: bool = False,
    ) -> "StoredRun":
        """`UserError` for whatever is missing, damaged or of another run.

        checkpoint  `best`, `last`, `start` or a file;  trained_on  the data settings before the user changed them
        insist_on_machine  the accelerator was asked for now, and is not to be replaced by what there is
        """
        file = choose_checkpoint(folder, checkpoint)
        known = read_checkpoint(file)["mobile_vla"]
        refuse_other_model(known["config"], config)
        machine, note = find_machine(config.trainer, insist_on_machine)
        return cls(
            folder=folder,
            config=config,
            trained_on=trained_on or config.data,
            checkpoint=file,
            at_start=checkpoint == START,
            untrained_head="action_head" in known.get("imported", {}).get("new", {}),
            split=load_split(folder / "split.json"),
            actions=action_space(known),
            source=open_source(config.model),
            machine=machine,
            notes=() if note is None else (note,),
        )

    @property
    def unknown_training(self) -> str | None:
        """Where its weights were trained elsewhere, at least at first: what that means, in words."""
        if self.config.start is None:
            return None
        return (
            f"The weights began as {self.config.start}: it is not known here what those were trained on, so episodes "
            "that count as held out may have been trained on."
        )

    @property
    def reads_other_files(self) -> bool:
        """Whether the user named other files than those that the run was trained on."""
        here, there = (
            (data.source, [(root.path, root.pattern) for root in data.roots()])
            for data in (self.config.data, self.trained_on)
        )
        return here != there

    def build(self) -> Policy:
        if not self.at_start:
            return build_trained(self.config, self.source, self.actions, self.machine, self.checkpoint)
        policy = build_start(self.config, self.source, len(self.actions.components), self.machine.compute_dtype)
        check_start(policy, read_checkpoint(self.checkpoint))
        return policy

    @property
    def origin(self) -> Mapping[str, Any]:
        if self.at_start:
            return {"folder": str(self.folder), "checkpoint": START, "epoch": 0, "step": 0}
        known = read_checkpoint(self.checkpoint)
        told = {"checkpoint": str(self.checkpoint), "epoch": known["epoch"], "step": known["global_step"]}
        return {"folder": str(self.folder), **told}

    @property
    def has_trained_head(self) -> bool:
        return not (self.at_start or self.untrained_head)

    @property
    def caveats(self) -> tuple[str, ...]:
        return self.notes if self.unknown_training is None else (*self.notes, self.unknown_training)

    def trained_state(self, policy: Policy) -> Mapping[str, Tensor] | None:
        return None if self.at_start else read_checkpoint(self.checkpoint)["state_dict"]

    def new_parts(self, policy: Policy) -> frozenset[str]:
        return list_new(read_checkpoint(self.checkpoint)["mobile_vla"], policy)

    def default_split(self) -> Wanted | None:
        return None if self.reads_other_files else "validation"

    def open_data(self, progress: Progress | None = None) -> Dataset:
        """As `OpenedPolicy.open_data`; labels of a split that is stored need not be among those of other episodes."""
        for root in self.config.data.roots():
            if not self.reads_other_files and not root.path.is_dir():
                raise UserError(
                    f"the run's episodes are not at {root.path} any more; where they were moved to, give "
                    "data.root=<folder> split=validation (or test)"
                )
        return self._open_data(progress)

    def held_out(self, part: HeldOutPart | None, progress: Progress | None = None) -> HeldOut:
        """A part of the run's own split, wherever its files are now; with None, all episodes at `data.root`.

        `UserError` with the list where one of them was trained on, or where the part is empty or gone.
        """
        self._refuse_unknown(part)
        if part is not None and not self.split.parts[part]:
            counts = ", ".join(f"{len(ids)} {name}" for name, ids in self.split.parts.items())
            raise UserError(
                f"{self.folder} held out no {part} episodes (its split: {counts}); use another part, or "
                "train with a data.split that has one",
                argument="split",
                value=part,
            )
        dataset = self.open_data(progress)
        chosen = list(dataset.episodes) if part is None else self._own(dataset, part)
        refuse_trained(self.split, chosen)
        training, no_training = self._training(dataset)
        alone = Split({"train": (), "validation": tuple(episode.id for episode in chosen), "test": ()})
        return HeldOut(
            part=part,
            data=self.data_module(replace(dataset, episodes=tuple(chosen)), alone),
            training=training,
            no_training=no_training,
        )

    def look_into(
        self, wanted: Wanted | None, progress: Progress | None = None
    ) -> tuple[EpisodeDataModule, Mapping[str, str | None]]:
        """Episodes to look into, all of them the validation part; and of each, by id, the part that the run had it in.

        wanted  a part of the run's own split, wherever its files are now; `all` episodes at `data.root`; with None
                these too, and `UserError` with the list where one of them was trained on
        """
        self._refuse_unknown(None if wanted == WHOLE else wanted)
        dataset = self.open_data(progress)
        if wanted is None or wanted == WHOLE:
            chosen = list(dataset.episodes)
            parts: dict[str, str | None] = dict(find_parts(self.split, chosen).items())
        else:
            chosen = self._own(dataset, wanted)
            parts = dict.fromkeys((episode.id for episode in chosen), str(wanted))
        if wanted not in ("train", WHOLE):
            refuse_trained(self.split, chosen, "take them for what they are with split=all")
        alone = Split({"train": (), "validation": tuple(episode.id for episode in chosen), "test": ()})
        return self.data_module(dataset, alone), parts

    def _refuse_unknown(self, part: str | None) -> None:
        if part is not None and self.split.unknown is not None:
            raise UserError(
                f"{self.folder} was {self.split.unknown} and has no split of its own; leave split= out, "
                "and all episodes at data.root are taken",
                argument="split",
                value=part,
            )

    def _own(self, dataset: Dataset, part: Part) -> list[Episode]:
        """The run's episodes of a part, each with the instruction that the run has it under."""
        found = locate(self.split, dataset.episodes, part)
        if self.config.data.instructions != self.trained_on.instructions:
            return found  # the user wants other texts
        for id, episode in zip(self.split.parts[part], found, strict=True):
            then = self.split.recorded[id].instruction
            if episode.instruction != then:
                raise UserError(
                    f"{episode.place} is the run's {part} episode {id}, but its instruction is now "
                    f"'{episode.instruction}', and was '{then}' (a table gives it by the label in the file's name); "
                    "give the file its name back"
                )
        return found

    def _training(self, dataset: Dataset) -> tuple[tuple[Episode, ...], str | None]:
        """The training episodes among those that were opened, else where the run had them; or why there are none."""
        if self.split.unknown is not None:
            return (), f"the run was {self.split.unknown}, and it is not known what it was trained on"
        try:
            found = locate(self.split, dataset.episodes, "train")
        except UserError as error:
            if not self.reads_other_files:
                return (), str(error)
            try:
                found = self._scanned_training()
            except UserError as error:
                return (), str(error)
        if fit_actions(self.trained_on, found) != self.actions:
            return (), "the actions of the run's training episodes changed: their bounds differ from the checkpoint's"
        return tuple(found), None

    def _scanned_training(self) -> list[Episode]:
        """The training episodes where the run had them, without reading a frame: known by id, length and text."""
        own = self.trained_on
        episodes = list(find_episodes(own).episodes)
        if own.labels is not None:
            episodes, _ = join_labels(episodes, Path(own.labels).expanduser().absolute(), own.instructions)
        found = self.split.of(episodes, "train")
        for episode in found:
            then = self.split.recorded[episode.id]
            if (then.num_frames, then.instruction) != (episode.num_frames, episode.instruction):
                raise UserError(f"{episode.place} changed since the run was trained on it")
        return found
