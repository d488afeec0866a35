"""What the weights weigh and cost on this machine: parameters, memory, the speed of one training step.

In: a case, as training begins with it. Out: findings with numbers, each passed or not.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

import torch

from mobile_vla.checkpoints.parts import find_part
from mobile_vla.core.batch import Batch
from mobile_vla.doctor.case import Case
from mobile_vla.doctor.finding import Finding
from mobile_vla.models.backbones.anatomy import Part
from mobile_vla.models.memory import StepConfig, estimate_memory, make_batch
from mobile_vla.models.policy import Policy
from mobile_vla.models.skeleton import build_skeleton

GB = 2**30
STEPS = 3  # on a GPU, behind one that is not counted; on a CPU one is enough


def judge_machine(case: Case) -> list[Finding]:
    """The policy is left as it was, and so are torch's random numbers."""
    data = case.config.data
    step = StepConfig(
        batch_size=data.batch_size,
        window=data.window,
        span=data.span,
        chunk=data.chunk,
        components=len(data.components),
    )
    frames = step.shared_frames
    estimated = estimate_memory(_build_skeleton(case), step, frames)
    room = _find_room(case.policy)
    numbers: dict[str, Any] = {"frames": frames, "estimated": estimated.total, "room": room}
    told = f"a training step over {frames} frames takes {estimated.total / GB:.1f} GiB (estimated)"
    if estimated.total <= room:
        fits = Finding(
            name="memory", severity="passed", what=f"{told}, and {room / GB:.1f} GiB are there", means="", remedy="",
            numbers=numbers,
        )  # fmt: skip
    else:
        fits = Finding(
            name="memory_lacking",
            severity="warning",
            what=f"{told}, and only {room / GB:.1f} GiB are there",
            means="training will end with an out-of-memory error, or swap",
            remedy="data.batch_size=1 with trainer.accumulate_grad_batches=8, or model.gradient_checkpointing=true",
            numbers=numbers,
        )
    return [_count(case.policy, case.source.config.published), fits, _time_step(case.policy, data.window)]


def _count(policy: Policy, published: Mapping[Part, int]) -> Finding:
    """By part; adapters and head are ours."""
    counts: dict[str, int] = {}
    for name, weight in policy.named_parameters():
        part = find_part(name, name, policy.backbone.anatomy)
        counts[part] = counts.get(part, 0) + weight.numel()
    own = {part: counts.get(part, 0) for part in ("vision", "projection", "text")}
    told = f"{sum(own.values()):,} parameters (" + ", ".join(f"{part} {number:,}" for part, number in own.items()) + ")"
    as_published = own == published
    also = "as published" if as_published else "another size than the one whose counts are known"
    numbers = {"counts": counts, "published": dict(published), "as_published": as_published}
    return Finding(name="parameters", severity="passed", what=f"{told}: {also}", means="", remedy="", numbers=numbers)


def _build_skeleton(case: Case) -> Policy:
    skeleton = build_skeleton(case.config.model, case.config.data.chunk, len(case.config.data.components))
    skeleton.backbone.compute_in(case.policy.backbone.compute_dtype)
    return skeleton


def _find_room(policy: Policy) -> int:
    """Bytes: of a GPU's memory what is free and what the policy itself takes, else all that the machine has."""
    device = policy.backbone.device
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + sum(weight.nbytes for weight in policy.parameters())
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _time_step(policy: Policy, window: int) -> Finding:
    step = StepConfig(batch_size=1, window=window, chunk=policy.head.chunk, components=policy.head.num_components)
    device = policy.backbone.device
    batch = make_batch(policy, step, window).to(device)
    on_gpu = device.type == "cuda"
    devices = [device] if on_gpu else []
    policy.train()
    try:
        with torch.random.fork_rng(devices=devices):
            if on_gpu:
                _run(policy, batch)
                torch.cuda.synchronize(device)
            begun, steps = time.perf_counter(), STEPS if on_gpu else 1
            for _ in range(steps):
                _run(policy, batch)
            if on_gpu:
                torch.cuda.synchronize(device)
            took = (time.perf_counter() - begun) / steps
    finally:
        policy.eval()
    dtype = str(policy.backbone.compute_dtype).removeprefix("torch.")
    what = f"forward and backward over {window} frames take {took:.2f} s on {device.type} in {dtype}"
    numbers = {"seconds": took, "frames": window, "frames_per_s": window / took, "device": device.type, "dtype": dtype}
    return Finding(name="speed", severity="passed", what=what, means="", remedy="", numbers=numbers)


def _run(policy: Policy, batch: Batch) -> None:
    with torch.enable_grad():
        torch.autograd.grad(policy(batch).square().mean(), list(policy.trained().values()), allow_unused=True)
