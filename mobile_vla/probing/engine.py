"""Runs a policy over the rows of a sampling plan and hands out what its tap points hold, batch by batch.

In: a policy, an assembler of batches, a plan and taps. Out: `ProbedRows`, to whatever stores them. Every wanted row is
computed once for each variant, where its frame has its longest history; frames that no row needs are not run. Whole
batches, of windows and their variants (see `passes`), are dealt to ranks, so that the same probe gives the same bits.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mobile_vla.core.batch import Batch, FrameId, PairId
from mobile_vla.core.pace import Pace
from mobile_vla.data.assemble import BatchAssembler, WindowRequest
from mobile_vla.data.requests import Intervention
from mobile_vla.data.windows import WindowConfig
from mobile_vla.interventions.catalog import Variant
from mobile_vla.interventions.subspace import edit_contexts
from mobile_vla.models.policy import Policy
from mobile_vla.probing.frame_memory import remember_frames
from mobile_vla.probing.passes import change_window, plan_passes, rows_of
from mobile_vla.probing.plans import SamplingPlan
from mobile_vla.sources.schema import Episode
from mobile_vla.taps.capture import Captured, capture
from mobile_vla.taps.places import Places, rows_in, start_of
from mobile_vla.taps.points import PREDICTED, Tap


@dataclass(frozen=True, kw_only=True)
class ProbedRows:
    """R rows of one batch, on the policy's device.

    taps    tap name -> (R, ...), in the module's own dtype
    predicted, chunks, chunk_mask  what the head predicts at the row's frame, what was recorded (both normalised), and
            which of that counts
    requests  of each row the window that it was taken from; empty where the batch was not made of requests
    shown   of each row what the model was shown
    """

    ids: tuple[PairId, ...]
    taps: dict[str, Tensor]
    predicted: Float[Tensor, "R C A"]
    chunks: Float[Tensor, "R C A"]
    chunk_mask: Bool[Tensor, "R C"]
    requests: tuple[WindowRequest, ...] = ()
    shown: tuple[FrameId, ...] = ()


@dataclass
class Outcome:
    """Rows that were handed out; rows that are missing because files went bad, and those (path -> why)."""

    rows: int = 0
    missing: int = 0
    broken: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def probe(
    policy: Policy,
    assembler: BatchAssembler,
    plan: SamplingPlan,
    taps: Sequence[Tap],
    sink: Callable[[ProbedRows], None],
    *,
    batch_size: int,
    interventions: Mapping[str, Intervention] | None = None,
    rank: int = 0,
    world: int = 1,
    todo: Collection[PairId] | None = None,
    progress: Callable[[int, int], None] | None = None,
    pace: Pace | None = None,
    check: Callable[[], None] = lambda: None,
) -> Outcome:
    """Hand this rank's rows to `sink`, pass by pass; batch_size bounds how many windows a pass runs (see `passes`).

    todo      rows that are still to come: batches without any are not run, others as a whole, so that bits are the same
    progress  is told of passes;  check  is called behind each, and may raise
    """
    pace = pace or Pace()
    begun = time.perf_counter()
    outcome = Outcome()
    length = assembler.windows.window
    interventions = interventions or {}
    subspaces = {
        name: change.subspace
        for name, change in interventions.items()
        if isinstance(change, Variant) and change.subspace is not None
    }
    batches = list(plan_passes(plan, assembler, batch_size, interventions))[rank::world]
    rows_for = partial(rows_of, plan=plan, episodes=assembler.episodes, window=length)
    if todo is not None:
        batches = [
            passes for passes in batches if any(id in todo for part in passes for one in part for id in rows_for(one))
        ]
    num_passes, done = sum(map(len, batches)), 0
    device = policy.backbone.action_token.device
    was_training = policy.training
    policy.eval()
    try:
        mean = None
        if any(subspace.source is None for subspace in subspaces.values()):
            mean = mean_context(policy, assembler, plan, batch_size, check)
        with capture(policy, [*taps, PREDICTED]) as captured, remember_frames(policy, captured) as memory:
            for passes in batches:
                memory.expect(len(passes))
                for requests in passes:
                    asking = time.perf_counter()
                    batch = assembler(requests)
                    pace.waiting_s += time.perf_counter() - asking
                    pace.windows += batch.num_windows
                    lost = lost_windows(batch, assembler.episodes, requests)
                    batch, prefix = memory.feed(batch)
                    batch = batch.to(device)
                    policy(batch, edit_contexts(batch, subspaces, mean), prefix=prefix)
                    memory.keep(batch)
                    rows = collect(captured, batch, plan.frames, lost, requests)
                    counts = torch.tensor([len(rows_for(request)) for request in requests])
                    assert len(rows.ids) == counts[~lost].sum(), f"{len(rows.ids)} rows of {counts[~lost].sum()}"
                    outcome.rows += len(rows.ids)
                    outcome.missing += int(counts[lost].sum())
                    outcome.broken |= dict(batch.broken)
                    sink(rows)
                    done += 1
                    if progress:
                        progress(done, num_passes)
                    check()
    finally:
        policy.train(was_training)
        pace.seconds += time.perf_counter() - begun
    return outcome


@torch.no_grad()
def mean_context(
    policy: Policy,
    assembler: BatchAssembler,
    plan: SamplingPlan,
    batch_size: int,
    check: Callable[[], None] = lambda: None,
) -> Float[Tensor, " D"]:
    """Mean over all rows of the plan as recorded, on every rank; on the policy's device."""
    device = policy.backbone.action_token.device
    total, count = torch.zeros(policy.backbone.context_width, dtype=torch.float64, device=device), 0
    for requests in chain.from_iterable(plan_passes(plan, assembler, batch_size, {})):
        batch = assembler(requests)
        places = rows_in(batch, plan.frames)
        kept = places.pairs[~lost_windows(batch, assembler.episodes, requests)[places.windows]]
        total += policy.contexts(batch.to(device))[kept.to(device)].double().sum(0)
        count += len(kept)
        check()
    return (total / max(count, 1)).float()


