"""What every head is to the rest of the package: windows of contexts in, chunks of normalised actions out.

To add one: a dataclass that extends `HeadConfig`, with a `build` that makes a `Head`, in a file of its own, and its
settings in `conf/model/head/<name>.yaml` with the name under which it is listed below, or `<module>:<class>`.
`docs/heads.md` has a whole example.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mobile_vla.core.draws import FrameDraws
from mobile_vla.core.losses import huber
from mobile_vla.core.members import UNNAMED, Chosen, Members

HEADS = Members(
    place="model.head",
    homes={
        "lstm": "mobile_vla.models.heads.lstm_decoder:LSTMDecoderConfig",
        "mlp": "mobile_vla.models.heads.mlp:MLPConfig",
        "bins": "mobile_vla.models.heads.bins:BinsConfig",
        "flow": "mobile_vla.models.heads.flow:FlowConfig",
    },
    default=UNNAMED["model.head.name"],
)


@dataclass(frozen=True, kw_only=True)
class HeadConfig(Chosen):
    """name: which head the settings are of; every member gives it a default, its own name.

    Everything that is needed to build the head again is a field here, in plain values: checkpoints and exports hold the
    settings and the trained weights, and nothing else.
    """

    members: ClassVar[Members] = HEADS
    free: ClassVar[tuple[str, ...]] = ()  # settings that may change after training: no weight depends on them
    what: ClassVar[str] = ""  # what the head computes, in half a sentence, for the files of an exported policy
    name: str

    def build(self, context_width: int, chunk: int, num_components: int) -> "Head":
        raise NotImplementedError

    def fit(self, actions: Float[np.ndarray, "n A"]) -> "HeadConfig":
        """Complete the settings that depend on the training episodes' normalised actions.

        Called before training, and again when a run is resumed: settings that are already filled in must stay as they
        are.
        """
        return self

    def describe(self) -> str:
        """A few words for tables and model cards, as in "LSTM head 512 x 4"."""
        return f"head {self.name}"

    def plain_code(self, context_width: int, chunk: int, num_components: int) -> str | None:
        """For the card of an exported policy: Python that needs torch alone, or None.

        It may use `torch`, `linear` (of torch.nn.functional) and `weights`, the parameters by their name in the head;
        it defines `head(contexts)`: contexts (frames, D) of a window -> the normalised chunk (C, A) at the last one.
        """
        return None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a head learns from. Where `mask` is False `chunks` mean nothing.

    draws  noise that belongs to the frames;  huber_delta  of the loss that is reported
    """

    chunks: Float[Tensor, "S W C A"]
    mask: Bool[Tensor, "S W C"]
    draws: FrameDraws
    huber_delta: float


class Head(nn.Module):
    """Maps windows of contexts to a prediction, which may be anything; a prediction to actions; and to losses.

    The chunk at a position depends on the contexts up to that position of its own window and on nothing else, so that
    padding at the tail changes nothing before it, and closed-loop inference equals batched inference. Everything that
    is learnt is a parameter. Heads run in float32, whatever the precision of the backbone.

    chunk, num_components  C and A
    history  number of contexts that a chunk depends on, its own included; None: all of the window up to its own
    bounded  whether actions always lie in [-1, 1]
    state    name of the submodule whose output, one vector for each position, is the tap point `head_state`
    """

    history: int | None = None
    bounded: bool = False
    state: str | None = None

    def __init__(self, config: HeadConfig, chunk: int, num_components: int):
        super().__init__()
        self.config = config
        self.chunk = chunk
        self.num_components = num_components

    def forward(self, contexts: Float[Tensor, "S W D"]) -> Any:
        with torch.autocast(contexts.device.type, enabled=False):
            return self.predict(contexts.float())

    def predict(self, contexts: Float[Tensor, "S W D"]) -> Any:
        """What `actions` and `losses` need. Unless these are overridden: the normalised actions (S, W, C, A)."""
        raise NotImplementedError

    def actions(self, prediction: Any, draws: FrameDraws) -> Float[Tensor, "S W C A"]:
        """Normalised actions. A pure function: random numbers come from `draws`, never from torch's generator."""
        return prediction

    def losses(self, prediction: Any, target: Target) -> Float[Tensor, "S W C A"]:
        """The loss of each entry; the trainer masks and averages. In training mode it may use torch's generator,
        which is seeded for every batch; in evaluation mode it must be a pure function."""
        return huber(prediction, target.chunks, target.huber_delta)

    def response(self, prediction: Any, draws: FrameDraws) -> Float[Tensor, "S W ..."]:
        """A continuous function of the contexts, in which the doctor looks for inputs that change nothing."""
        return self.actions(prediction, draws)
