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
        names = self.active_adapters
        usual = not (args or kwargs or self.disable_adapters or self.merged) and len(names) == 1
        if not usual or names[0] not in self.lora_A or names[0] in self.lora_variant:
            return super().forward(x, *args, **kwargs)
        down, up, scale = self.lora_A[names[0]].weight, self.lora_B[names[0]].weight, self.scaling[names[0]]
        dropout, base = self.lora_dropout[names[0]], self.get_base_layer()
        if self._is_together(x, dropout, base, down):
            return F.linear(x, torch.addmm(base.weight, up, down, alpha=scale), base.bias)
        result = base(x)
        hidden = F.linear(dropout(self._cast_input_dtype(x, down.dtype)), down)
        if hidden.dtype != result.dtype:
            return super().forward(x)
        flat = torch.addmm(result.flatten(0, -2), hidden.flatten(0, -2), up.to(hidden.dtype).T, alpha=scale)
        return flat.view(result.shape)

    @no_type_check
    def _is_together(self, x: Tensor, dropout: nn.Module, base: nn.Module, down: Tensor) -> bool:
        drops = isinstance(dropout, nn.Dropout) and dropout.p > 0 and dropout.training
        full = x.dtype == base.weight.dtype == down.dtype == torch.float32
        if drops or not full or torch.is_autocast_enabled(x.device.type):
            return False
        rank, num_in = down.shape
        num_out = base.weight.shape[0]
        return num_in * num_out <= WORTH * rank * (num_in + num_out)