def collect(
    captured: Captured,
    batch: Batch,
    wanted: Mapping[str, Collection[int]],
    lost: Bool[Tensor, " S"],
    requests: Sequence[WindowRequest] = (),
) -> ProbedRows:
    """The wanted rows (frames by episode) that this batch holds, after the policy has run on it.

    `captured` has `PREDICTED` among its taps. lost: windows whose frames could not be read (see `lost_windows`).
    """
    places = rows_in(batch, wanted)
    kept = ~lost[places.windows]
    places = Places(*(part[kept] for part in places))
    taps = captured.take(batch, places)
    at = places.to(batch.chunks.device)
    return ProbedRows(
        ids=tuple(batch.pair_id[pair] for pair in places.pairs.tolist()),
        predicted=taps.pop(PREDICTED.name),
        taps=taps,
        chunks=batch.chunks[at.windows, at.positions],
        chunk_mask=batch.chunk_mask[at.windows, at.positions],
        requests=tuple(requests[window] for window in places.windows.tolist()) if requests else (),
        shown=tuple(batch.frame_id[row] for row in batch.pair_frame[at.pairs].tolist()) if batch.frame_id else (),
    )


def keep_rows(found: ProbedRows, kept: Sequence[int]) -> ProbedRows:
    """Some of the rows, by their place."""
    if len(kept) == len(found.ids):
        return found
    at = torch.tensor(kept, dtype=torch.int64)
    return ProbedRows(
        ids=tuple(found.ids[i] for i in kept),
        taps={name: values[at.to(values.device)] for name, values in found.taps.items()},
        predicted=found.predicted[at.to(found.predicted.device)],
        chunks=found.chunks[at.to(found.chunks.device)],
        chunk_mask=found.chunk_mask[at.to(found.chunk_mask.device)],
        requests=tuple(found.requests[i] for i in kept) if found.requests else (),
        shown=tuple(found.shown[i] for i in kept) if found.shown else (),
    )


def list_rows(
    plan: SamplingPlan, assembler: BatchAssembler, interventions: Mapping[str, Intervention] | None = None
) -> list[PairId]:
    """All rows that a probe hands out: those as recorded, by episode and frame, then those of each variant."""
    own = [window for passes in plan_passes(plan, assembler, 1, {}) for windows in passes for window in windows]
    changed = [change_window(name, change, window) for name, change in (interventions or {}).items() for window in own]
    return [
        id
        for request in [*own, *changed]
        if request is not None
        for id in rows_of(request, plan, assembler.episodes, assembler.windows.window)
    ]


def lost_windows(
    batch: Batch, episodes: Sequence[Episode], requests: Sequence[WindowRequest] = ()
) -> Bool[Tensor, " S"]:
    """Windows of episodes, or with frames or contexts of others, whose files went bad: what they show is black.

    requests  what the batch was made of; without them all windows are as recorded
    """
    if not batch.broken:
        return torch.zeros(batch.num_windows, dtype=torch.bool)
    paths = {path for path, _ in batch.broken}
    broken = {episode.id for episode in episodes if episode.place in paths}
    shown = [{batch.pair_id[first].episode} for first in batch.windows[:, 0].tolist()]
    for index, request in enumerate(requests):
        shown[index] |= {episodes[shown_too].id for shown_too in request.shown_episodes}
    return torch.tensor([bool(ids & broken) for ids in shown])


def uncovered(plan: SamplingPlan, episodes: Sequence[Episode], windows: WindowConfig) -> list[tuple[str, int]]:
    """Rows (episode, frame) whose longest history no validation window is: none with stride 1 and padded ends."""
    lengths = {episode.id: episode.num_frames for episode in episodes}
    return [
        (id, frame)
        for id, frames in plan.frames.items()
        for starts in [windows.starts(lengths[id])]
        for frame in frames
        if start_of(frame, windows.window) not in starts
    ]
