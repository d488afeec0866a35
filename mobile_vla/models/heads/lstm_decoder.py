"""The default head: an LSTM over a window's contexts and an MLP that turns each state into a chunk of actions.

In: contexts (S, W, D). Out: normalised actions (S, W, C, A) in [-1, 1], one chunk for each window position.
Parameter names (`rnn.weight_ih_l0`, `velocities.mlp.0.weight`, ...) are those of the lab's checkpoints.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from mobile_vla.models.heads.head import Head, HeadConfig
from mobile_vla.models.heads.layers import plain_lstm, stack_layers


@dataclass(frozen=True, kw_only=True)
class LSTMDecoderConfig(HeadConfig):
    """hidden: width of the LSTM; layers: its depth; mlp: hidden widths of the output MLP; dropout: between layers."""

    what: ClassVar[str] = (
        "an LSTM over the contexts of a window (oldest first) and, at each of its positions, an MLP with ReLU between "
        "its layers and tanh at the end"
    )
    name: str = "lstm"
    hidden: int = 512
    layers: int = 4
    mlp: tuple[int, ...] = (1024, 512, 256)
    dropout: float = 0.0

    def __post_init__(self):
        if min(self.hidden, self.layers, *self.mlp) < 1:
            raise ValueError(f"model.head: widths and layers must be at least 1, got {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.head.dropout must lie in [0, 1), got {self.dropout}")

    def build(self, context_width: int, chunk: int, num_components: int) -> "MobileVLALSTMDecoder":
        return MobileVLALSTMDecoder(self, context_width, chunk, num_components)

    def describe(self) -> str:
        return f"LSTM head {self.hidden} x {self.layers}"

    def plain_code(self, context_width: int, chunk: int, num_components: int) -> str:
        return f"""{plain_lstm(context_width, self.hidden, self.layers)}\
def head(contexts):
    return stack(rnn(contexts[None])[0][0, -1], "velocities.mlp").tanh().unflatten(-1, ({chunk}, {num_components}))"""


class TanhMLP(nn.Module):
    """Linear layers with ReLU between them and tanh at the end, as `mlp.0, mlp.2, ...`."""

    def __init__(self, widths: list[int]):
        super().__init__()
        self.mlp = nn.Sequential(*stack_layers(widths), nn.Tanh())

    def forward(self, state: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch out"]:
        return self.mlp(state)


class MobileVLALSTMDecoder(Head):
    """Window of contexts -> a chunk of actions at each window position; the loss is the one that is reported.

    The LSTM is causal: position w has seen contexts 0 ... w of its window and no other window's, so padding at the
    tail of a window cannot reach the positions before it. It runs in float32: it is a percent of the work, and its
    state accumulates over the window.
    """

    bounded = True
    state = "rnn"

    def __init__(self, config: LSTMDecoderConfig, context_width: int, chunk: int, num_components: int):
        super().__init__(config, chunk, num_components)
        self.rnn = nn.LSTM(context_width, config.hidden, config.layers, batch_first=True, dropout=config.dropout)
        self.velocities = TanhMLP([config.hidden, *config.mlp, chunk * num_components])

    def predict(self, contexts: Float[Tensor, "S W D"]) -> Float[Tensor, "S W C A"]:
        states, _ = self.rnn(contexts)  # (S, W, hidden)
        actions = self.velocities(states)  # (S, W, C * A)
        return actions.unflatten(-1, (self.chunk, self.num_components))  # (S, W, C, A)
