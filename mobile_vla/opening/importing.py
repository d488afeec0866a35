"""A foreign policy becomes ours: in memory, or as a run with its trained weights and, beside it, a backbone of its own.

In: a `Foreign` and the settings that its weights were trained with. Out: a `Policy`; or a run's folder without
episodes, metrics and optimizer: `checkpoints/imported.ckpt`, `split.json` that says that nothing is known,
`config.yaml`, and `base/` where the file's backbone is not the one that `model.weights` names. Shapes are checked
before anything is built or written.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobile_vla.checkpoints.backbone_folder import plain_weights, write_backbone
from mobile_vla.checkpoints.choosing import FOLDER, IMPORTED
from mobile_vla.checkpoints.files import save
from mobile_vla.checkpoints.fitting import BACKBONE_PARTS
from mobile_vla.checkpoints.foreign import CLIPPED, Foreign
from mobile_vla.checkpoints.foreign_settings import Load
from mobile_vla.checkpoints.key_maps import plain_name
from mobile_vla.checkpoints.parts import MODEL, PARTS
from mobile_vla.checkpoints.portable import BASE
from mobile_vla.checkpoints.trained import metadata, trained_state
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig
from mobile_vla.data.splits import save_unknown_split
from mobile_vla.models.backbones.loading import Source, open_source
from mobile_vla.models.policy import Policy
from mobile_vla.opening.foreign_checks import HEAD_PARTS, check_shapes, check_values
from mobile_vla.opening.machine import PARAMETERS_ONLY
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.runs.folder import record_machine
from mobile_vla.training.config import TrainConfig
from mobile_vla.training.start import build_start


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the policy: names that were taken from the file, and names that are new."""

    loaded: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Import(OpenedPolicy):
    """An import that was found valid.

    names  our plain names that are taken from the file;  left  names of the file that are not
    """

    foreign: Foreign
    names: tuple[str, ...]
    left: tuple[str, ...]

    @classmethod
    def prepare(cls, foreign: Foreign, config: TrainConfig, load: Load) -> "Import":
        """`UserError` where the file's weights are not those of this model, or are no numbers.

        Its machine is one for the weights alone: `placed` names another before anything is computed.
        """
        source = open_source(config.model)
        head = foreign.of_part(*HEAD_PARTS)
        names = tuple(name for name in foreign.places if load == "all" or name not in head)
        if not names:
            raise UserError("nothing in it is part of a policy of ours", argument="path", value=foreign.path)
        check_shapes(foreign, config, names)
        check_values(foreign, names)
        dropped = tuple(foreign.places[name][1] for name in head if name not in names)
        return cls(
            foreign=foreign,
            config=config,
            source=source,
            machine=PARAMETERS_ONLY,
            actions=read_actions(config.data) if any(name in head for name in names) else None,
            notes=tuple(foreign.notes),
            names=names,
            left=(*foreign.left, *dropped),
        )

    @torch.no_grad()
    def build(self) -> Policy:
        """In memory, nothing written, with the file's own backbone where it has one."""
        policy = self._start(self.config, self.source, self.machine.compute_dtype)
        if self._brings_base(policy):
            for name, weight in policy.backbone.model.named_parameters():
                plain = plain_name(f"{MODEL}{name}")
                if plain in self.names:
                    weight.copy_(self.foreign.read(plain))
        self._fill(policy)
        return policy

    @property
    def origin(self) -> Mapping[str, Any]:
        foreign = self.foreign
        return {
            "folder": None,
            "checkpoint": str(foreign.path),
            "epoch": foreign.epoch,
            "step": foreign.global_step,
            "format": foreign.format.name,
        }

    @property
    def has_trained_head(self) -> bool:
        return self.actions is not None

    def trained_state(self, policy: Policy) -> Mapping[str, Tensor] | None:
        plain = {name: plain_name(name) for name in policy.trained()}
        return {name: self.foreign.read(own) for name, own in plain.items() if own in self.names} or None

    def new_parts(self, policy: Policy) -> frozenset[str]:
        return frozenset(name for name, part in self._list_parts(policy).items() if not part.loaded)

    def write(self, out: Path, plain: dict[str, Any], save_config: Callable[[dict[str, Any], Path], None]) -> dict:
        """Into `out`, which exists; returns the fields of `import.json`. `plain`: the configuration, plain values."""
        foreign = self.foreign
        config, policy = self._build(out, plain)
        self._fill(policy)
        parts, actions = self._list_parts(policy), self.actions or read_actions(self.config.data)
        plain["start"] = str(out / FOLDER / IMPORTED)
        imported = {
            "path": str(foreign.path),
            "format": foreign.format.name,
            "new": {name: len(part.new) for name, part in parts.items() if part.new},
        }
        content = {
            "state_dict": {name: weight.clone() for name, weight in trained_state(policy).items()},
            "mobile_vla": {**metadata(policy, actions, plain), "imported": imported},
            "epoch": foreign.epoch,
            "global_step": foreign.global_step,
        }
        save(content, out / FOLDER / IMPORTED)
        save_unknown_split(f"imported from {foreign.path}", out / "split.json")
        record_machine(out, None)
        save_config(plain, out / "config.yaml")  # last: it says that there is a run
        return {
            "path": foreign.path,
            "format": foreign.format.name,
            "what": foreign.format.what,
            "epoch": foreign.epoch,
            "global_step": foreign.global_step,
            "parts": {name: _count(policy, part) for name, part in parts.items()},
            "left": list(self.left),
            "base": {
                "weights": config.model.weights,
                "stored": config.model.weights == str(out / BASE),
                "fingerprint": policy.base_fingerprint,
            },
            "actions": asdict(actions),
            "parameters": policy.num_parameters(),
            "notes": list(foreign.notes),
        }

    def _build(self, out: Path, plain: dict[str, Any]) -> tuple[TrainConfig, Policy]:
        """On the base that was named; where the file's own backbone is another one, on that, stored as `base/`."""
        config, foreign = self.config, self.foreign
        policy = self._start(config, self.source, torch.float32)
        if not self._brings_base(policy):
            return config, policy
        base = {f"{MODEL}{name}": weight for name, weight in plain_weights(policy.backbone.model).items()}
        base |= {name: foreign.read(name).float() for name in foreign.of_part(*BACKBONE_PARTS)}
        weights = {name.removeprefix(MODEL): weight for name, weight in base.items()}
        own = self.source.weights_preprocessing
        write_backbone(weights, self.source, own, out / BASE)
        del policy, base, weights  # gigabytes, and the same again comes
        model = replace(config.model, weights=str(out / BASE), architecture={})
        plain["model"] |= {"weights": model.weights, "architecture": {}}
        config = replace(config, model=model)
        return config, self._start(config, open_source(model), torch.float32)

    def _brings_base(self, policy: Policy) -> bool:
        """Whether the file's backbone is another one than the policy's; where all of it is trained, it is no base."""
        backbone = self.foreign.of_part(*BACKBONE_PARTS)
        then = self.foreign.known.get("base_fingerprint")
        if not backbone and then not in (None, policy.base_fingerprint):
            raise UserError(
                f"was trained on other base weights (fingerprint {then}, here "
                f"{policy.base_fingerprint}); model.weights must be the same model",
                argument="path",
                value=self.foreign.path,
            )
        base = plain_weights(policy.backbone.model)
        return self.config.model.lora.preset != "full" and not all(
            _is_same(self.foreign.read(name), base[name.removeprefix(MODEL)]) for name in backbone
        )

    def _start(self, config: TrainConfig, source: Source, dtype: torch.dtype) -> Policy:
        policy = build_start(config, source, len(config.data.components), dtype)
        then, now = self.foreign.known.get("preprocessing"), asdict(policy.preprocessing)
        if then is not None and then != {name: list(v) if isinstance(v, tuple) else v for name, v in now.items()}:
            raise UserError(
                f"was trained with preprocessing {then}, here it is {now}; give "
                "model.preprocessing or the model.weights that it was trained with",
                argument="path",
                value=self.foreign.path,
            )
        return policy

    @torch.no_grad()
    def _fill(self, policy: Policy) -> None:
        """Copy what is trained from the file; every other trained weight is as a new training begins."""
        for name, weight in policy.trained().items():
            if (plain := plain_name(name)) in self.names:
                weight.copy_(self.foreign.read(plain))

    def _list_parts(self, policy: Policy) -> dict[str, Part]:
        trained = [plain_name(name) for name in policy.trained()]
        new = [name for name in trained if name not in self.names]
        taken = [name for name in trained if name in self.names]
        taken += [name for name in self.names if name not in taken]  # of the backbone, which is the base
        found = {}
        for part in PARTS:
            loaded, fresh = ([name for name in names if self.foreign.find_part(name) == part] for names in (taken, new))
            if loaded or fresh:
                found[part] = Part(loaded=tuple(loaded), new=tuple(fresh))
        return found


def read_actions(data: DataConfig) -> ActionSpace:
    """What the head's outputs mean; those of a new head will be fitted to the episodes that it is trained on."""
    bounds = [data.bounds.get(component, CLIPPED) for component in data.components]
    low, high = zip(*bounds, strict=True)
    return ActionSpace(components=data.components, low=tuple(low), high=tuple(high))


def _is_same(one: Tensor, other: Tensor) -> bool:
    """As a fingerprint tells base weights: whatever precision they were saved in."""
    return torch.equal(one.to(torch.bfloat16), other.detach().to(torch.bfloat16))


def _count(policy: Policy, part: Part) -> dict[str, Any]:
    sizes = {plain_name(name): weight.numel() for name, weight in policy.named_parameters()}
    return {
        "loaded": len(part.loaded),
        "loaded_parameters": sum(sizes[name] for name in part.loaded),
        "new": len(part.new),
        "new_names": list(part.new[:3]),
    }
