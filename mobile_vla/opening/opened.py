"""The engine: a policy that was found whole, with everything that its inputs and outputs mean, and its data.

Whoever needs a policy (training, `eval`, `probe`, `doctor`, `export`, `mobile_vla.load`) opens one here, so that all of
them build, read and deal alike. There are four kinds, one a file: a stored run (`stored_run`), a checkpoint without
its folder (`checkpoint_file`), a file from elsewhere (`importing`), and settings of which nothing was trained yet
(`configuration`). `place.open_policy` finds out which one a path is.

In: settings. Out: `policy()` on its device; episodes as the policy reads them. Nothing heavy is loaded before.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar, cast

import torch
from torch import Tensor

from mobile_vla.checkpoints.parts import find_part
from mobile_vla.core.actions import ActionSpace
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import Dataset, Progress, check_labels, fit_actions, open_dataset
from mobile_vla.data.splits import PARTS, Part, Split, make_split
from mobile_vla.models.backbones.loading import Source
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.policy import Policy
from mobile_vla.opening.machine import find_machine
from mobile_vla.probing.subject import Wanted
from mobile_vla.sources.schema import Episode
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.trainer import Machine

T = TypeVar("T", bound="OpenedPolicy")
WHOLE: Literal["all"] = "all"  # of the episodes, those that were trained on among them


@dataclass(frozen=True, kw_only=True)
class OpenedPolicy(ABC):
    """config   all settings, those that the user changed included
    source   the backbone without its weights: tokenizer, preprocessing, architecture
    machine  where it is computed, and in which precision
    actions  what the head's outputs mean; None where no checkpoint says it, and the episodes will
    notes    what is done otherwise than the settings say, in words
    """

    config: TrainConfig
    source: Source
    machine: Machine
    actions: ActionSpace | None
    notes: tuple[str, ...] = ()
    names_its_episodes: ClassVar[bool] = False  # its settings name those that it was trained on

    @abstractmethod
    def build(self) -> Policy:
        """With its weights, on the CPU, in eval mode; what is frozen in the machine's precision."""

    @property
    @abstractmethod
    def origin(self) -> Mapping[str, Any]:
        """Where it comes from: `folder` of the run, `checkpoint` (a file, or `start`), `epoch` (whole ones), `step`."""

    @property
    @abstractmethod
    def has_trained_head(self) -> bool:
        """Whether what it predicts means anything."""

    @property
    def caveats(self) -> tuple[str, ...]:
        """The notes, and what else qualifies whatever is found out with it."""
        return self.notes

    def trained_state(self, policy: Policy) -> Mapping[str, Tensor] | None:
        """The trained weights as its file holds them, by their names in the policy; None where nothing was trained."""
        return None

    def new_parts(self, policy: Policy) -> frozenset[str]:
        """Trained parts (of `checkpoints.parts`) that its file lacked: they are as a training begins with them."""
        return frozenset()

    @property
    def device(self) -> torch.device:
        """Where the policy is computed: one device, whatever the training had."""
        if self.machine.accelerator != "gpu":
            return torch.device(self.machine.accelerator)
        devices = self.config.trainer.devices
        wanted = devices[0] if isinstance(devices, tuple) else 0
        return torch.device("cuda", wanted if wanted < torch.cuda.device_count() else 0)

    def fit_to(self: T, actions: ActionSpace, episodes: Sequence[Episode]) -> T:
        """The same with what these episodes tell of a head that was never trained; a file says all itself."""
        return self

    def policy(self, device: torch.device | None = None) -> Policy:
        """Built anew on `device`, or on its own one, in eval mode."""
        return self.build().to(device or self.device)

    def placed(self: T, insist: bool) -> T:
        """The same on the device that its settings name; see `find_machine`."""
        machine, note = find_machine(self.config.trainer, insist)
        return replace(self, machine=machine, notes=self.notes if note is None else (*self.notes, note))

    @property
    def prompter(self) -> Prompter:
        return Prompter(self.source.tokenizer, self.config.model.prompt)

    def open_data(self, progress: Progress | None = None) -> Dataset:
        """The episodes at `data.root`; actions keep the policy's bounds, whatever these episodes' own are."""
        dataset = self._open_data(progress)
        check_labels(self.config.data, dataset)
        return dataset

    def _open_data(self, progress: Progress | None) -> Dataset:
        data, known = self.config.data, self.actions
        if known is not None:
            bounds = {
                name: (low, high) for name, low, high in zip(known.components, known.low, known.high, strict=True)
            }
            data = replace(data, bounds=bounds)
        return open_dataset(data, self.source.preprocessing, progress)

    def data_module(
        self, dataset: Dataset, split: Split, actions: ActionSpace | None = None, **loading: Any
    ) -> EpisodeDataModule:
        """Batches of these episodes as the policy reads them; a file that goes bad meanwhile is an error.

        actions  where the policy knows none: without them they are fitted to all episodes
        loading  of `EpisodeDataModule`; `config` in place of the policy's data settings
        """
        actions = actions or self.actions or fit_actions(self.config.data, list(dataset.episodes))
        loading = {"config": replace(self.config.data, faults="error"), "seed": self.config.seed, **loading}
        return EpisodeDataModule(dataset=dataset, split=split, actions=actions, tokenize=self.prompter, **loading)

    def default_split(self) -> Wanted | None:
        """Which episodes are meant where nothing is said."""
        return WHOLE

    def look_into(
        self, wanted: Wanted | None, progress: Progress | None = None
    ) -> tuple[EpisodeDataModule, Mapping[str, str | None]]:
        """Episodes to look into, all of them the validation part; and of each, by id, its part of the split.

        wanted  all of them, or the part that a training with these settings would be dealt
        """
        dataset = self.open_data(progress)
        parts: dict[str, str | None] = {episode.id: None for episode in dataset.episodes}
        if wanted not in (None, WHOLE):
            dealt = make_split(dataset.episodes, self.config.data.split)
            parts = dict.fromkeys(dealt.parts[cast(Part, wanted)], wanted)
        alone = Split({**dict.fromkeys(PARTS, ()), "validation": tuple(parts)})
        return self.data_module(dataset, alone), parts


def list_new(known: Mapping[str, Any], policy: Policy) -> frozenset[str]:
    """Of an imported checkpoint; what was trained since has a checkpoint of its own. known: its metadata."""
    trained = Counter(find_part(name, name) for name in policy.trained())
    new: Mapping[str, int] = known.get("imported", {}).get("new", {})
    return frozenset(part for part, number in new.items() if number == trained[part])
