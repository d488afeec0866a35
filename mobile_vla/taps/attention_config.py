"""What of the attention is drawn, as an experimenter sets it. Imports no torch; `attention` does the work."""

from dataclasses import dataclass
from typing import Literal

from mobile_vla.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Off unless asked for: maps need eager attention, which holds every layer's whole matrix.

    episodes  how many episodes are drawn; 0 draws none
    frames    of each, spread evenly from its first frame to its last
    kind      `attention`: what the action token attends to directly, the mean over layers and heads. `rollout`: also
              through other tokens, by multiplying the layers (Abnar & Zuidema 2020)
    layers    of the text decoder, for `attention`; negative ones count from the last. null: all of them. Which layer
              reads the image differs from model to model, and in deep layers most attention rests on the first token;
              the mean over all weighs each layer by how much of the image it reads, and leaves nothing to pick
    """

    episodes: int = 0
    frames: int = 6
    kind: Literal["attention", "rollout"] = "attention"
    layers: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.episodes < 0 or self.frames < 1:
            name, least = ("episodes", 0) if self.episodes < 0 else ("frames", 1)
            raise UserError(f"must be at least {least}, got {getattr(self, name)}", argument=name)
        if self.layers is None:
            return
        if self.kind == "rollout":
            raise UserError("a rollout goes through all layers; leave layers out", argument="layers")
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise UserError(f"must name layers, each once, got {list(self.layers)}", argument="layers")
