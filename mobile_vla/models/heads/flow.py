"""A generative head: it learns a flow from noise to chunks of actions, and returns the chunk that a frame's noise leads
to. Conditional flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023).

In: contexts (S, W, D), read by an LSTM as the default head reads them. Out: normalised actions (S, W, C, A), without
bounds. A chunk is drawn as a whole: where the data go left or right, it goes left or right and not in between.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mobile_vla.core.draws import FrameDraws
from mobile_vla.models.heads.head import Head, HeadConfig, Target
from mobile_vla.models.heads.layers import plain_lstm, stack_layers

FREQUENCIES = 8  # of the sines and cosines that encode the time on the path


@dataclass(frozen=True, kw_only=True)
class FlowConfig(HeadConfig):
    """steps    Euler steps from noise to actions
    spread   standard deviation of the initial noise: 1 as in training, so that chunks vary as much as the data do; less
             stays nearer to their middle; 0 uses no noise
    samples  points on paths that each position learns from in a training step
    seed     of the noise, which is the same whenever a frame is seen
    hidden, layers, dropout  of the LSTM;  mlp  hidden widths of the network that computes the velocity on the path
    """

    free: ClassVar[tuple[str, ...]] = ("steps", "spread", "seed")
    what: ClassVar[str] = (
        "an LSTM over the contexts of a window (oldest first) and, at each of its positions, an MLP with ReLU between "
        "its layers that carries noise to a chunk, step by step"
    )
    name: str = "flow"
    steps: int = 10
    spread: float = 1.0
    samples: int = 4
    seed: int = 0
    hidden: int = 512
    layers: int = 2
    mlp: tuple[int, ...] = (512, 512)
    dropout: float = 0.0

    def __post_init__(self):
        if min(self.steps, self.samples, self.hidden, self.layers, *self.mlp) < 1:
            raise ValueError(f"model.head: steps, samples, widths and layers must be at least 1, got {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.head.dropout must lie in [0, 1), got {self.dropout}")
        if not 0 <= self.spread <= 1:
            raise ValueError(f"model.head.spread must lie in [0, 1], got {self.spread}")

    def build(self, context_width: int, chunk: int, num_components: int) -> "FlowHead":
        return FlowHead(self, context_width, chunk, num_components)

    def describe(self) -> str:
        return f"flow head (LSTM {self.hidden} x {self.layers}, {self.steps} steps)"

    def plain_code(self, context_width: int, chunk: int, num_components: int) -> str:
        return f"""{plain_lstm(context_width, self.hidden, self.layers)}\
def head(contexts, noise=None):
    state = rnn(contexts[None])[0][0, -1]
    at = {self.spread} * (torch.randn({chunk * num_components}) if noise is None else noise.flatten())
    for step in range({self.steps}):
        angles = step / {self.steps} * torch.pi * 2.0 ** torch.arange({FREQUENCIES}) / 2
        at = at + stack(torch.cat([at, angles.sin(), angles.cos(), state]), "velocity") / {self.steps}
    return at.unflatten(-1, ({chunk}, {num_components}))"""


class FlowHead(Head):
    """Its prediction is the LSTM's states (S, W, hidden), which the velocity on the path depends on."""

    state = "rnn"

    def __init__(self, config: FlowConfig, context_width: int, chunk: int, num_components: int):
        super().__init__(config, chunk, num_components)
        size = chunk * num_components
        self.rnn = nn.LSTM(context_width, config.hidden, config.layers, batch_first=True, dropout=config.dropout)
        self.velocity = nn.Sequential(*stack_layers([size + 2 * FREQUENCIES + config.hidden, *config.mlp, size]))

    def predict(self, contexts: Float[Tensor, "S W D"]) -> Float[Tensor, "S W H"]:
        return self.rnn(contexts)[0]

    def actions(self, prediction: Float[Tensor, "S W H"], draws: FrameDraws) -> Float[Tensor, "S W C A"]:
        shape, steps = (self.chunk, self.num_components), self.config.steps
        at = self.config.spread * draws.normal(*shape, seed=self.config.seed).flatten(2)  # (S, W, C * A)
        for step in range(steps):
            time = at.new_full((*at.shape[:2], 1), step / steps)
            at = at + self._velocity(at, time, prediction) / steps
        return at.unflatten(-1, shape)

    def losses(self, prediction: Float[Tensor, "S W H"], target: Target) -> Float[Tensor, "S W C A"]:
        """Squared error of the velocity, averaged over points on the paths from noise to the recorded chunk.

        In evaluation mode each frame always has the same points, so that epochs can be compared.
        """
        begins, time = self._draw(target)  # (S, W, N, C * A), (S, W, N, 1)
        ends = fill_masked(target.chunks, target.mask).flatten(2).unsqueeze(2)
        states = prediction.unsqueeze(2).expand(-1, -1, self.config.samples, -1)
        found = self._velocity(begins + time * (ends - begins), time, states)
        errors = (found - (ends - begins)).square().mean(2)  # (S, W, C * A)
        return errors.unflatten(-1, (self.chunk, self.num_components))

    def _draw(self, target: Target) -> tuple[Tensor, Tensor]:
        chunks, number = target.chunks, self.config.samples
        if self.training:
            begins = torch.randn(*chunks.shape[:2], number, *chunks.shape[2:], device=chunks.device)
            time = torch.rand(*begins.shape[:3], 1, device=chunks.device)
        else:
            seed = self.config.seed + 1  # not the noise that `actions` starts from
            begins = target.draws.normal(number, *chunks.shape[2:], seed=seed)
            time = target.draws.uniform(number, 1, seed=seed)
        return begins.flatten(3), time

    def _velocity(self, at: Tensor, time: Tensor, states: Tensor) -> Tensor:
        angles = time * (math.pi * 2.0 ** torch.arange(FREQUENCIES, device=time.device) / 2)
        return self.velocity(torch.cat([at, angles.sin(), angles.cos(), states], -1))


def fill_masked(chunks: Float[Tensor, "S W C A"], mask: Bool[Tensor, "S W C"]) -> Float[Tensor, "S W C A"]:
    """Masked entries take the last valid action before them in their chunk, else 0.

    They do not count in the loss, but the velocity is computed from the whole chunk: they should look as they do when
    driving.
    """
    step = torch.arange(chunks.shape[2], device=chunks.device)
    last = torch.where(mask, step, -1).cummax(2).values  # (S, W, C)
    held = torch.where(mask.unsqueeze(-1), chunks, 0).gather(2, last.clamp(min=0).unsqueeze(-1).expand_as(chunks))
    return torch.where(last.unsqueeze(-1) >= 0, held, 0)
