"""Tap points: where in the policy a row's vectors are read, and how each is made one vector.

In: names as users type them, and a policy, whose backbone says where its parts are. Out: `Tap`s, which know their
module, which rows its output has and how it is reduced. Names:

    context         the head's input                            image_tokens     the projection's output
    text_layer_<n>  a text layer's output at the action token   vision_layer_<n> a vision layer's output
    head_state      the head's state                            pixels           the frame at 16 x 16, a baseline

and any other module by its dotted path. `<name>:<reduction>` asks for another reduction than the name's own; a dotted
path has no own one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher, get_close_matches
from typing import Any, Literal

from torch import nn

from mobile_vla.core.errors import UserError

MODEL = "backbone.model"
PIXELS, HEAD_STATE = "pixels", "head_state"
TOWERS = ("text", "vision")
LAYER = re.compile(r"(text|vision)_layer_(\d+)")

Rows = Literal["frame", "pair", "window"]
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
    is_image_tokens  whether its module puts out image tokens: a batch may bring them along
    """

    name: str
    path: str | None
    rows: Rows
    reduction: str
    reads: Literal["output", "input"] = "output"
    is_image_tokens: bool = False

    @property
    def reads_image_part(self) -> bool:
        """Whether a row is made of the decoder's states at image tokens too, and not only of those behind them."""
        return self.rows == "pair" and self.reduction not in ("action_token", "last")


CONTEXT = "context"
FIXED = {
    CONTEXT: Tap(name=CONTEXT, path="head", rows="window", reduction="whole", reads="input"),
    HEAD_STATE: Tap(name=HEAD_STATE, path="head", rows="window", reduction="whole"),  # the head says which module
    PIXELS: Tap(name=PIXELS, path=None, rows="frame", reduction="whole"),
}
IMAGE_TOKENS = "image_tokens"
DEFAULT_TAPS = (CONTEXT, PIXELS)  # what is looked into, and what the frames themselves give away
PREDICTED = Tap(name="predicted", path="", rows="window", reduction="whole")  # what the policy puts out; no tap point


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
        own, allowed = FIXED[spelled], ("whole",)
        if spelled == HEAD_STATE:
            own = replace(own, path=_state_of_head(policy))
    elif spelled == IMAGE_TOKENS:
        path = find_projection(policy)
        own = Tap(name=spelled, path=path, rows="frame", reduction="mean", is_image_tokens=True)
        allowed = ALLOWED["frame"]
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
    return replace(own, name=name, reduction=reduction)


def _state_of_head(policy: nn.Module) -> str:
    head: Any = policy.head
    if head.state is None:
        raise UserError(
            f"{type(head).__name__} does not say which of its modules puts out its state, so there is no {HEAD_STATE}; "
            "name a module of it, as in head.<module>:whole",
            argument="taps",
        )
    return f"head.{head.state}"


def _layer(policy: nn.Module, spelled: str, tower: str, index: int) -> Tap:
    count = len(list_layers(policy, tower))
    if not count:
        raise UserError(f"there is no {spelled}, this backbone has no layers of the {tower} part", argument="taps")
    if index >= count:
        raise UserError(
            f"there is no {spelled}, the {tower} part has {count} layers; expected {tower}_layer_0 to "
            f"{tower}_layer_{count - 1}",
            argument="taps",
        )
    rows, reduction = ("pair", "action_token") if tower == "text" else ("frame", "mean")
    return Tap(name=spelled, path=list_layers(policy, tower)[index], rows=rows, reduction=reduction)


def _module(policy: nn.Module, path: str) -> Tap:
    """Any module; it has no reduction of its own."""
    try:
        known = bool(path) and policy.get_submodule(path) is not None
    except AttributeError:
        known = False
    if not known:
        raise _unknown(policy, path)
    sides = _find_sides(policy)
    for part, rows in sides.items():
        if path == part or path.startswith(f"{part}."):
            at_projection = path == find_projection(policy)
            return Tap(name=path, path=path, rows=rows, reduction="", is_image_tokens=at_projection)
    raise UserError(f"{path} cannot be tapped; expected a module within {_list(sides)}", argument="taps")


def _find_sides(policy: nn.Module) -> dict[str, Rows]:
    """What the output of a module within one of these has a row for."""
    anatomy = _anatomy(policy)
    return {
        f"{MODEL}.{anatomy.vision}": "frame",
        f"{MODEL}.{anatomy.projection}": "frame",
        f"{MODEL}.{anatomy.text}": "pair",
        "head": "window",
    }


def find_projection(policy: nn.Module) -> str:
    """The module that puts out image tokens."""
    return f"{MODEL}.{_anatomy(policy).projection}"


def list_layers(policy: nn.Module, tower: str) -> list[str]:
    """The layers of the `text` or the `vision` part, first to last; empty where it has none."""
    path = getattr(_anatomy(policy), f"{tower}_layers")
    return (
        []
        if path is None
        else [f"{MODEL}.{path}.{name}" for name, _ in policy.get_submodule(f"{MODEL}.{path}").named_children()]
    )


def _anatomy(policy: nn.Module) -> Any:
    backbone: Any = policy.backbone
    return backbone.anatomy


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
    counts = {tower: len(list_layers(policy, tower)) for tower in TOWERS}
    layers = [f"{tower}_layer_<0-{count - 1}>" for tower, count in counts.items() if count]
    return [CONTEXT, IMAGE_TOKENS, *(name for name in FIXED if name != CONTEXT), *layers]


def _list(words) -> str:
    return ", ".join(words)
