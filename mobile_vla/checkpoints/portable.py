"""A policy as a folder that peft, transformers and safetensors load without this package.

`adapter_config.json` + `adapter_model.safetensors` are the adapters, `head.safetensors` the action head and the action
token, `head.json` all that these need to mean something, in plain words. What nobody else can have is put beside them:
`base/` where the base weights are random or were trained as a whole, `merged/` with the adapters in the weights.

In: a policy in float32 on the CPU. Out: the folder; `head.json` is written last and says that it is whole.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor

import mobile_vla
from mobile_vla.checkpoints.backbone_folder import plain_weights, write_backbone, write_readers
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.durable import replaced, write_text
from mobile_vla.models.backbones.layouts import Layout
from mobile_vla.models.backbones.loading import Source
from mobile_vla.models.backbones.model_config import RANDOM
from mobile_vla.models.policy import Policy

SCHEMA = 1
HEAD, HEAD_WEIGHTS = "head.json", "head.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE, MERGED = "base", "merged"
TOKEN = "action_token"
PEFT_PREFIX = "base_model.model."  # of every name in an adapter's file


def write_portable(
    policy: Policy, source: Source, actions: ActionSpace, window: int, more: Mapping[str, Any], out: Path, merge: bool
) -> dict[str, Any]:
    """Write the folder `out`, which exists; returns what `head.json` says. With `merge` the policy is changed.

    window  frames that the head sees;  more  further fields of `head.json`
    """
    model, preset = policy.backbone.model, policy.backbone.config.lora.preset
    config = source.config
    own_base = preset == "full" or (config.weights == RANDOM and config.saves_folder)
    as_folder = own_base and config.saves_folder  # else its base is made again from its settings
    has_adapters = policy.backbone.config.lora.has_adapters
    write_readers(source.tokenizer, policy.preprocessing, out)
    if own_base:
        write_backbone(plain_weights(model), source, policy.preprocessing, out / BASE)
    if has_adapters:
        _write_adapters(policy, None if own_base else config.weights, out)
    state = dict(policy.head.named_parameters())
    _write_tensors({**state, TOKEN: policy.backbone.action_token}, out / HEAD_WEIGHTS)
    if merge and has_adapters:
        for layer in model.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.merge(safe_merge=True)
        write_backbone(plain_weights(model), source, policy.preprocessing, out / MERGED)
    about = {
        "schema": SCHEMA,
        "version": mobile_vla.__version__,
        **_describe(policy, actions, window),
        "backbone": _describe_backbone(policy, as_folder),
        "base": {
            "weights": None if as_folder else config.weights,
            "folder": BASE if as_folder else None,
            "fingerprint": policy.base_fingerprint,
        },
        "adapters": has_adapters,
        "merged": MERGED if merge and has_adapters else None,
        **more,
    }
    write_text(out / HEAD, json.dumps(about, indent=1, ensure_ascii=False))
    return about


def _describe(policy: Policy, actions: ActionSpace, window: int) -> dict[str, Any]:
    """How inputs are read, what the head is, what its output means."""
    head, backbone, reading = policy.head, policy.backbone, policy.preprocessing
    layout: Layout = backbone.layout
    settings = json.loads(json.dumps(asdict(head.config)))
    return {
        "head": {
            **settings,
            "what": head.config.what or head.config.describe(),
            "input": backbone.context_width,
            "window": window,
            "output": f"window x chunk x components, {'in [-1, 1]' if head.bounded else 'normalised'}",
            "chunk": head.chunk,
            "settings": settings,  # once more, by themselves: a head's settings may be called like what is above
            "description": head.config.describe(),
            "modules": list(dict.fromkeys(name.partition(".")[0] for name, _ in head.named_parameters())),
            "code": head.config.plain_code(backbone.context_width, head.chunk, head.num_components),
        },
        "actions": {
            "components": list(actions.components),
            "low": list(actions.low),
            "high": list(actions.high),
            "meaning": "velocity = (output + 1) / 2 * (high - low) + low; m/s, angular_z rad/s, where the data were in "
            "these units",
        },
        "sequence": {
            "layout": backbone.layout.name,
            "before_image": list(layout.before_image),
            "image_tokens": backbone.num_image_tokens,
            "behind_image": list(layout.behind_image),
            "prompt": backbone.config.prompt,
            "behind_action": list(layout.behind_action),
            "image_over_text": layout.over_text,
            "context": "the text decoder's last hidden state, behind its layer norm, at the action token",
        },
        "preprocessing": {
            "size": reading.size,
            "interpolation": reading.interpolation,
            "mean": list(reading.mean),
            "std": list(reading.std),
        },
    }


def _describe_backbone(policy: Policy, has_folder: bool) -> dict[str, Any]:
    """What builds it again, but for its weights; with a folder these are there. How frames are read is said apart."""
    settings = policy.backbone.config.list_own_settings()
    left_out = ("preprocessing", "architecture", "weights_seed") if has_folder else ("preprocessing",)
    return {name: value for name, value in settings.items() if name not in left_out}


def _write_adapters(policy: Policy, base: str | None, out: Path) -> None:
    """Names and configuration are peft's own."""
    model = policy.backbone.model
    state = get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False)
    _write_tensors({f"{PEFT_PREFIX}{name}": weight for name, weight in state.items()}, out / ADAPTER_WEIGHTS)
    config = model.peft_config["default"]
    known = {**config.to_dict(), "base_model_name_or_path": base, "inference_mode": True}
    write_text(out / ADAPTER_CONFIG, json.dumps(known, indent=1, sort_keys=True, default=_as_list))


def _as_list(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def _write_tensors(state: Mapping[str, Tensor], file: Path) -> None:
    with replaced(file) as part:
        save_file({name: weight.detach().cpu().contiguous() for name, weight in state.items()}, part, {"format": "pt"})
