"""A linear layer with a low-rank adapter, computed in the cheaper of two orders.

In: an input (..., in). Out: (..., out), what peft's own layer gives up to rounding. With W the frozen weight, A and B
the adapter's and s its scale:

    apart      x W' + s (x A') B'     two small products a row; the scaled sum is part of the second one
    together   x (W + s B A)'         one product a row; the sum of the weights is made once a call

`together` needs what cannot be had everywhere: no dropout before A, and weights in full precision (in bfloat16 a small
update would vanish in the sum). Its backward pass makes a gradient of W's size, so it pays where the rank is large for
the layer's widths, as in a small model.
"""

from typing import Any, no_type_check

import torch
from jaxtyping import Float
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional as F

# Per row, a step multiplies 3 r (in + out) times for an adapter apart, and in x out times for the gradient of W
# together. Thin products of rank r reach less of the processor's speed: measured on a CPU for widths of 64 to 1024 and
# ranks of 4 to 32, the two take equally long where in x out is about 4 r (in + out).
WORTH = 4


class AdaptedLinear(Linear):
    """peft's layer with its parameters, names and methods; only the usual forward pass is computed otherwise."""

    @no_type_check  # a compiler cannot follow the checks that tests add
    def forward(self, x: Float[Tensor, "*batch in"], *args: Any, **kwargs: Any) -> Float[Tensor, "*batch out"]:
        if args or kwargs or not self._is_usual():
            return super().forward(x, *args, **kwargs)
        weight, base = self.summed_weight(x), self.get_base_layer()
        if weight is not None:
            return F.linear(x, weight, base.bias)
        name = self.active_adapters[0]
        down, up, scale = self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
        result = base(x)
        hidden = F.linear(self.lora_dropout[name](self._cast_input_dtype(x, down.dtype)), down)
        if hidden.dtype != result.dtype:
            return super().forward(x)
        flat = torch.addmm(result.flatten(0, -2), hidden.flatten(0, -2), up.to(hidden.dtype).T, alpha=scale)
        return flat.view(result.shape)

    @no_type_check
    def summed_weight(self, x: Tensor) -> Float[Tensor, "out in"] | None:
        """W + s B A where `together` is the cheaper order for this input, and possible; else None."""
        if not self._is_usual():
            return None
        name, base = self.active_adapters[0], self.get_base_layer()
        down, up, dropout = self.lora_A[name].weight, self.lora_B[name].weight, self.lora_dropout[name]
        drops = isinstance(dropout, nn.Dropout) and dropout.p > 0 and dropout.training
        full = x.dtype == base.weight.dtype == down.dtype == torch.float32
        if drops or not full or torch.is_autocast_enabled(x.device.type):
            return None
        (rank, num_in), num_out = down.shape, up.shape[0]
        if num_in * num_out > WORTH * rank * (num_in + num_out):
            return None
        return torch.addmm(base.weight, up, down, alpha=self.scaling[name])

    @no_type_check
    def _is_usual(self) -> bool:
        """One plain adapter, switched on and not merged."""
        names = self.active_adapters
        one = len(names) == 1 and names[0] in self.lora_A and names[0] not in self.lora_variant
        return one and not self.disable_adapters and not self.merged
