"""Reads the frames of many episodes before training starts, in parallel: examined, and packed where that is asked for.

What is already known of a file (and packed) is not read again.
"""

import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from mobile_vla.data.examination import Examination, Examinations
from mobile_vla.data.frames import PackedFrames, cannot_write
from mobile_vla.data.opening import BrokenEpisode, printable
from mobile_vla.data.schema import Episode, Fault

BYTES_A_PROCESS = 2**29  # of decoded frames: starting a process costs about as much as reading these
Reader = PackedFrames | Examinations  # whose pass over a file it is


def examine_all(
    reader: Reader,
    episodes: Sequence[Episode],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Episode], list[Fault]]:
    """The episodes whose content is good, with their fingerprints; and the files whose content is not, with why.

    `PackedFrames` pack what they read; `Examinations` read only.
    """
    found = {episode.id: _known(reader, episode) for episode in episodes}
    unknown = [episode for episode in episodes if found[episode.id] is None]
    decoded = sum(3 * episode.num_frames * math.prod(episode.resolution) for episode in unknown)
    num_processes = min(os.cpu_count() or 1, len(unknown), decoded // BYTES_A_PROCESS)
    pool: Executor | nullcontext[None] = nullcontext()
    if num_processes > 1:
        pool = ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn"))
    with pool as executor:
        results = (executor.map if executor else map)(partial(_read, reader), unknown)
        for done, (episode, result) in enumerate(zip(unknown, results, strict=True), start=1):
            found[episode.id] = result
            if progress:
                progress(done, len(unknown))
    good, faults = [], []
    for episode in episodes:
        examination = found[episode.id]
        assert examination is not None, "known, or read just now"
        if examination.fault is None:
            good.append(replace(episode, fingerprint=examination.fingerprint))
        else:
            faults.append(Fault(printable(str(episode.path)), examination.fault))
    return good, faults


def _known(reader: Reader, episode: Episode) -> Examination | None:
    """What an earlier pass has left; None if the file must be read."""
    try:
        if isinstance(reader, Examinations):
            return reader.find(episode)
        known = reader.examinations.find(episode)
        return known if known and (known.fault or reader.has(episode)) else None
    except BrokenEpisode:  # gone since the scan: reading it says why
        return None


def _read(reader: Reader, episode: Episode) -> Examination:
    """One pass over the file; a file that cannot be read is an examination with its fault."""
    try:
        return reader.examine(episode) if isinstance(reader, Examinations) else reader.pack(episode)
    except BrokenEpisode as error:
        return Examination("", str(error))
    except OSError as error:
        raise cannot_write(reader.folder, error) from error
