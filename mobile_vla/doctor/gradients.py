"""Does a gradient reach every part that is to be trained?

In: a policy and a batch with chunks. Out: the largest gradient of each part, and findings for those with none at all.
Of an adapter the first factor has no gradient while the second is zero, as before the first step: it is left out then.
"""

from collections import defaultdict

import torch

from mobile_vla.core.batch import Batch
from mobile_vla.core.losses import masked_mean
from mobile_vla.doctor.finding import Finding
from mobile_vla.models.policy import Policy

PARTS = {"vision": "vision tower", "projection": "projection", "text": "text decoder"}
LOSS_SCALE = 2.0**16  # of a training in float16, as it begins: without it small gradients are rounded to 0


def find_gradients(policy: Policy, batch: Batch) -> dict[str, float]:
    """Largest gradient by tensor, of everything that is trained; the policy's own gradients stay as they were."""
    trained = policy.trained()
    scale = LOSS_SCALE if policy.backbone.compute_dtype == torch.float16 else 1.0
    # cuDNN's LSTM has no backward pass in eval mode.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        _, costs = policy(batch, huber_delta=1.0)
        loss = masked_mean(costs, batch.chunk_mask)
        found = torch.autograd.grad(loss * scale, list(trained.values()), allow_unused=True)
    return {
        name: 0.0 if gradient is None else float(gradient.abs().max()) / scale
        for name, gradient in zip(trained, found, strict=True)
    }


def judge_gradients(policy: Policy, largest: dict[str, float], leave_out: tuple[str, ...] = ()) -> list[Finding]:
    """leave_out  name parts of tensors that are already known not to be wired"""
    expected = [name for name in largest if not _is_behind_zero(policy, name)]
    silent = [name for name in expected if largest[name] == 0 and not any(part in name for part in leave_out)]
    if not silent:
        return []
    by_part: dict[str, list[str]] = defaultdict(list)
    for name in silent:
        by_part[part_of(policy, name)].append(name)
    told = ", ".join(f"{len(names)} of the {part}" for part, names in by_part.items())
    return [
        Finding(
            name="no_gradient",
            severity="error",
            what=f"{len(silent)} of {len(expected)} trained tensors have a gradient of exactly 0: {told}",
            means="they are in the optimizer, and stay what they are",
            remedy="look for a detach, a no_grad or a branch that is not run between them and the loss",
            numbers={"silent": silent[:40]},
        )
    ]


def summarize(policy: Policy, largest: dict[str, float]) -> dict[str, float]:
    """The largest gradient of each part."""
    found: dict[str, float] = {}
    for name, value in largest.items():
        part = part_of(policy, name)
        found[part] = max(found.get(part, 0.0), value)
    return found


def part_of(policy: Policy, name: str) -> str:
    """In words, by the name of a weight of the policy."""
    if name == "backbone.action_token":
        return "action token"
    if name.startswith("head."):
        return "head"
    part = policy.backbone.anatomy.find_part(name.removeprefix("backbone.model."))
    return "other" if part is None else PARTS[part]


def _is_behind_zero(policy: Policy, name: str) -> bool:
    """Whether it is the first factor of an adapter whose second is still zero."""
    if "lora_A" not in name:
        return False
    return not bool(policy.get_parameter(name.replace("lora_A", "lora_B")).any())
