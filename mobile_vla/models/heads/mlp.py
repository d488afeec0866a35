"""A head without recurrence: an MLP over each context, alone or together with the few before it.

In: contexts (S, W, D). Out: normalised actions (S, W, C, A).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from mobile_vla.models.heads.head import Head, HeadConfig, Target
from mobile_vla.models.heads.layers import PLAIN_STACK, stack_layers, with_history


@dataclass(frozen=True, kw_only=True)
class MLPConfig(HeadConfig):
    """history    number of contexts that it reads: the frame's own and those right before it, within the window
    hidden     widths of the hidden layers
    objective  `huber`, or `l1`: the absolute error, which is least at the median instead of the mean
    output     `tanh` keeps actions in [-1, 1]; `linear` can go beyond data.bounds
    """

    what: ClassVar[str] = "an MLP with ReLU between its layers over a context and, if any, those before it"
    name: str = "mlp"
    history: int = 1
    hidden: tuple[int, ...] = (1024, 512, 256)
    objective: Literal["huber", "l1"] = "huber"
    output: Literal["tanh", "linear"] = "tanh"

    def __post_init__(self):
        if not self.hidden or min(self.history, *self.hidden) < 1:
            raise ValueError(f"model.head: history and at least one width in hidden must be at least 1, got {self}")

    def build(self, context_width: int, chunk: int, num_components: int) -> "MLPHead":
        return MLPHead(self, context_width, chunk, num_components)

    def describe(self) -> str:
        read = "the frame's context" if self.history == 1 else f"{self.history} contexts"
        return f"MLP head {'-'.join(map(str, self.hidden))} over {read}"

    def plain_code(self, context_width: int, chunk: int, num_components: int) -> str:
        end = ".tanh()" if self.output == "tanh" else ""
        return f"""{PLAIN_STACK}\
def head(contexts):
    before = torch.zeros({self.history - 1}, {context_width})  # where a window begins
    state = stack(torch.cat([before, contexts])[-{self.history} :].flatten(), "trunk").relu()
    return stack(state, "velocities"){end}.unflatten(-1, ({chunk}, {num_components}))"""


class MLPHead(Head):
    """`trunk` maps what a position reads to one vector, and `velocities` maps that to a chunk of actions."""

    state = "trunk"

    def __init__(self, config: MLPConfig, context_width: int, chunk: int, num_components: int):
        super().__init__(config, chunk, num_components)
        self.history = config.history
        self.bounded = config.output == "tanh"
        self.objective = config.objective
        self.trunk = nn.Sequential(*stack_layers([config.history * context_width, *config.hidden]), nn.ReLU())
        self.velocities = nn.Sequential(nn.Linear(config.hidden[-1], chunk * num_components))

    def predict(self, contexts: Float[Tensor, "S W D"]) -> Float[Tensor, "S W C A"]:
        assert self.history is not None
        actions = self.velocities(self.trunk(with_history(contexts, self.history)))  # (S, W, C * A)
        actions = actions.tanh() if self.bounded else actions
        return actions.unflatten(-1, (self.chunk, self.num_components))

    def losses(self, prediction: Float[Tensor, "S W C A"], target: Target) -> Float[Tensor, "S W C A"]:
        if self.objective == "l1":
            return (prediction - target.chunks).abs()
        return super().losses(prediction, target)
