"""Packs the frames of many episodes before training starts, in parallel, and names the files that cannot be read."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial

from mobile_vla.data.frames import PackedFrames
from mobile_vla.data.layouts import BrokenEpisode
from mobile_vla.data.schema import Episode, Fault
from mobile_vla.errors import UserError

EPISODES_A_PROCESS = 24  # starting a process costs about as much as packing this many episodes


def pack_all(
    frames: PackedFrames,
    episodes: Sequence[Episode],
    progress: Callable[[int, int], None] | None = None,
) -> list[Fault]:
    """Pack what is not packed yet; the faults are the files whose frames could not be read."""
    missing = [episode for episode in episodes if not frames.has(episode)]
    num_processes = min(os.cpu_count() or 1, len(missing) // EPISODES_A_PROCESS)
    pool: Executor | nullcontext[None] = nullcontext()
    if num_processes > 1:
        pool = ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn"))
    faults = []
    try:
        with pool as executor:
            results = (executor.map if executor else map)(partial(_pack_one, frames), missing)
            for done, (episode, reason) in enumerate(zip(missing, results, strict=True), start=1):
                if reason is not None:
                    faults.append(Fault(str(episode.path), reason))
                if progress:
                    progress(done, len(missing))
    except OSError as error:
        raise UserError(
            f"data.pack: cannot write packed frames below {frames.folder} ({error.strerror or error}); set "
            "data.pack_dir to a folder with room, or data.pack=false"
        ) from error
    return faults


def _pack_one(frames: PackedFrames, episode: Episode) -> str | None:
    """None, or why the episode's frames cannot be read."""
    try:
        frames.pack(episode)
    except BrokenEpisode as error:
        return str(error)
    return None
