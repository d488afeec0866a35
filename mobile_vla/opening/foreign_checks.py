"""Are a foreign file's weights those of the policy that these settings build? Told before anything is made of them.

In: a `Foreign`, settings, and the names that are to be taken from it. Out: nothing, or a `UserError` that names the
first weight that does not fit.
"""

from collections.abc import Mapping
from typing import Any

from mobile_vla.checkpoints.fitting import BACKBONE_PARTS, infer_head
from mobile_vla.checkpoints.foreign import Foreign
from mobile_vla.checkpoints.key_maps import OURS, plain_name
from mobile_vla.checkpoints.scanning import scan
from mobile_vla.core.errors import UserError
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.skeleton import build_skeleton
from mobile_vla.training.config import TrainConfig

HEAD_PARTS = ("action_head",)
ACTION_TOKEN = "backbone.action_token"


def check_shapes(foreign: Foreign, config: TrainConfig, names: tuple[str, ...]) -> None:
    """Every name has its place in the model, in its shape; and no part is there by half."""
    chunk, components = config.data.chunk, config.data.components
    shapes = {name: shape for name, shape in foreign.shapes().items() if name in names}
    if isinstance(config.model.head, LSTMDecoderConfig):
        _check_head(foreign, shapes, chunk, components)
    skeleton = build_skeleton(config.model, chunk, len(components))
    expected = {plain_name(own): tuple(weight.shape) for own, weight in skeleton.named_parameters()}
    unexpected = [name for name in names if name not in expected]
    if unexpected:
        raise UserError(
            f"{len(unexpected)} of its weights are not part of this model (first: "
            f"{foreign.places[unexpected[0]][1]}); choose model= and model.lora as it was trained",
            argument="path",
            value=foreign.path,
        )
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise UserError(
                f"{foreign.places[name][1]} has shape {shape}, this model's has {expected[name]}; "
                "choose model.weights, model.lora and model.head as it was trained",
                argument="path",
                value=foreign.path,
            )
    _check_adapters(foreign, expected, shapes)
    layers = skeleton.backbone.num_text_layers
    if ACTION_TOKEN in names and foreign.format.keys is not OURS and not config.model.lora.trains_action_token(layers):
        raise UserError(
            "holds an action token, which would be lost: model.lora.action_token must be true",
            argument="path",
            value=foreign.path,
        )
    held = {foreign.find_part(name) for name in names}
    whole = set(BACKBONE_PARTS) if held & set(BACKBONE_PARTS) and foreign.format.name != "peft" else set()
    whole |= held & set(HEAD_PARTS)
    missing = [name for name in expected if name not in shapes and foreign.find_part(name) in whole]
    if missing:
        raise UserError(
            f"holds a part of the model and lacks {len(missing)} of its weights (first: "
            f"{missing[0]}); it is not whole, or its backbone is another one",
            argument="path",
            value=foreign.path,
        )


def _check_adapters(foreign: Foreign, expected: Mapping[str, Any], shapes: Mapping[str, Any]) -> None:
    """An adapter is whole or not there; only peft's folders may leave layers out: these are new and change nothing."""
    here = {name.partition(".lora_")[0] for name in shapes if ".lora_" in name}
    lost = [
        name
        for name in expected
        if ".lora_" in name
        and name not in shapes
        and (name.partition(".lora_")[0] in here or foreign.format.name != "peft")
    ]
    if here and lost:
        raise UserError(
            f"{len(lost)} of the adapters' weights are not there (first: {lost[0]}), and would "
            "begin anew beside those that are; the file is not whole",
            argument="path",
            value=foreign.path,
        )


def _check_head(foreign: Foreign, shapes: Mapping[str, Any], chunk: int, components: tuple[str, ...]) -> None:
    """The lab's head of another action is never loaded, also where its shape would fit by accident."""
    head = infer_head(shapes)
    if head is None:
        return
    outputs, told = head[1], foreign.action_dim
    if outputs != chunk * len(components) or told not in (None, len(components)):
        meant = f"{told} components" if told is not None else f"{outputs / chunk:g} components in chunks of {chunk}"
        raise UserError(
            f"its head puts out {outputs} numbers ({meant}), but data.components="
            f"[{','.join(components)}] and data.chunk={chunk} are {chunk * len(components)}; give both as it was "
            "trained, or load=backbone for a fresh head",
            argument="path",
            value=foreign.path,
        )


def check_values(foreign: Foreign, names: tuple[str, ...]) -> None:
    """All of them are numbers."""
    for weights in {id(w): w for w, _ in foreign.places.values()}.values():
        bad = scan(weights, [place for name in names if (place := foreign.places[name][1]) in weights.specs]).not_finite
        if bad:
            name, number = next(iter(bad.items()))
            raise UserError(
                f"{len(bad)} of its tensors hold NaN or infinity ({name} has {number} of them): "
                "such a policy puts out nothing",
                argument="path",
                value=foreign.path,
            )
