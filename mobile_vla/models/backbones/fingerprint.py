"""Which base weights a checkpoint was trained on, in a line: it holds none of them, so it must know them again."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

ORIGIN = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "model_type")


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all parameters, before adapters; its first 16 hexadecimal digits.

    Values are hashed as bfloat16: weights read in another precision are still the same weights. About two seconds
    for the full-size model. A model on the meta device has no values and no fingerprint ('').
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        if weight.is_meta:
            return ""
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().data)
    return digest.hexdigest()[:16]


def fingerprint_trained(weights: Mapping[str, Tensor]) -> str:
    """The same of trained weights, to the last bit: a late step of training is smaller than bfloat16 can tell."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def describe_architecture(config: Any) -> dict[str, object]:
    """What weights do not tell, as a configuration of transformers says it: heads, activations, epsilons. Without where
    it comes from, and in which precision it was stored."""
    attention = [part._attn_implementation for part in (config, config.text_config, config.vision_config)]
    return {"config": _without_origin(config.to_dict()), "attention": attention}


def _without_origin(config: Mapping[Any, Any]) -> dict[Any, object]:
    return {
        name: _without_origin(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if name not in ORIGIN
    }
