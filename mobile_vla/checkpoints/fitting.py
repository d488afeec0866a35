"""Which of our models a checkpoint fits, and what is missing or unexpected for it.

In: the tensors of a file by our plain names, with their shapes. Out: the settings that those shapes mean (adapters,
head), and the differences from the policy that these settings build, which is made without weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mobile_vla.checkpoints.key_maps import LM_HEAD, plain_name
from mobile_vla.checkpoints.opened import Opened
from mobile_vla.checkpoints.parts import MODEL, Parts, find_part
from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.anatomy import Anatomy
from mobile_vla.models.backbones.backbone import Backbone
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.backbones.loading import make_sketch
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.heads.head import HeadConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.skeleton import build_skeleton

Shapes = Mapping[str, tuple[int, ...]]
ELSEWHERE = Kosmos2ModelConfig.anatomy  # all formats that others write here are of Kosmos-2
BACKBONE_PARTS = ("vision", "text", "projection")
OWN_MODEL = "its own configuration"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The model that a file fits best.

    head         as its configuration says, or of a file without one as its shapes mean; None where it has none
    head_outputs  numbers that it puts out: chunk x components
    absent       parts of the policy that the file does not hold at all
    missing      names of ours, of parts that it holds in part;  unexpected  names of the file
    wrong_shape  what our name should have, and what the file has
    """

    model: str
    lora: AdapterConfig | None
    head: HeadConfig | None
    head_outputs: int | None
    absent: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]

    @property
    def exact(self) -> bool:
        return not (self.missing or self.unexpected or self.wrong_shape)


def own_shapes(opened: Opened, parts: Parts) -> dict[str, tuple[int, ...]]:
    """Shapes by our plain names, of what has a counterpart in our policy."""
    specs = opened.weights.specs
    return {own: specs[name].shape for name in specs if (own := parts.own[name]) not in (None, LM_HEAD)}


def infer_adapters(shapes: Shapes, anatomy: Anatomy = ELSEWHERE) -> AdapterConfig | None:
    """Rank, and which layers are adapted; shapes do not tell alpha and dropout, which stay as by default."""
    halves = {name: shape for name, shape in shapes.items() if ".lora_A." in name or ".lora_B." in name}
    if not halves:
        return None
    ranks = {shape[0] if ".lora_A." in name else shape[-1] for name, shape in halves.items()}
    beyond_text = any(anatomy.find_part(_in_model(name)) != "text" for name in halves)
    found = {anatomy.find_text_layer(_in_model(name)) for name in halves}
    layers = sorted(layer for layer in found if layer is not None)
    everything = layers == list(range(len(layers)))
    return AdapterConfig(
        preset="all" if beyond_text else "text",
        r=max(ranks),
        layers="all" if everything else tuple(layers),
        dora=any(".lora_magnitude_vector." in name for name in shapes),
    )


def infer_head(shapes: Shapes) -> tuple[LSTMDecoderConfig, int] | None:
    """Of the lab's head: its widths and depth, and how many numbers it puts out, chunk x components.

    None where there is no such head as a whole. Only for files that do not say which head they have.
    """
    recurrent = shapes.get("head.rnn.weight_hh_l0")
    mlp = {
        int(name.split(".")[3]): shape[0]
        for name, shape in shapes.items()
        if name.startswith("head.velocities.mlp.") and name.endswith(".weight")
    }
    if recurrent is None or not mlp:
        return None
    *hidden, outputs = (mlp[index] for index in sorted(mlp))
    layers = sum(name.startswith("head.rnn.weight_hh_l") for name in shapes)
    return LSTMDecoderConfig(hidden=recurrent[1], layers=layers, mlp=tuple(hidden)), outputs


def find_width(shapes: Shapes, anatomy: Anatomy) -> int | None:
    """Width of the contexts, from whichever part tells it."""
    for name in ("backbone.action_token", "head.rnn.weight_ih_l0", f"{MODEL}{anatomy.embeddings}.weight"):
        if name in shapes:
            return shapes[name][-1]
    queries = (
        shape[-1]
        for name, shape in shapes.items()
        if anatomy.find_text_layer(_in_model(name)) is not None and name.endswith("q_proj.lora_A.default.weight")
    )
    return next(queries, None)


