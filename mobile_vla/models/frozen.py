"""How deep into a policy nothing is trained and nothing is drawn at random: up to there, work is done once.

In: the model's settings. Out: the deepest of

    frames         nothing but the frames themselves
    image_tokens   what vision tower and projection make of a frame
    states         what the first trained text layer reads, of a frame and a text
    contexts       what the head reads, of a frame and a text

and why it is not deeper, in the words of the settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mobile_vla.models.backbones.backbone import Backbone
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.policy import Policy

Depth = Literal["frames", "image_tokens", "states", "contexts"]
DEPTHS: tuple[Depth, ...] = ("frames", "image_tokens", "states", "contexts")


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """depth: the deepest;  why: nothing deeper can be kept; empty where all is frozen."""

    depth: Depth
    why: str = ""

    def reaches(self, depth: Depth) -> bool:
        return DEPTHS.index(depth) <= DEPTHS.index(self.depth)

    def but_not_behind(self, depth: Depth, why: str) -> "Frozen":
        """The same where something else stands in the way."""
        return Frozen(depth=depth, why=why) if self.reaches(depth) and self.depth != depth else self


def find_frozen(config: ModelConfig, backbone: Backbone) -> Frozen:
    """Of a policy that is trained with these settings; `backbone` may be a sketch."""
    lora, num_text_layers = config.lora, backbone.num_text_layers
    if config.dropout > 0:
        return Frozen(
            depth="frames", why=f"model.dropout={config.dropout:g} draws anew at every step, in frozen parts too"
        )
    if lora.preset in ("all", "full"):
        return Frozen(depth="frames", why=f"model/lora={lora.preset} trains the vision tower")
    if lora.trains_action_token(num_text_layers):
        return Frozen(depth="image_tokens", why="the action token, which every text layer works on, is trained")
    if lora.preset == "none":
        return Frozen(depth="contexts")
    first = lora.text_layers(num_text_layers)[0]
    if first == 0:
        return Frozen(depth="image_tokens", why="the first text layer is trained")
    if not backbone.keeps_states:
        return Frozen(depth="image_tokens", why=f"model.name={config.name} cannot begin in the midst of its decoder")
    return Frozen(depth="states", why=f"text layer {first} is trained")


def frozen_weights(policy: Policy, depth: Depth) -> Mapping[str, Tensor]:
    """All that what is kept at this depth is made of, by name."""
    backbone, anatomy = policy.backbone, policy.backbone.anatomy
    parts: dict[str, Tensor] = {}
    for tower in (anatomy.vision, anatomy.projection):
        parts |= dict(backbone.model.get_submodule(tower).named_parameters(prefix=tower))
    if depth != "image_tokens":
        parts |= {"action_token": backbone.action_token}
        text = backbone.model.get_submodule(anatomy.text).named_parameters(prefix=anatomy.text)
        behind = _list_behind(backbone) if depth == "states" else set()
        decoder = anatomy.text_layers.rpartition(".")[0]  # names are relative to what holds the layers
        parts |= {name.removeprefix(f"{decoder}."): weight for name, weight in text if id(weight) not in behind}
    trained = [name for name, weight in parts.items() if weight.requires_grad]
    assert not trained, f"{trained[0]} is trained: what is kept at {depth} would be of its old value"
    return parts


def _list_behind(backbone: Backbone) -> set[int]:
    """Weights of the decoder from its first trained layer on, by identity."""
    modules = backbone.text_layers[backbone.num_frozen_layers :]
    if backbone.anatomy.norm is not None:
        modules.append(backbone.model.get_submodule(backbone.anatomy.norm))
    return {id(weight) for module in modules for weight in module.parameters()}
