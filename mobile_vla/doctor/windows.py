"""Which position of the window can change which chunk: the head alone, one context replaced at a time.

In: a policy and the number of positions. Out: a `WindowMap`. The chunk at t must depend on all contexts up to
its own (of a head that reads only the last few: on these) and on none after it: in closed loop the later ones do not
exist yet.
"""

from dataclasses import dataclass
from typing import Any

import torch

from mobile_vla.doctor.finding import Finding, list_numbers
from mobile_vla.doctor.sample import respond
from mobile_vla.models.policy import Policy

WINDOWS = 8  # made up ones


@dataclass(frozen=True, kw_only=True)
class WindowMap:
    """changes[w][t]: largest change of the chunk at t by another context at w.

    history  contexts that a chunk should depend on, its own and those before it; None: all up to its own
    """

    changes: tuple[tuple[float, ...], ...]
    history: int | None = None

    @property
    def dead(self) -> list[int]:
        """Positions whose context changes no chunk at or after it."""
        return [w for w, row in enumerate(self.changes) if not any(row[w:])]

    @property
    def deaf(self) -> list[tuple[int, int]]:
        """(context, chunk) where the chunk should answer and does not, of contexts that reach some other chunk."""
        dead = self.dead
        return [
            (w, t)
            for w, row in enumerate(self.changes)
            if w not in dead
            for t in range(w, min(w + (self.history or len(row)), len(row)))
            if row[t] == 0
        ]

    @property
    def early(self) -> list[tuple[int, int]]:
        """(context, chunk) where a chunk depends on a later context."""
        return [(w, t) for w, row in enumerate(self.changes) for t in range(w) if row[t] > 0]


@torch.no_grad()
def map_windows(policy: Policy, window: int, seed: int = 4) -> WindowMap:
    """Contexts are made up, with the mean 0 and variance 1 of a layer norm's output."""
    generator = torch.Generator().manual_seed(seed)
    device = policy.backbone.action_token.device
    shape = (WINDOWS, window, policy.backbone.context_width)
    own, other = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
    acted = respond(policy, own)
    rows = []
    for position in range(window):
        changed = own.clone()
        changed[:, position] = other[:, position]
        rows.append(tuple((respond(policy, changed) - acted).abs().flatten(2).amax((0, 2)).tolist()))
    return WindowMap(changes=tuple(rows), history=policy.head.history)


def judge_windows(found: WindowMap) -> list[Finding]:
    """A head that reads no context, positions that it does not read, chunks that depend on later contexts."""
    numbers: dict[str, Any] = {"changes": found.changes}
    size = len(found.changes)
    if len(found.dead) == size:
        return [
            Finding(
                name="head_not_wired",
                severity="error",
                what="the chunks are exactly the same whatever contexts the head is given",
                means="no input can reach the actions",
                remedy="look at the head's weights (all zero, or saturated?) and at its forward pass",
                numbers=numbers,
            )
        ]
    findings = []
    if found.dead or found.deaf:
        which = f"position {list_numbers(found.dead)}" if found.dead else f"(context, chunk) {found.deaf[:4]}"
        findings.append(
            Finding(
                name="window_position_not_wired",
                severity="error",
                what=f"of {size} positions of the window the head does not read {which}: exactly 0 changes",
                means="what the robot saw there does not reach its actions",
                remedy="look at how the head indexes its window: the predict method of its class",
                numbers={**numbers, "dead": found.dead, "deaf": found.deaf},
            )
        )
    if found.early:
        findings.append(
            Finding(
                name="window_looks_ahead",
                severity="error",
                what=f"chunks depend on later contexts: (context, chunk) {found.early[:4]}",
                means="training sees the future, and closed-loop inference, which does not, gets other chunks",
                remedy="the head must be causal: no bidirectional layer, no normalisation over the window",
                numbers={**numbers, "early": found.early},
            )
        )
    return findings
