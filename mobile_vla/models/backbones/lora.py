"""Which weights are trained: low-rank adapters through peft, everything, or nothing of the backbone.

`all` adapts every linear layer but the language-model head (293 layers of Kosmos-2), `text` those of the text decoder,
`none` freezes the backbone and its action token, `full` trains all of it. Adapters are injected in place: the model is
never wrapped, so no parameter is registered under two names.

What stands before the first trained weight can be computed once and for all (see `frozen`). The action token stands
before every text layer; so where only upper text layers are adapted, it is left as it is unless asked for.
"""

import re
from dataclasses import dataclass
from typing import Literal

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.adapted import AdaptedLinear
from mobile_vla.models.backbones.anatomy import Anatomy, Part
from mobile_vla.models.backbones.dropout import BitDropout


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What of the backbone is trained.

    preset   all | text | none | full
    r        rank; the update is scaled by alpha / r (alpha / sqrt(r) with `rslora`)
    dropout  on the adapters' input, while training
    layers   which text layers get adapters: `all`, `last:<n>`, or a list of indices
    action_token  whether it is trained; None: unless everything before the first adapted text layer is frozen
    rslora   rank-stabilised scaling (Kalajdzievski 2023);  dora  weight-decomposed adapters (Liu et al. 2024)
    """

    preset: Literal["all", "text", "none", "full"] = "all"
    r: int = 32
    alpha: int = 16
    dropout: float = 0.1
    layers: str | tuple[int, ...] = "all"
    action_token: bool | None = None
    rslora: bool = False
    dora: bool = False

    def __post_init__(self):
        if self.r < 1:
            raise ValueError(f"model.lora.r must be at least 1, got {self.r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.lora.dropout must lie in [0, 1), got {self.dropout}")
        if isinstance(self.layers, str) and not re.fullmatch(r"all|last:[1-9]\d*", self.layers):
            raise ValueError(f"model.lora.layers must be 'all', 'last:<n>' or a list of indices, got '{self.layers}'")

    @property
    def has_adapters(self) -> bool:
        return self.preset in ("all", "text")

    def trains_action_token(self, num_layers: int) -> bool:
        """Of a text decoder of `num_layers`."""
        if self.action_token is not None:
            return self.action_token
        return self.preset in ("all", "full") or (self.preset == "text" and self.text_layers(num_layers)[0] == 0)

    def text_layers(self, num_layers: int) -> list[int]:
        """Indices of the adapted text layers, of `num_layers`; `UserError` for one that does not exist."""
        if self.layers == "all":
            return list(range(num_layers))
        if isinstance(self.layers, str):
            count = int(self.layers.removeprefix("last:"))
            wanted = list(range(num_layers - count, num_layers))
        else:
            wanted = sorted(self.layers)
        if not wanted or wanted[0] < 0 or wanted[-1] >= num_layers:
            raise UserError(f"model.lora.layers={self.layers} does not fit a text decoder of {num_layers} layers")
        return wanted


def find_targets(config: AdapterConfig, model: nn.Module, anatomy: Anatomy) -> str:
    """Regular expression over full module names of what is adapted."""
    layers = config.text_layers(len(list(model.get_submodule(anatomy.text_layers).children())))
    parts: list[Part] = ["text", "vision", "projection"] if config.preset == "all" else ["text"]
    groups = []
    for part in parts:
        if anatomy.linears is not None:
            groups.append(anatomy.linears[part].replace("{layer}", "(?:" + "|".join(map(str, layers)) + ")"))
        else:
            groups += [re.escape(name) for name in _list_linears(model, anatomy, part, layers)]
    return "(?:.*\\.)?(?:" + "|".join(groups) + ")"


def _list_linears(model: nn.Module, anatomy: Anatomy, part: Part, layers: list[int]) -> list[str]:
    """The part's linear layers by name; of the text decoder, those of the chosen layers."""
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and anatomy.find_part(name) == part
    ]
    return [name for name in names if part != "text" or anatomy.find_text_layer(name) in layers]


def apply_adapters(model: nn.Module, config: AdapterConfig, targets: str) -> None:
    """Freeze or free a backbone's model as the configuration says, in place; `targets` of `find_targets`."""
    model.requires_grad_(config.preset == "full")
    if not config.has_adapters:
        return
    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        use_rslora=config.rslora,
        use_dora=config.dora,
        bias="none",
    )
    lora._register_custom_module({nn.Linear: AdaptedLinear})
    inject_adapter_in_model(lora, model)
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            for name, dropout in layer.lora_dropout.items():
                if isinstance(dropout, nn.Dropout):
                    layer.lora_dropout[name] = BitDropout(dropout.p)
