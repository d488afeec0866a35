"""Float32 on the device against float32 on the CPU: the same weights, the same window, dropout off, no TF32.

Adapters and action token are moved away from where training begins, so that every weight has a gradient. Differences
are norms: of the difference, as a share of what the CPU computed.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.gpu.bench import ALL, FLOAT32, Bench, draw_batch
from benchmarks.gpu.findings import Note
from benchmarks.gpu.words import CONTEXTS, DIFFERENCE, GRADIENTS
from benchmarks.table import Line
from mobile_vla.core.batch import Batch, gather_windows
from mobile_vla.evaluation.losses import masked_huber
from mobile_vla.models.policy import Policy

LOSS = "loss"


def run(bench: Bench) -> Iterator[Line | Note]:
    setting = bench.setting(ALL, precision=FLOAT32)
    policy, batch = setting.policy, draw_batch(setting, 1)
    stir(policy)
    with bench.device.exact():
        found = compute(policy, batch.to(bench.device.name))
    expected = compute(policy.cpu(), batch)
    yield from compare(found, expected)
    bench.drop()  # its weights are no longer those that were drawn


@torch.no_grad()
def stir(policy: Policy) -> None:
    for weight in policy.trained().values():
        weight.add_(0.02 * torch.randn_like(weight))


def compute(policy: Policy, batch: Batch) -> dict[str, Tensor]:
    """Contexts, loss and gradients, on the CPU."""
    policy.zero_grad()
    contexts = policy.contexts(batch)
    predicted = policy.head(gather_windows(contexts, batch.windows))
    loss = masked_huber(predicted, batch.chunks, batch.chunk_mask, delta=1.0)
    loss.backward()
    gradients = {name: weight.grad for name, weight in policy.trained().items()}
    missing = [name for name, gradient in gradients.items() if gradient is None]
    assert not missing, f"{missing[0]} has no gradient"
    found = {CONTEXTS: contexts.detach(), LOSS: loss.detach(), **gradients}
    return {name: value.cpu() for name, value in found.items()}


def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> Iterator[Line | Note]:
    for name in (CONTEXTS, LOSS):
        yield Line.number(name, differ([found[name]], [expected[name]]), DIFFERENCE)
    weights = [name for name in expected if name not in (CONTEXTS, LOSS)]
    whole = differ([found[name] for name in weights], [expected[name] for name in weights])
    yield Line.number(GRADIENTS, whole, DIFFERENCE)
    each = {name: differ([found[name]], [expected[name]]) for name in weights}
    worst = max(each, key=lambda name: each[name])
    yield Line.number(f"gradient that differs most: {worst}", each[worst], DIFFERENCE)


def differ(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm, of all of them together."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True)]
    difference = sum(float((a - b).square().sum()) for a, b in pairs)
    return (difference / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5
