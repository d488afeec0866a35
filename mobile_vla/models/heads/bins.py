"""A head that chooses: for every entry of a chunk a distribution over a few values, trained as a classification.

In: contexts (S, W, D), read by an LSTM as the default head reads them. Out: normalised actions (S, W, C, A), the mean
of each distribution, or its likeliest value.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mobile_vla.core.draws import FrameDraws
from mobile_vla.core.errors import UserError
from mobile_vla.models.heads.head import Head, HeadConfig, Target
from mobile_vla.models.heads.layers import plain_lstm, stack_layers

COMMANDS = "commands"
MOST_COMMANDS = 32  # of one component: data with more do not come from a keyboard
DIGITS = 4  # of normalised commands: those that differ by less are one, as after rounding to float32


@dataclass(frozen=True, kw_only=True)
class BinsConfig(HeadConfig):
    """values   `uniform`: evenly spaced over [-1, 1], both ends included; `commands`: those that occur in the training
             episodes, for keyboards; or a list for each component, ascending, in normalised units
    number   how many uniform values
    decode   `mean` of the distribution: the least squared error, but between left and right when it is undecided;
             `mode`: the likeliest value, which is always a command that exists
    hidden, layers, dropout  of the LSTM;  mlp  hidden widths of the layers from its state to the distributions
    """

    free: ClassVar[tuple[str, ...]] = ("decode",)
    what: ClassVar[str] = (
        "an LSTM over the contexts of a window (oldest first) and, at each of its positions, an MLP with ReLU between "
        "its layers to a distribution over a few values for each entry of the chunk"
    )
    name: str = "bins"
    values: Literal["uniform", "commands"] | tuple[tuple[float, ...], ...] = "uniform"
    number: int = 31
    decode: Literal["mean", "mode"] = "mean"
    hidden: int = 512
    layers: int = 2
    mlp: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self):
        if min(self.hidden, self.layers, *self.mlp) < 1:
            raise ValueError(f"model.head: widths and layers must be at least 1, got {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.head.dropout must lie in [0, 1), got {self.dropout}")
        if self.number < 2:
            raise ValueError(f"model.head.number must be at least 2, got {self.number}")
        if not isinstance(self.values, str):
            for values in self.values:
                if len(values) < 2 or any(low >= high for low, high in pairwise(values)):
                    raise ValueError(f"model.head.values: at least two for each component, ascending, got {values}")

    def fit(self, actions: Float[np.ndarray, "n A"]) -> "BinsConfig":
        """Replace `commands` by the commands that occur; `UserError` if they are too many for a keyboard."""
        if self.values != COMMANDS:
            return self
        found = [np.unique(np.round(np.asarray(actions[:, a], np.float64), DIGITS)) for a in range(actions.shape[1])]
        for a, values in enumerate(found):
            if not 2 <= len(values) <= MOST_COMMANDS:
                raise UserError(
                    f"model.head.values=commands: component {a + 1} of {len(found)} takes {len(values)} distinct "
                    f"values in the training episodes, expected 2 to {MOST_COMMANDS}; use model.head.values=uniform"
                )
        return replace(self, values=tuple(tuple(values.tolist()) for values in found))

    def values_of(self, num_components: int) -> list[list[float]]:
        """The values of each component; `UserError` if they are not known yet, or not one list for each component."""
        if self.values == "uniform":
            return [np.linspace(-1, 1, self.number).tolist()] * num_components
        if isinstance(self.values, str):
            raise UserError(
                "model.head.values=commands: known once the training episodes are; without data give "
                "model.head.values=uniform, or a list for each component: model.head.values=[[-1,0,1],[-1,0,1]]"
            )
        if len(self.values) != num_components:
            raise UserError(
                f"model.head.values: a list for each of {num_components} components expected, got {len(self.values)}"
            )
        return [list(values) for values in self.values]

    def build(self, context_width: int, chunk: int, num_components: int) -> "BinsHead":
        return BinsHead(self, context_width, chunk, num_components)

    def describe(self) -> str:
        numbers = {"uniform": f"{self.number} values", COMMANDS: "the commands of the data"}
        of = (
            numbers[self.values]
            if isinstance(self.values, str)
            else f"{'/'.join(str(len(v)) for v in self.values)} values"
        )
        return f"bins head (LSTM {self.hidden} x {self.layers}) over {of}"

    def plain_code(self, context_width: int, chunk: int, num_components: int) -> str:
        decoded = "logits.softmax(-1) @ of" if self.decode == "mean" else "of[logits.argmax(-1)]"
        return f"""{plain_lstm(context_width, self.hidden, self.layers)}\
