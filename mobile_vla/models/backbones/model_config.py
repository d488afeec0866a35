"""The settings of a policy's model, and all that a family of backbones does before there are weights.

A family is a dataclass that extends `ModelConfig`, with settings of its own, in one file together with its `Backbone`.
It is chosen by `model.name`: one of `BACKBONES`, or `<module>:<class>` of your own. docs/backbones.md shows how to add
one; `TransformersModelConfig` (`pretrained.py`) does most of it for models of transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from string import Formatter
from typing import Any, ClassVar

from torch import nn
from transformers import PreTrainedTokenizerBase

from mobile_vla.core.changes import Change, on_change
from mobile_vla.core.errors import UserError
from mobile_vla.core.members import UNNAMED, Chosen, Members
from mobile_vla.core.preprocessing import Preprocessing, PreprocessingName
from mobile_vla.models.backbones.anatomy import Anatomy, Part
from mobile_vla.models.backbones.layouts import Layout
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.backbones.tokenizer import offline_tokenizer
from mobile_vla.models.heads.head import HeadConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig

RANDOM = "random"
BACKBONES = Members(
    place="model",
    homes={
        "kosmos2": "mobile_vla.models.backbones.kosmos2:Kosmos2ModelConfig",
        "smolvlm": "mobile_vla.models.backbones.smolvlm:SmolVLMModelConfig",
    },
    default=UNNAMED["model.name"],
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Chosen):
    """The backbone's settings, with what of it is trained and which head reads its contexts.

    name                    which backbone the settings are of
    weights                 a local folder, a name on the hub, or `random`
    architecture            for `random`: overrides of the architecture's own settings (nested)
    weights_seed            for `random`: the base is rebuilt from it, since checkpoints never hold the base
    prompt                  template around the instruction
    preprocessing           `clip`, `unit` (images in [0, 1], as old checkpoints were trained); None: as the weights say
    dropout                 the backbone's own dropout while training; 0 keeps frozen parts deterministic
    gradient_checkpointing  recompute activations in the backward pass: less memory, a third more time
    """

    members: ClassVar[Members] = BACKBONES
    anatomy: ClassVar[Anatomy]
    title: ClassVar[str] = "a backbone of your own"  # in messages
    published: ClassVar[dict[Part, int]] = {}  # parameters of each part, of the weights that the family is known by
    saves_folder: ClassVar[bool] = False  # whether `model.weights=<folder>` takes what `write_architecture` has written

    name: str = BACKBONES.default
    weights: str = field(metadata=on_change(Change.NOTED))
    architecture: dict[str, Any] = field(default_factory=dict)
    weights_seed: int = 0
    prompt: str = "{instruction}"
    preprocessing: PreprocessingName | None = None
    dropout: float = 0.0
    gradient_checkpointing: bool = field(default=False, metadata=on_change(Change.NOTED))
    lora: AdapterConfig = field(default_factory=AdapterConfig)
    head: HeadConfig = field(default_factory=LSTMDecoderConfig)

    def __post_init__(self):
        try:
            words = {name for _, name, _, _ in Formatter().parse(self.prompt) if name is not None}
        except ValueError:
            words = set()
        if words != {"instruction"}:
            raise ValueError(f"model.prompt must hold {{instruction}} and no other braces, got '{self.prompt}'")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout must lie in [0, 1), got {self.dropout}")
        if self.architecture and self.weights != RANDOM:
            raise ValueError("model.architecture describes a random model; leave it out or set model.weights=random")

    # What a family must say.

    def create(self, architecture: Any) -> nn.Module:
        """The model with fresh weights, drawn from torch's generator, on torch's default device."""
        raise NotImplementedError

    def wrap(self, model: nn.Module, special_ids: Mapping[str, int]) -> Any:
        """Its `Backbone`. special_ids: the token id of each special token of the layout."""
        raise NotImplementedError

    def default_preprocessing(self, architecture: Any) -> Preprocessing:
        """How frames are read where the weights do not say it."""
        raise NotImplementedError

    # What a family may say.

    def find_layout(self) -> Layout:
        """The order of the decoder's sequence."""
        return Layout(name="plain")

    def locate(self) -> "ModelConfig":
        """The same settings with the weights' folder as an absolute path; `UserError` where it is none."""
        if self.weights != RANDOM:
            raise UserError(f"model.weights={self.weights}: model.name={self.name} has random weights only")
        return self

    def find_architecture(self, download: bool = True) -> Any:
        """What `create` needs, beside these settings. `download`: whether the hub may be asked for what is known."""
        return None

    def open_tokenizer(self) -> PreTrainedTokenizerBase:
        return offline_tokenizer()

    def read_preprocessing(self, architecture: Any) -> Preprocessing:
        """As the weights were trained."""
        return self.default_preprocessing(architecture)

    def load(self, architecture: Any) -> nn.Module:
        """The model with the weights that `weights` names, in float32, on the CPU. Not asked for random ones."""
        raise NotImplementedError

    def write_architecture(self, architecture: Any, folder: Path) -> None:
        """What a folder must hold beside weights, tokenizer and preprocessing to be taken as `model.weights`."""

    def as_processor_writes(self) -> "ModelConfig":
        """The same with the sequence that the family's own processor writes, where there is a choice."""
        return self

    def open_reference(self, architecture: Any) -> Any:
        """A `Reference`: another's reading of the same weights. None where there is nobody to compare with."""
        return None

    def find_recipe(self, architecture: Any) -> tuple[str, str] | None:
        """For a model card: its class in transformers, and code that makes image tokens (1, L, D) of `pixels`."""
        return None

    def list_own_settings(self) -> dict[str, Any]:
        """All settings by which the backbone can be built again, but for its weights, adapters and head."""
        left_out = ("weights", "lora", "head", "gradient_checkpointing")
        return {part.name: getattr(self, part.name) for part in fields(self) if part.name not in left_out}
