"""What a checkpoint holds of the model, and how it comes back: trained weights by name, and never a silent gap.

A checkpoint knows which base it was trained on, which layout and preprocessing, and what its actions mean. Loading
one into a policy checks all of it and stops on any name that is missing or unexpected.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mobile_vla
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.fingerprint import fingerprint_trained
from mobile_vla.models.policy import Policy

SCHEMA = 1


def trained_state(policy: Policy) -> dict[str, Tensor]:
    """Trained weights by their name in the policy, as they are (no copies)."""
    return {name: weight.detach() for name, weight in policy.trained().items()}


def metadata(policy: Policy, actions: ActionSpace, config: Mapping[str, Any]) -> dict[str, Any]:
    """All that the weights need to mean something; plain values only, so that loading needs no unpickling.

    The policy is as training begins with it: checkpoints of later steps know by a fingerprint which one it was.
    """
    return {
        "schema": SCHEMA,
        "version": mobile_vla.__version__,
        "base_fingerprint": policy.base_fingerprint,
        "start_fingerprint": fingerprint_trained(policy.trained()),
        **_reading(policy),
        "actions": {
            "components": list(actions.components),
            "low": list(actions.low),
            "high": list(actions.high),
        },
        "parameters": policy.num_parameters(),
        "config": dict(config),
    }


def _reading(policy: Policy) -> dict[str, Any]:
    """How the policy reads its inputs: the same weights with another reading are another policy."""
    preprocessing = policy.preprocessing
    return {
        "layout": policy.backbone.layout.name,
        "prompt": policy.backbone.config.prompt,
        "preprocessing": {
            "size": preprocessing.size,
            "interpolation": preprocessing.interpolation,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
        },
    }


def check_fits(policy: Policy, checkpoint: Mapping[str, Any]) -> None:
    """`UserError` unless it was trained on this base and holds exactly what this policy trains, in the same shapes."""
    base = checkpoint["mobile_vla"]["base_fingerprint"]
    if base != policy.base_fingerprint:
        raise UserError(
            f"the checkpoint was trained on other base weights (fingerprint {base}, here {policy.base_fingerprint}); "
            "model.weights must be the same model"
        )
    for name, here in _reading(policy).items():
        there = checkpoint["mobile_vla"][name]
        if there != here:
            raise UserError(f"the checkpoint was trained with {name} {there}, this model has {here}; they must agree")
    state, trained = checkpoint["state_dict"], policy.trained()
    missing = sorted(trained.keys() - state.keys())
    unexpected = sorted(state.keys() - trained.keys())
    if missing or unexpected:
        raise UserError(
            f"the checkpoint does not fit this model: {len(missing)} trained weights missing (first: "
            f"{missing[:1]}), {len(unexpected)} unexpected (first: {unexpected[:1]}); its own config.yaml says which "
            "model, adapters and head it was trained with"
        )
    for name, weight in trained.items():
        if weight.shape != state[name].shape:
            raise UserError(
                f"the checkpoint does not fit this model: {name} has shape {tuple(state[name].shape)}, expected "
                f"{tuple(weight.shape)}"
            )


def check_start(policy: Policy, checkpoint: Mapping[str, Any]) -> None:
    """`UserError` unless the policy is, to the last bit, the one that the checkpoint's training began with."""
    check_fits(policy, checkpoint)
    there, here = checkpoint["mobile_vla"].get("start_fingerprint"), fingerprint_trained(policy.trained())
    if there is None:
        raise UserError(
            "the checkpoint does not say which adapters and head its run began with; repeat the run "
            "with config=<run>/config.yaml",
            argument="checkpoint",
            value="start",
        )
    if there != here:
        raise UserError(
            f"the run began with other adapters and head (fingerprint {there}, made anew here "
            f"{here}); its own seed, and the torch version that its machine.json names, make the same",
            argument="checkpoint",
            value="start",
        )


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint of ours, memory-mapped, nothing unpickled but plain values; `UserError` for anything else."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise UserError(f"no such checkpoint: {file}") from error
    except Exception as error:  # torch raises a dozen kinds on a damaged file
        reason = str(error).strip().split("\n")[0][:160]
        raise UserError(f"{file} is no readable checkpoint: {reason}") from error
    schema = content.get("mobile_vla", {}).get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{file} is no checkpoint of this package (schema {schema}, expected {SCHEMA})")
    return content


def load_trained(policy: Policy, file: Path) -> dict[str, Any]:
    """Put a checkpoint's weights into `policy` (built with the same configuration); returns its metadata."""
    content = read_checkpoint(file)
    check_fits(policy, content)
    with torch.no_grad():
        for name, weight in policy.trained().items():
            weight.copy_(content["state_dict"][name])
    return content["mobile_vla"]


def action_space(known: Mapping[str, Any]) -> ActionSpace:
    """The action space that a checkpoint's metadata describes."""
    actions = known["actions"]
    return ActionSpace(components=tuple(actions["components"]), low=tuple(actions["low"]), high=tuple(actions["high"]))