values = [torch.tensor(of) for of in {self.values_of(num_components)}]  # of each component


def head(contexts):
    state = rnn(contexts[None])[0][0, -1]
    state = torch.layer_norm(state, state.shape, weights["norm.weight"], weights["norm.bias"])
    logits = stack(state, "logits").unflatten(-1, ({chunk}, -1))
    parts = zip(logits.split([len(of) for of in values], -1), values)
    return torch.stack([{decoded} for logits, of in parts], -1)"""


class BinsHead(Head):
    """Its prediction is (S, W, C, K): for each step of the chunk the logits of all components, concatenated."""

    state = "rnn"

    def __init__(self, config: BinsConfig, context_width: int, chunk: int, num_components: int):
        super().__init__(config, chunk, num_components)
        values = config.values_of(num_components)
        self.sizes = [len(of) for of in values]
        self.decode = config.decode
        self.bounded = all(abs(value) <= 1 for of in values for value in of)
        self.rnn = nn.LSTM(context_width, config.hidden, config.layers, batch_first=True, dropout=config.dropout)
        # Without it the first steps, in which the logits only learn how frequent each value is, saturate the LSTM, and
        # hundreds of steps pass before it reads its contexts again.
        self.norm = nn.LayerNorm(config.hidden)
        self.logits = nn.Sequential(*stack_layers([config.hidden, *config.mlp, chunk * sum(self.sizes)]))
        # Not stored with the weights: they are part of the settings.
        self.register_buffer("values", torch.tensor([value for of in values for value in of]), persistent=False)
        self.values: Tensor

    def predict(self, contexts: Float[Tensor, "S W D"]) -> Float[Tensor, "S W C K"]:
        states, _ = self.rnn(contexts)  # (S, W, hidden)
        return self.logits(self.norm(states)).unflatten(-1, (self.chunk, -1))

    def actions(self, prediction: Float[Tensor, "S W C K"], draws: FrameDraws) -> Float[Tensor, "S W C A"]:
        return torch.stack([self._decode(*of) for of in self._by_component(prediction)], -1)

    def losses(self, prediction: Float[Tensor, "S W C K"], target: Target) -> Float[Tensor, "S W C A"]:
        """Cross-entropy with the value that is nearest to the recorded action."""
        parts = zip(self._by_component(prediction), target.chunks.unbind(-1), strict=True)
        return torch.stack([_classify(logits, values, recorded) for (logits, values), recorded in parts], -1)

    def response(self, prediction: Float[Tensor, "S W C K"], draws: FrameDraws) -> Float[Tensor, "S W ..."]:
        # The likeliest value stays the same when a context moves a little.
        return prediction if self.decode == "mode" else super().response(prediction, draws)

    def _by_component(self, prediction: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Logits (S, W, C, K_a) and values (K_a,) of each component."""
        return list(zip(prediction.split(self.sizes, -1), self.values.split(self.sizes), strict=True))

    def _decode(self, logits: Tensor, values: Tensor) -> Tensor:
        if self.decode == "mode":
            return values[logits.argmax(-1)]
        return logits.softmax(-1) @ values


def _classify(
    logits: Float[Tensor, "S W C K"], values: Float[Tensor, " K"], recorded: Float[Tensor, "S W C"]
) -> Float[Tensor, "S W C"]:
    nearest = torch.bucketize(recorded.contiguous(), (values[1:] + values[:-1]) / 2)  # (S, W, C)
    return F.cross_entropy(logits.flatten(0, 2), nearest.flatten(), reduction="none").unflatten(0, nearest.shape)