def _in_model(name: str) -> str:
    """Our name of a weight without what stands before every weight of the backbone's model."""
    return name.removeprefix(MODEL)


def find_fit(opened: Opened, parts: Parts, candidates: Mapping[str, ModelConfig]) -> Fit | None:
    """The candidate with the fewest differences, the file's own configuration first, if it has one.

    None where the file holds nothing of ours, or no width agrees.
    """
    shapes = own_shapes(opened, parts)
    fits = [
        _compare(name, config, parts, shapes, size)
        for name, config, size in [*find_own(opened), *((name, config, None) for name, config in candidates.items())]
        if find_width(shapes, config.anatomy) in (None, _sketch(config).context_width)
    ]
    if not shapes or not fits:
        return None
    return min(fits, key=lambda fit: len(fit.missing) + len(fit.unexpected) + len(fit.wrong_shape))


def find_own(opened: Opened) -> list[tuple[str, ModelConfig, tuple[int, int]]]:
    """The model that a checkpoint of ours carries, with its chunk and number of components.

    Empty where it carries none that can be used here.
    """
    known: Any = opened.beside.get("mobile_vla", {})
    try:
        values = dict(known["config"]["model"])
        lora = AdapterConfig(**_tuples(values.pop("lora", {})))
        head = _tuples(values.pop("head", {}))
        config = ModelConfig.choose(values)(**values, lora=lora, head=HeadConfig.choose(head)(**head))
        _sketch(config)
        chunk, components = known["config"]["data"]["chunk"], known["actions"]["components"]
    except (KeyError, TypeError, ValueError, UserError):
        return []
    return [(OWN_MODEL, config, (chunk, len(components)))]


def _sketch(config: ModelConfig) -> Backbone:
    return make_sketch(config, config.find_architecture(download=False))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of lists that were tuples before they were stored."""

    def deep(value: Any) -> Any:
        return tuple(map(deep, value)) if isinstance(value, list) else value

    return {key: deep(value) for key, value in values.items()}


def _compare(name: str, config: ModelConfig, parts: Parts, shapes: Shapes, size: tuple[int, int] | None = None) -> Fit:
    """size  chunk and components of the head that `config` describes; without it only the shapes tell what it is"""
    anatomy = config.anatomy
    lora, head, outputs = infer_adapters(shapes, anatomy), None, None
    if size is not None and any(find_part(own, own, anatomy) == "action_head" for own in shapes):
        head, outputs = config.head, size[0] * size[1]
    elif size is None and (inferred := infer_head(shapes)):
        head, outputs = inferred
        size = (outputs, 1)
    settings = replace(config, lora=lora or AdapterConfig(preset="none"), head=head or LSTMDecoderConfig())
    policy = build_skeleton(settings, *(size or (1, 1)))
    expected = {plain_name(own): tuple(weight.shape) for own, weight in policy.named_parameters()}
    part_of = {own: find_part(own, own, anatomy) for own in expected}
    there = {find_part(own, own, anatomy) for own in shapes}
    backbone = bool(there.intersection(BACKBONE_PARTS))  # in part is not absent: its towers belong together
    held = there | set(BACKBONE_PARTS if backbone else ())
    return Fit(
        model=name,
        lora=lora,
        head=head,
        head_outputs=outputs,
        absent=tuple(sorted(set(part_of.values()) - held)),
        missing=tuple(own for own, part in part_of.items() if part in held and own not in shapes),
        unexpected=tuple(
            foreign for foreign in parts.first if parts.own[foreign] not in expected and parts.own[foreign] != LM_HEAD
        ),
        wrong_shape={
            own: (expected[own], shapes[own]) for own in expected if own in shapes and shapes[own] != expected[own]
        },
    )
