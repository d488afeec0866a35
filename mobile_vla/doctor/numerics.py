"""Are contexts numbers that tell something, and does the precision keep their differences?

In: contexts as recorded and with other words, and the precision of the run. Out: findings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mobile_vla.doctor.finding import Finding
from mobile_vla.models.policy import Policy
from mobile_vla.taps.points import TOWERS, list_layers

ENOUGH = 4  # contexts, to call a feature constant
CONSTANT = 0.01  # share of features that may be
LARGEST_FLOAT16 = 65504.0
NEAR = 0.25  # of it: too near for comfort, a longer text or a brighter frame may be there
HALF = (torch.bfloat16, torch.float16)


def judge_contexts(contexts: Float[Tensor, "P D"]) -> list[Finding]:
    """Values that are no numbers, features that never change."""
    if not bool(torch.isfinite(contexts).all()):
        broken = int((~torch.isfinite(contexts)).any(1).sum())
        return [
            Finding(
                name="contexts_not_finite",
                severity="error",
                what=f"{broken} of {len(contexts)} contexts hold values that are no finite numbers",
                means="every loss that they reach is lost",
                remedy="compute in trainer.precision=32-true and see whether it stays; else look at the weights",
            )
        ]
    if len(contexts) < ENOUGH:
        return []
    dead = (contexts == contexts[:1]).all(0)
    share = float(dead.float().mean())
    if share <= CONSTANT:
        return []
    return [
        Finding(
            name="context_features_constant",
            severity="warning",
            what=f"{int(dead.sum())} of {len(dead)} features of the context are the same over {len(contexts)} frames",
            means="the head reads fewer numbers than it looks",
            remedy="look at the decoder's last layer norm, and at the precision: rounding makes near ones equal",
            numbers={"features": int(dead.sum()), "share": share},
        )
    ]


def judge_rounding(own: Float[Tensor, "P D"], other: Float[Tensor, "P D"], dtype: torch.dtype) -> list[Finding]:
    """In half precision: are the differences by other words larger than its rounding?"""
    if dtype not in HALF:
        return []
    step = torch.finfo(dtype).eps * own.abs()
    kept = float(((other - own).abs() > step).float().mean())
    if kept >= 0.5:
        return []
    return [
        Finding(
            name="differences_rounded",
            severity="warning",
            what=f"in {dtype} only {kept:.0%} of a context's features move by more than rounding with other words",
            means="what the instruction changes is lost in the precision",
            remedy="train and probe in trainer.precision=32-true",
            numbers={"kept": kept},
        )
    ]


@contextmanager
def watch_layers(policy: Policy) -> Iterator[dict[str, float]]:
    """The largest activation behind each layer of both towers, while the block runs."""
    largest: dict[str, float] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple, output: Any) -> None:
            states = output if isinstance(output, Tensor) else output[0]
            largest[name] = max(largest.get(name, 0.0), float(states.detach().float().abs().max()))

        return hook

    hooks = [
        policy.get_submodule(path).register_forward_hook(keep(f"{tower}_layer_{index}"))
        for tower in TOWERS
        for index, path in enumerate(list_layers(policy, tower))
    ]
    try:
        yield largest
    finally:
        for hook in hooks:
            hook.remove()


def judge_overflow(largest: dict[str, float], dtype: torch.dtype) -> list[Finding]:
    """Only where float16 is computed in: bfloat16 has float32's range."""
    worst = max(largest, key=lambda name: largest[name])
    if dtype != torch.float16 or largest[worst] < NEAR * LARGEST_FLOAT16:
        return []
    return [
        Finding(
            name="float16_overflow",
            severity="warning",
            what=f"activations reach {largest[worst]:.0f} behind {worst}; float16 ends at {LARGEST_FLOAT16:.0f}",
            means="a step away from infinity, and from a loss that is no number",
            remedy="use trainer.precision=bf16-mixed",
            numbers={"layer": worst, "largest": largest[worst]},
        )
    ]
