"""Families whose model, tokenizer and image processor are transformers': from a folder or a hub name to all of them.

A family names its classes in a `Family` and says in `settle` what of the architecture follows from the settings. What
is wrong with a folder is told in one line, before anything large is made; reading weights stops on any name that is
missing or unexpected.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from mobile_vla.core.errors import UserError
from mobile_vla.core.preprocessing import NO_MEAN, NO_STD, Preprocessing
from mobile_vla.models.backbones.model_config import RANDOM, ModelConfig
from mobile_vla.models.backbones.tokenizer import offline_tokenizer

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
LANCZOS = 1  # torch has no such filter; bicubic comes nearest
PIL_INTERPOLATION: dict[int, Literal["bilinear", "bicubic"]] = {LANCZOS: "bicubic", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, kw_only=True)
class Family:
    """title   for messages, such as `Kosmos-2`
    hub        the name on the hub whose architecture `known` is, so that it need not be asked for
    classes    by `model_type` of a config.json: configuration and model; random ones are of the first
    known      the architecture of `hub`, where it is not the configuration class's default
    unused     names of weights begin with one of these that the model has no use for, such as its language-model head
    tags       special tokens of the offline tokenizer
    image_code how a model card makes image tokens (1, L, D) of `pixels` with `model`
    """

    title: str
    hub: str
    classes: Mapping[str, tuple[type[PreTrainedConfig], type[PreTrainedModel]]]
    unused: Sequence[str]
    tags: Sequence[str]
    image_code: str
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TransformersModelConfig(ModelConfig):
    """`architecture` holds overrides of the configuration class, nested: text_config, vision_config, …"""

    family: ClassVar[Family]
    saves_folder: ClassVar[bool] = True

    def settle(self, architecture: Any) -> None:
        """Put the settings that belong there into the architecture: dropout."""

    def locate(self) -> "TransformersModelConfig":
        return self if self.weights == RANDOM else replace(self, weights=_find(self.weights, self.family.title))

    def find_architecture(self, download: bool = True) -> Any:
        """The checkpoint's own, or one with the overrides of `architecture`; `UserError` where there is none."""
        try:
            architecture = self._read_architecture(download)
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            if self.weights == RANDOM:
                raise UserError(f"model.architecture is no {self.family.title} architecture: {error}") from error
            raise self._unreadable(error) from error
        self.settle(architecture)
        return architecture

    def create(self, architecture: Any) -> nn.Module:
        return self.find_class(architecture)(architecture).eval()

    def open_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.weights == RANDOM:
            return offline_tokenizer(self.family.tags)
        try:
            return AutoTokenizer.from_pretrained(self.weights)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error

    def read_preprocessing(self, architecture: Any) -> Preprocessing:
        """As the checkpoint's image processor says; a checkpoint without one was trained with the family's own."""
        own = self.default_preprocessing(architecture)
        if self.weights == RANDOM:
            return own
        try:
            processor = AutoImageProcessor.from_pretrained(self.weights)
        except (OSError, ValueError):
            return own
        resample = int(processor.resample)
        if resample not in PIL_INTERPOLATION:
            raise UserError(
                f"model.weights={self.weights}: its image processor resizes with an unknown filter ({resample})"
            )
        normalized = processor.do_normalize
        return Preprocessing(
            size=own.size,
            interpolation=PIL_INTERPOLATION[resample],
            mean=tuple(processor.image_mean) if normalized else NO_MEAN,
            std=tuple(processor.image_std) if normalized else NO_STD,
        )

    def load(self, architecture: Any) -> nn.Module:
        try:
            model, info = self.find_class(architecture).from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                self.weights, config=architecture, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(f"model.weights={self.weights} cannot be loaded: {first_line(error)}") from error
        missing = sorted(info["missing_keys"])
        unexpected = sorted(name for name in info["unexpected_keys"] if not name.startswith(tuple(self.family.unused)))
        wrong = missing or unexpected or sorted(map(str, info.get("mismatched_keys", [])))
        if wrong:
            raise UserError(
                f"model.weights={self.weights} does not hold this architecture: {len(missing)} weights missing, "
                f"{len(unexpected)} unexpected (first: {wrong[0]})"
            )
        return model.eval()

    def write_architecture(self, architecture: Any, folder: Path) -> None:
        architecture.architectures = [self.find_class(architecture).__name__]
        architecture.save_pretrained(folder)

    def find_recipe(self, architecture: Any) -> tuple[str, str]:
        return self.find_class(architecture).__name__, self.family.image_code

    def find_class(self, architecture: Any) -> type[PreTrainedModel]:
        """The model's class, of this architecture."""
        return self.family.classes[architecture.model_type][1]

    def _read_architecture(self, download: bool) -> Any:
        classes = self.family.classes
        first, _ = next(iter(classes.values()))
        if self.weights == RANDOM:
            _refuse_unknown(self.architecture, first(), "model.architecture")
            return first(**merge(self.family.known, self.architecture))
        if self.weights == self.family.hub and not download:
            return first(**merge(self.family.known, {}))
        kind = str(first.get_config_dict(self.weights)[0].get("model_type", ""))
        if kind not in classes:
            described = kind or "model without model_type"
            raise ValueError(f"its config.json describes a {described}, not a {' or '.join(classes)}")
        return classes[kind][0].from_pretrained(self.weights)

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            f"model.weights={self.weights}: no {self.family.title} could be read there ({first_line(error)}); expected "
            "a local folder with config.json, weights and tokenizer, or a name on the hub that can be reached"
        )


def merge(known: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings, the second over the first; copies, since transformers changes what it is given."""
    merged: dict[str, Any] = {}
    for name in (*known, *(name for name in overrides if name not in known)):
        one, other = known.get(name), overrides.get(name, known.get(name))
        nested = isinstance(other, Mapping)
        merged[name] = merge(one if isinstance(one, Mapping) else {}, other) if nested else other
    return merged


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def _refuse_unknown(overrides: Mapping[str, Any], known: Any, where: str) -> None:
    """transformers takes any keyword; a misspelled one would silently leave the default."""
    for name, value in overrides.items():
        if not hasattr(known, name):
            raise ValueError(f"{where}.{name} is no setting of {type(known).__name__}")
        if isinstance(value, Mapping):
            _refuse_unknown(value, getattr(known, name), f"{where}.{name}")


def _find(weights: str, title: str) -> str:
    """A path must be a model's folder, and comes back in full; a name that is no path is left to the hub."""
    folder = Path(weights).expanduser()
    if not folder.exists():
        if weights.startswith((".", "/", "~")) or weights.count("/") > 1:
            raise UserError(f"model.weights={weights}: no such folder; expected a transformers folder or a hub name")
        return weights
    if not (folder / "config.json").is_file():
        raise UserError(f"model.weights={weights} holds no config.json; expected a transformers folder of {title}")
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            _check_readable(folder / name, weights)
            return str(folder)
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = set(json.loads(index.read_text())["weight_map"].values())
            absent = sorted(shard for shard in shards if not (folder / shard).is_file())
            if absent:
                raise UserError(f"model.weights={weights} lacks {len(absent)} of {len(shards)} shards: {absent[0]}")
            for shard in sorted(shards):
                _check_readable(folder / shard, weights)
            return str(folder)
    raise UserError(f"model.weights={weights} holds no weights; expected one of {list(WEIGHT_FILES)} (or shards)")


def _check_readable(file: Path, weights: str) -> None:
    """A truncated file is told from its header, before anything is made."""
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"model.weights={weights}: {file.name} is damaged: {first_line(error)}") from error
