"""A trained policy in the hands of a program: it starts drives, and shows what its tap points hold.

In: a policy with what its inputs and outputs mean. Out: chunks of actions in the data's own units, frame by frame.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from mobile_vla.api.image import read_image
from mobile_vla.api.taps import Taps
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.policy import Policy
from mobile_vla.models.stepper import PolicyStepper
from mobile_vla.opening.opened import OpenedPolicy
from mobile_vla.taps.capture import capture
from mobile_vla.taps.points import DEFAULT_TAPS, resolve_taps


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedPolicy:
    """What `load` returns.

    source   the file whose weights they are
    module   the policy as a torch module, in eval mode
    actions  the components of an action and their bounds;  window  frames that the head sees
    trained  False where the head was never trained: what `act` returns means nothing then
    notes    what is otherwise than the file says, in words
    opened   how it was opened: all its settings, and episodes as it reads them
    """

    source: str
    module: Policy = field(repr=False)
    actions: ActionSpace
    prompter: Prompter = field(repr=False)
    window: int
    trained: bool
    notes: tuple[str, ...] = ()
    opened: OpenedPolicy = field(repr=False)
    _listening: list[Taps] = field(default_factory=list, init=False, repr=False)
    _numbers: Iterator[int] = field(default_factory=count, init=False, repr=False)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the A columns of a chunk: linear_x forward and linear_y left in m/s, angular_z in rad/s."""
        return self.actions.components

    @property
    def chunk(self) -> int:
        """Steps of a chunk (C)."""
        return self.module.head.chunk

    @property
    def device(self) -> torch.device:
        return self.module.backbone.action_token.device

    def start(self, instruction: str) -> "Drive":
        """Begin an episode. Any number of drives may go on side by side."""
        if not isinstance(instruction, str) or not instruction.strip():
            raise UserError(f"expected a text for the robot, got {instruction!r}", argument="instruction")
        return Drive(self, instruction, next(self._numbers))

    @contextmanager
    def capture(self, *taps: str) -> Iterator[Taps]:
        """Rows of these tap points (default: context and pixels) for every frame that a drive sees in the block.

        Names are those of `mobile-vla probe`; `UserError` for one that the policy does not have.
        """
        resolved = resolve_taps(self.module, taps or DEFAULT_TAPS)
        with capture(self.module, resolved) as captured:
            listening = Taps(captured)
            self._listening.append(listening)
            try:
                yield listening
            finally:
                self._listening.remove(listening)


class Drive:
    """One episode in closed loop: its instruction, and the queue of the last contexts.

    Training windows are consecutive frames, so every frame must come, in order: those that are not acted on go to
    `observe`.
    """

    def __init__(self, policy: LoadedPolicy, instruction: str, number: int):
        self.policy, self.instruction, self.number = policy, instruction, number
        self.num_frames = 0  # seen so far
        self._stepper = PolicyStepper(policy.module, policy.prompter, policy.actions, policy.window)
        self._stepper.reset(instruction, episode=f"drive {number}")

    def act(self, frame: Any) -> Float[np.ndarray, "C A"]:
        """The next C actions as seen from this frame: float32, in the data's own units, columns `policy.components`.

        frame  one RGB image of any size: uint8, or a float in 0..1; (height, width, 3) or (3, height, width); numpy,
               torch or PIL. `UserError` for anything else, and the frame does not count as seen
        """
        chunk = self._stepper.step(read_image(frame))
        self.num_frames += 1
        assert self._stepper.batch is not None
        for taps in self.policy._listening:
            taps.add(self._stepper.batch, self.number)
        return chunk.float().cpu().numpy()

    def observe(self, frame: Any) -> None:
        """See a frame without acting on it. Costs what `act` costs: nearly all of it is the backbone's work."""
        self.act(frame)

    def __repr__(self) -> str:
        return f"Drive({self.instruction!r}, {self.num_frames} frames seen)"
