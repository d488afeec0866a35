"""Which windows a probe runs together.

In: a sampling plan, the episodes, interventions. Out: batches, each a list of passes: first the windows as recorded,
then their variants, which are run beside them so that they share what was made of their frames (`frame_memory`). No
pass runs the decoder for more than the frames of `batch_size` windows, or of one window with all variants that share
its contexts. All of it is a function of plan, batch size and interventions alone, and the first pass of a batch is the
same with variants and without.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mobile_vla.core.batch import PairId
from mobile_vla.core.errors import UserError
from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.data.requests import Intervention, WindowRequest
from mobile_vla.interventions.catalog import Variant
from mobile_vla.probing.plans import SamplingPlan
from mobile_vla.sources.schema import Episode
from mobile_vla.taps.places import start_of, starts_of

Pass = list[WindowRequest]


def plan_passes(
    plan: SamplingPlan, assembler: BatchAssembler, batch_size: int, interventions: Mapping[str, Intervention]
) -> Iterator[list[Pass]]:
    """Batch by batch; the last one may be smaller."""
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
    bundles = _bundle(interventions)
    for first in range(0, len(own), batch_size):
        recorded = own[first : first + batch_size]
        passes = [recorded]
        for names, load in bundles:
            size = max(batch_size // load, 1)
            for begin in range(0, len(recorded), size):
                windows = recorded[begin : begin + size]
                changed = [change_window(name, interventions[name], window) for name in names for window in windows]
                passes.append([window for window in changed if window is not None])
        yield [requests for requests in passes if requests]


def rows_of(request: WindowRequest, plan: SamplingPlan, episodes: Sequence[Episode], window: int) -> list[PairId]:
    """Rows that this window is run for."""
    episode = episodes[request.episode]
    text = episode.instruction if request.instruction is None else request.instruction
    return [
        PairId(episode.id, frame, text, request.variant)
        for frame in plan.frames[episode.id]
        if start_of(frame, window) == request.start
    ]


def change_window(name: str, change: Intervention, request: WindowRequest) -> WindowRequest | None:
    """The window changed, and called so."""
    changed = change(request)
    return None if changed is None else replace(changed, variant=name)


def _bundle(interventions: Mapping[str, Intervention]) -> list[tuple[list[str], int]]:
    """Variants that are run in one pass since they need the same contexts; and how often they run a window's frames.

    A variant alone, or all whose subspaces take their part from the same source, with that source.
    """
    bundles: dict[str, list[str]] = {}
    for name, change in interventions.items():
        source = change.subspace.source if isinstance(change, Variant) and change.subspace is not None else None
        bundles.setdefault(source or name, []).append(name)
    return [(names, len(names) + (source not in names)) for source, names in bundles.items()]
