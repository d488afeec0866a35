"""Capture: what tap points hold in each forward pass of a policy, through hooks that are gone afterwards.

    with capture(policy, resolve_taps(policy, ["context", "text_layer_12"])) as captured:
        predicted = policy(batch)
        vectors = captured.take(batch)["context"]  # one row a pair

Everything is reduced on the device, detached, in the module's own dtype, and the forward pass computes what it
computes without. Only what runs between a forward pass's begin and end counts, so that gradient checkpointing, which
runs modules again in the backward pass, adds nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.taps.places import Places, every_pair
from mobile_vla.taps.points import PIXELS, Tap
from mobile_vla.taps.reductions import REDUCTIONS, Extent

PIXELS_SIDE = 16


@contextmanager
def capture(policy: nn.Module, taps: Sequence[Tap]) -> Iterator["Captured"]:
    """Hooks on the policy while the block runs, however it ends; `UserError` where hooks would not see anything."""
    for path in ("", *(tap.path for tap in taps if tap.path is not None)):
        refuse_compiled(policy, path)
    captured = Captured(policy, taps)
    with ExitStack() as hooks:
        hooks.enter_context(policy.register_forward_pre_hook(captured.begin, with_kwargs=True))
        for tap in taps:
            if tap.path is None:
                continue
            module = policy.get_submodule(tap.path)
            if tap.reads == "input":
                hook = module.register_forward_pre_hook(partial(captured.keep_input, tap))
            else:
                hook = module.register_forward_hook(partial(captured.keep_output, tap))
            hooks.enter_context(hook)
        # Last, so that what the policy puts out is kept before.
        hooks.enter_context(policy.register_forward_hook(captured.end, always_call=True))
        yield captured


class Captured:
    """What the tap points held in the last forward pass."""

    def __init__(self, policy: nn.Module, taps: Sequence[Tap]):
        self.policy = policy
        self.taps = taps
        self._batch: Batch | None = None
        self._kept: dict[str, Tensor] = {}
        self._given: Mapping[str, Tensor] = {}
        self._running = False
        self._first = 0  # position of each sequence that the text decoder runs first

    def take(self, batch: Batch, places: Places | None = None) -> dict[str, Tensor]:
        """Tap name -> (R, ...), one row for each of the places, on the policy's device; once a forward pass.

        batch   what the policy has just been run on
        places  which of its pairs, each at which position of which window (unless given: every pair, in order, where
                it has the longest history that the batch holds)
        """
        if self._batch is None:
            raise RuntimeError("nothing was captured: run the policy on a batch, uncompiled, before each take")
        if self._batch.pair_id != batch.pair_id:
            raise RuntimeError("the policy was last run on another batch than the one that is asked for")
        kept, self._batch, self._kept = self._kept, None, {}
        silent = [tap.name for tap in self.taps if tap.name not in kept]
        if silent:
            raise UserError(
                f"{silent[0]} does not run when the policy runs; choose a module that does", argument="taps"
            )
        places = (every_pair(batch) if places is None else places).to(batch.windows.device)
        frames = batch.pair_frame[places.pairs]
        index = {"frame": (frames,), "pair": (places.pairs,), "window": (places.windows, places.positions)}
        return {tap.name: kept[tap.name][index[tap.rows]] for tap in self.taps}

    def of_frames(self) -> dict[str, Tensor]:
        """Tap name -> (U, ...), of the taps with a row for each frame of the batch that has just been run."""
        return {tap.name: self._kept[tap.name] for tap in self.taps if tap.rows == "frame"}

    def give(self, of_frames: Mapping[str, Tensor]) -> None:
        """What these taps hold of the next batch's frames, whose image tokens were computed before."""
        self._given = of_frames

    def begin(self, policy: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pass begins; what the batch brings along is read from the batch."""
        batch = kwargs["batch"] if "batch" in kwargs else args[0]
        self._batch, self._kept, self._running = batch, dict(self._given), True
        prefix = kwargs.get("prefix")
        self._first = 0 if prefix is None else prefix.length
        self._given = {}
        for tap in self.taps:
            if tap.name in self._kept:
                continue
            if tap.is_image_tokens and batch.image_tokens is not None:
                self._keep(tap, batch.image_tokens)
            elif given := _skips(tap, batch):
                raise UserError(
                    f"{tap.name} cannot be had where {given} come from a cache; turn that off", argument="taps"
                )
            elif tap.name == PIXELS:
                self._keep(tap, shrink(batch.frames))

    def end(self, policy: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A forward pass is over; one that failed has no output, and nothing to take."""
        self._running = False
        if output is None:
            self._batch = None

    def keep_input(self, tap: Tap, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._keep(tap, args[0])

    def keep_output(self, tap: Tap, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._keep(tap, output if isinstance(output, Tensor) else output[0])

    @torch.no_grad()
    def _keep(self, tap: Tap, value: Tensor) -> None:
        if not self._running:
            return
        if tap.name in self._kept:
            raise UserError(f"{tap.name} runs several times in one forward pass; tap what runs once", argument="taps")
        assert self._batch is not None
        expected = _num_rows(self._batch)[tap.rows]
        if tuple(value.shape[: len(expected)]) != expected:
            raise UserError(
                f"{tap.name} puts out {tuple(value.shape)}, not one row for each {tap.rows} "
                f"{expected}; tap another module",
                argument="taps",
            )
        if tap.reduction != "whole" and value.ndim != 3:
            raise UserError(f"{tap.name} puts out {tuple(value.shape)}, no rows of tokens to reduce", argument="taps")
        self._kept[tap.name] = REDUCTIONS[tap.reduction](value, self._extent(tap, value))

    def _extent(self, tap: Tap, value: Tensor) -> Extent:
        """How much of each row is there: all, but for the padding of texts."""
        if tap.rows != "pair":
            return Extent(torch.full(value.shape[:1], value.shape[1], device=value.device))
        assert self._batch is not None
        backbone, text_mask = self.policy.backbone, self._batch.text_mask[self._batch.pair_text]
        action, length = backbone.layout.ends(backbone.num_image_tokens, text_mask)
        return Extent(length - self._first, action - self._first)


def _num_rows(batch: Batch) -> dict[str, tuple[int, ...]]:
    """How the shape begins of what has a row for each frame, pair, or position of a window."""
    of_frames = batch.frames if batch.frames is not None else batch.image_tokens
    return {
        "frame": (0 if of_frames is None else of_frames.shape[0],),
        "pair": tuple(batch.pair_frame.shape),
        "window": tuple(batch.windows.shape),
    }


def _skips(tap: Tap, batch: Batch) -> str | None:
    """What the batch brings along that makes the tap's module not run."""
    given = {"contexts": batch.contexts, "states": batch.states, "image tokens": batch.image_tokens}
    known = next((name for name, values in given.items() if values is not None), None)
    return known if tap.rows == "frame" or (tap.rows == "pair" and known != "image tokens") else None


def shrink(frames: UInt8[Tensor, "U H V 3"]) -> Float[Tensor, "U pixels"]:
    """Mean colours of 16 x 16 fields in [0, 1], flattened row by row."""
    fields = F.adaptive_avg_pool2d(frames.permute(0, 3, 1, 2).float() / 255, PIXELS_SIDE)
    return fields.permute(0, 2, 3, 1).flatten(1)  # (U, 16 * 16 * 3)


def refuse_compiled(policy: nn.Module, path: str) -> None:
    """Hooks that are added after `torch.compile` are not run, and nothing says so."""
    module = policy
    for name in ["", *filter(None, path.split("."))]:
        module = getattr(module, name) if name else module
        if _is_compiled(module):
            where = f"{type(module).__name__} at '{path}'" if path else "the policy"
            raise UserError(
                f"probe: {where} is compiled (torch.compile), which runs no hooks; probe the policy uncompiled"
            )


def _is_compiled(module: nn.Module) -> bool:
    """By `torch.compile(module)`, by `module.compile()`, or by `module.method = torch.compile(module.method)`.

    Each leaves a compiled function in the module's own attributes, and such a function knows what it was made of.
    """
    return any(hasattr(value, "_torchdynamo_orig_callable") for value in vars(module).values())
