"""Are the adapters there, switched on, trained, and those of the checkpoint? And is there an action token and a head?

In: a policy, what its settings promise, and the state of the checkpoint. Out: findings.
"""

import re
from collections.abc import Mapping

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from mobile_vla.core.batch import Batch
from mobile_vla.doctor.finding import Finding
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.policy import Policy


def judge_parts(policy: Policy) -> list[Finding]:
    """What can be told from the weights alone: a head that is frozen, an action token of zeros."""
    findings = []
    frozen = [name for name, weight in policy.head.named_parameters() if not weight.requires_grad]
    if frozen:
        total = len(list(policy.head.parameters()))
        findings.append(
            Finding(
                name="head_frozen",
                severity="error",
                what=f"{len(frozen)} of {total} tensors of the action head are not trained (first: {frozen[0]})",
                means="a head with random weights stays random",
                remedy="leave requires_grad of the head's weights on",
                numbers={"frozen": frozen},
            )
        )
    token = policy.backbone.action_token
    if not bool(token.detach().any()):
        findings.append(
            Finding(
                name="action_token_zero",
                severity="error",
                what="the action token is all zeros",
                means="it adds no content of its own to its position, and weight decay and norms may keep it at zero",
                remedy="begin with random values (backbones/backbone.py does); an imported checkpoint may have it so",
            )
        )
    return findings


@torch.no_grad()
def judge_adapters(policy: Policy, config: AdapterConfig, batch: Batch, trained: bool) -> list[Finding]:
    """trained  whether the weights have seen training: before it the second factors are zero, as they should be"""
    if not config.has_adapters:
        return []
    model = policy.backbone.model
    layers = {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    wanted = re.compile(policy.backbone.targets)
    bare = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and wanted.fullmatch(name)]
    findings = []
    if bare:
        findings.append(
            Finding(
                name="adapters_missing",
                severity="error",
                what=f"{len(bare)} linear layers that model.lora names have no adapter (first: {bare[0]})",
                means="these layers stay frozen",
                remedy="look at the `linears` of the backbone's Anatomy, which must match the full names of the layers",
                numbers={"missing": bare[:20]},
            )
        )
    second = {name: weight for name, weight in model.named_parameters() if "lora_B" in name}
    empty = [name for name, weight in second.items() if not bool(weight.any())]
    if trained and second and len(empty) == len(second):
        findings.append(
            Finding(
                name="adapters_untrained",
                severity="error",
                what=f"the second factors of all {len(second)} adapters are still zero after training",
                means="training did not reach the adapters: the backbone still computes what the base model does",
                remedy="see the gradients below; the optimizer must hold the adapters, and their rate must not be 0",
                numbers={"adapters": len(second)},
            )
        )
    if len(empty) < len(second):
        on, off = _switch_on_and_off(policy, layers, batch)
        if torch.equal(on, off):
            findings.append(
                Finding(
                    name="adapters_inactive",
                    severity="error",
                    what=f"{len(layers)} adapters change the context by exactly 0, though their weights are not zero",
                    means="the adapters are there but switched off: the backbone computes what the base model does",
                    remedy="enable them (peft: set_adapter, enable_adapters), and look for a second, merged copy",
                    numbers={"adapters": len(layers)},
                )
            )
    return findings


def judge_loaded(policy: Policy, state: Mapping[str, Tensor]) -> list[Finding]:
    """What the policy holds against what the checkpoint holds, to the last bit."""
    differ = [
        name
        for name, weight in policy.named_parameters()
        if name in state and not torch.equal(weight.detach().cpu(), state[name].to(weight.dtype))
    ]
    if not differ:
        return []
    return [
        Finding(
            name="weights_not_loaded",
            severity="error",
            what=f"{len(differ)} of {len(state)} trained tensors differ from the checkpoint's (first: {differ[0]})",
            means="adapters or head were initialised anew: what is computed is not what was trained",
            remedy="load with checkpoints.trained.load_trained, after all that draws at random",
            numbers={"differ": differ[:20]},
        )
    ]


def _switch_on_and_off(policy: Policy, layers: Mapping[str, BaseTunerLayer], batch: Batch) -> tuple[Tensor, Tensor]:
    """Contexts as the policy is, and with every adapter switched off; the policy is left as it was."""
    as_it_is = policy.contexts(batch)
    before = {name: layer.disable_adapters for name, layer in layers.items()}
    try:
        for layer in layers.values():
            layer._disable_adapters = True
        return as_it_is, policy.contexts(batch)
    finally:
        for name, layer in layers.items():
            layer._disable_adapters = before[name]
