"""Runs a policy over the rows of a sampling plan and hands out what its tap points hold, batch by batch.

In: a policy, an assembler of batches, a plan and taps. Out: `ProbedRows`, to whatever stores them. Every wanted row is
computed once for each variant, where its frame has its longest history; frames that no row needs are not run. Which
windows make which batch is a function of plan, batch size and interventions alone, so the same probe gives the same
bits, and whole batches are dealt to ranks.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mobile_vla.batch import Batch, PairId
from mobile_vla.contexts.capture import Captured, capture
from mobile_vla.contexts.places import Places, rows_in, start_of, starts_of
from mobile_vla.contexts.plans import SamplingPlan
from mobile_vla.contexts.taps import PREDICTED, Tap
from mobile_vla.data.assemble import BatchAssembler, WindowRequest
from mobile_vla.data.opening import printable
from mobile_vla.data.schema import Episode
from mobile_vla.data.windows import WindowConfig
from mobile_vla.errors import UserError
from mobile_vla.models.policy import Policy
from mobile_vla.training.evaluation import Intervention, Pace


@dataclass(frozen=True, kw_only=True)
class ProbedRows:
    """R rows of one batch, on the policy's device.

    taps    tap name -> (R, ...), in the module's own dtype
    predicted, chunks, chunk_mask  what the head predicts at the row's frame, what was recorded (both normalised), and
            which of that counts
    requests  of each row the window that it was taken from; empty where the batch was not made of requests
    """

    ids: tuple[PairId, ...]
    taps: dict[str, Tensor]
    predicted: Float[Tensor, "R C A"]
    chunks: Float[Tensor, "R C A"]
    chunk_mask: Bool[Tensor, "R C"]
    requests: tuple[WindowRequest, ...] = ()


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
    progress: Callable[[int, int], None] | None = None,
    pace: Pace | None = None,
) -> Outcome:
    """Hand this rank's rows to `sink`; batch_size counts windows as recorded, variants of them come on top."""
    pace = pace or Pace()
    begun = time.perf_counter()
    outcome = Outcome()
    length = assembler.windows.window
    batches = list(_batches(plan, assembler, batch_size, interventions or {}))[rank::world]
    device = policy.backbone.action_token.device
    was_training = policy.training
    policy.eval()
    try:
        with capture(policy, [*taps, PREDICTED]) as captured:
            for done, requests in enumerate(batches, start=1):
                asking = time.perf_counter()
                batch = assembler(requests)
                pace.waiting_s += time.perf_counter() - asking
                pace.windows += batch.num_windows
                lost = lost_windows(batch, assembler.episodes, requests)
                batch = batch.to(device)
                policy(batch)
                rows = collect(captured, batch, plan.frames, lost, requests)
                counts = torch.tensor([_count_rows(r, plan, assembler.episodes, length) for r in requests])
                assert len(rows.ids) == counts[~lost].sum(), f"{len(rows.ids)} rows of {counts[~lost].sum()}"
                outcome.rows += len(rows.ids)
                outcome.missing += int(counts[lost].sum())
                outcome.broken |= dict(batch.broken)
                sink(rows)
                if progress:
                    progress(done, len(batches))
    finally:
        policy.train(was_training)
        pace.seconds += time.perf_counter() - begun
    return outcome


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
    )


def lost_windows(
    batch: Batch, episodes: Sequence[Episode], requests: Sequence[WindowRequest] = ()
) -> Bool[Tensor, " S"]:
    """Windows of episodes, or with the frames of donors, whose files went bad: what they show is black.

    requests  what the batch was made of; without them all windows are as recorded
    """
    if not batch.broken:
        return torch.zeros(batch.num_windows, dtype=torch.bool)
    paths = {path for path, _ in batch.broken}
    broken = {episode.id for episode in episodes if printable(str(episode.path)) in paths}
    shown = [{batch.pair_id[first].episode} for first in batch.windows[:, 0].tolist()]
    for index, request in enumerate(requests):
        if request.donor is not None:
            shown[index].add(episodes[request.donor].id)
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


def _batches(
    plan: SamplingPlan, assembler: BatchAssembler, batch_size: int, interventions: Mapping[str, Intervention]
) -> Iterator[list[WindowRequest]]:
    """The windows that the rows need, in order, with their variants beside them so that these share image tokens."""
    index = {episode.id: i for i, episode in enumerate(assembler.episodes)}
    gone = [id for id in plan.frames if id not in index]
    if gone:
        raise UserError(
            f"the sampling plan names {len(gone)} episodes that are not in the data (first: {gone[0]}); make a new plan"
        )
    own = [
        WindowRequest(episode=index[id], start=start)
        for id, frames in plan.frames.items()
        for start in starts_of(frames, assembler.windows.window)
    ]
    for first in range(0, len(own), batch_size):
        requests = own[first : first + batch_size]
        changed = [(name, change(request)) for name, change in interventions.items() for request in requests]
        yield requests + [replace(request, variant=name) for name, request in changed if request is not None]


def _count_rows(request: WindowRequest, plan: SamplingPlan, episodes: Sequence[Episode], window: int) -> int:
    """Rows that this window is run for."""
    frames = plan.frames[episodes[request.episode].id]
    return sum(start_of(frame, window) == request.start for frame in frames)
