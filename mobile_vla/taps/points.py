"""Tap points: where in the policy a row's vectors are read, and how each is made one vector.

In: names as users type them, and a policy. Out: `Tap`s, which know their module, which rows its output has and how it
is reduced. Names:

    context         the head's input                            image_tokens     the projection's output
    text_layer_<n>  a text layer's output at the action token   vision_layer_<n> a vision layer's output
    head_state      the LSTM's output                           pixels           the frame at 16 x 16, a baseline

and any other module by its dotted path. `<name>:<reduction>` asks for another reduction than the name's own; a dotted
path has no own one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import Literal

from torch import nn

from mobile_vla.core.errors import UserError

PROJECTION = "backbone.model.image_to_text_projection"
LAYERS = {
    "text": "backbone.model.text_model.model.layers",
    "vision": "backbone.model.vision_model.model.encoder.layers",
}
PIXELS = "pixels"
LAYER = re.compile(r"(text|vision)_layer_(\d+)")

Rows = Literal["frame", "pair", "window"]
SIDES: dict[str, Rows] = {  # what the output of a module in this part of the policy has a row for
    "backbone.model.vision_model": "frame",
    PROJECTION: "frame",
    "backbone.model.text_model": "pair",
    "head": "window",
}
ALLOWED: dict[Rows, tuple[str, ...]] = {  # a text's length differs from batch to batch, so it cannot be kept whole
    "frame": ("mean", "max", "first", "last", "whole"),
    "pair": ("action_token", "mean", "max", "first", "last"),
    "window": ("whole",),
}


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One tap point of a policy.

    name       as users spell it; the name's own reduction is left out
    path       the module's dotted path; None for what is no module's
    rows       what the module has a row for: each distinct `frame`, each `pair`, or each position of each `window`
    reduction  see `reductions`
    reads      what the module puts out, or what it is given
    """

    name: str
    path: str | None
    rows: Rows
    reduction: str
    reads: Literal["output", "input"] = "output"

    @property
    def reads_image_part(self) -> bool:
        """Whether a row is made of the decoder's states at image tokens too, and not only of those behind them."""
        return self.rows == "pair" and self.reduction not in ("action_token", "last")


FIXED = {
    "context": Tap(name="context", path="head", rows="window", reduction="whole", reads="input"),
    "image_tokens": Tap(name="image_tokens", path=PROJECTION, rows="frame", reduction="mean"),
    "head_state": Tap(name="head_state", path="head.rnn", rows="window", reduction="whole"),
    PIXELS: Tap(name=PIXELS, path=None, rows="frame", reduction="whole"),
}
DEFAULT_TAPS = ("context", PIXELS)  # what is looked into, and what the frames themselves give away
PREDICTED = Tap(name="predicted", path="head", rows="window", reduction="whole")  # stored beside taps, no tap point


def list_described(names: Iterable[str]) -> list[str]:
    """Those that are described and drawn: all that read the model. The frames are a baseline for comparing."""
    names = list(names)
    return [name for name in names if name != PIXELS] or names


def resolve_taps(policy: nn.Module, names: Sequence[str]) -> tuple[Tap, ...]:
    """The taps of these names; `UserError` for a name, a layer, a module or a reduction that does not exist."""
    taps = tuple(_resolve(policy, name) for name in names)
    twice = [name for name, count in Counter(tap.name for tap in taps).items() if count > 1]
    if twice:
        raise UserError(f"names {twice[0]} twice; name each tap point once", argument="taps")
    if not taps:
        raise UserError(f"is empty; name at least one of {', '.join(_known(policy))}", argument="taps")
    return taps


def _resolve(policy: nn.Module, name: str) -> Tap:
    spelled, colon, reduction = name.partition(":")
    layer = LAYER.fullmatch(spelled)
    if spelled in FIXED:
        own, allowed = FIXED[spelled], ALLOWED["frame"] if spelled == "image_tokens" else ("whole",)
    elif layer:
        own = _layer(policy, spelled, layer[1], int(layer[2]))
        allowed = ALLOWED[own.rows]
    else:
        own = _module(policy, spelled)
        allowed = ALLOWED[own.rows]
        if not colon:
            example = f"{spelled}:{allowed[0]} ({_list(allowed)})"
            raise UserError(f"{spelled} needs a reduction, as in {example}", argument="taps")
    if not colon or reduction == own.reduction:
        return own
    if reduction not in allowed:
        raise UserError(f"{spelled} cannot be reduced by '{reduction}'; expected {_list(allowed)}", argument="taps")
    return Tap(name=name, path=own.path, rows=own.rows, reduction=reduction, reads=own.reads)


def _layer(policy: nn.Module, spelled: str, tower: str, index: int) -> Tap:
    count = _num_layers(policy, tower)
    if index >= count:
        raise UserError(
            f"there is no {spelled}, the {tower} part has {count} layers; expected {tower}_layer_0 to "
            f"{tower}_layer_{count - 1}",
            argument="taps",
        )
    rows, reduction = ("pair", "action_token") if tower == "text" else ("frame", "mean")
    return Tap(name=spelled, path=f"{LAYERS[tower]}.{index}", rows=rows, reduction=reduction)


def _module(policy: nn.Module, path: str) -> Tap:
    """Any module; it has no reduction of its own."""
    try:
        known = bool(path) and policy.get_submodule(path) is not None
    except AttributeError:
        known = False
    if not known:
        raise _unknown(policy, path)
    for part, rows in SIDES.items():
        if path == part or path.startswith(f"{part}."):
            return Tap(name=path, path=path, rows=rows, reduction="")
    raise UserError(f"{path} cannot be tapped; expected a module within {_list(SIDES)}", argument="taps")


def _unknown(policy: nn.Module, spelled: str) -> UserError:
    if "." in spelled:
        near = get_close_matches(spelled, [path for path, _ in policy.named_modules()], n=3, cutoff=0)
        return UserError(f"the policy has no module '{spelled}'; the nearest are {', '.join(near)}", argument="taps")
    known = sorted(_known(policy), key=lambda name: -SequenceMatcher(None, spelled, name).ratio())
    return UserError(
        f"there is no tap point '{spelled}'; expected {', '.join(known)}, or a module as <dotted path>:<reduction>",
        argument="taps",
    )


def _known(policy: nn.Module) -> list[str]:
    layers = [f"{tower}_layer_<0-{_num_layers(policy, tower) - 1}>" for tower in LAYERS]
    return [*FIXED, *layers]


def _num_layers(policy: nn.Module, tower: str) -> int:
    layers = policy.get_submodule(LAYERS[tower])
    assert isinstance(layers, nn.ModuleList)
    return len(layers)


def _list(words) -> str:
    return ", ".join(words)
