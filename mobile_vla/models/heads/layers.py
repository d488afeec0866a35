"""Pieces that heads are made of: linear layers in a row, a window's contexts read together with those before; and the
same in plain torch, for the cards of exported policies.
"""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def stack_layers(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers from the first width to the last with ReLU between them: linear ones at 0, 2, 4, ..."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return layers[:-1]


def with_history(contexts: Float[Tensor, "S W D"], history: int) -> Float[Tensor, "S W read"]:
    """Each context with the `history` - 1 before it in its window, oldest first; zeros before the window begins."""
    padded = F.pad(contexts, (0, 0, history - 1, 0))  # (S, H - 1 + W, D)
    return padded.unfold(1, history, 1).transpose(2, 3).flatten(2)


PLAIN_STACK = """\
def stack(state, name):  # linear layers with ReLU between them
    numbers = sorted(int(key.split(".")[-2]) for key in weights if key.startswith(name) and key.endswith("weight"))
    for number in numbers:
        state = state if number == numbers[0] else state.relu()
        state = linear(state, *(weights[f"{name}.{number}.{part}"] for part in ("weight", "bias")))
    return state


"""


def plain_lstm(context_width: int, hidden: int, layers: int) -> str:
    """Plain code for an LSTM whose weights are `rnn.*`, and for `stack`."""
    return f"""\
rnn = torch.nn.LSTM({context_width}, {hidden}, {layers}, batch_first=True)
rnn.load_state_dict({{name[4:]: weight for name, weight in weights.items() if name.startswith("rnn.")}})


{PLAIN_STACK}"""
