"""Reads the frames of many episodes before training starts, in parallel: examined, and packed where that is asked for.

What is already known of an episode (and packed) is not read again. `pack_folder` also says what has changed since, and
removes copies that nobody will ask for again.
"""

import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mobile_vla.data.examination import Examination, Examinations
from mobile_vla.data.frames import PackedFrames, cannot_write
from mobile_vla.data.packed.origins import Outdated, find_file, find_outdated, remove_abandoned
from mobile_vla.sources.schema import BrokenEpisode, Episode, Fault

BYTES_A_PROCESS = 2**29  # of decoded frames: starting a process costs about as much as reading these
Reader = PackedFrames | Examinations  # whose pass over an episode it is


def examine_all(
    reader: Reader,
    episodes: Sequence[Episode],
    progress: Callable[[int, int], None] | None = None,
    processes: int | None = None,
) -> tuple[list[Episode], list[Fault]]:
    """The episodes whose content is good, with their fingerprints; and the files whose content is not, with why.

    `PackedFrames` pack what they read; `Examinations` read only. processes: None for as many as pay.
    """
    found = {episode.id: _known(reader, episode) for episode in episodes}
    unknown = [episode for episode in episodes if found[episode.id] is None]
    decoded = sum(3 * episode.num_frames * math.prod(episode.resolution) for episode in unknown)
    num_processes = min(processes or min(os.cpu_count() or 1, decoded // BYTES_A_PROCESS), len(unknown))
    with _open_pool(num_processes) as executor:
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
            faults.append(Fault(episode.place, examination.fault))
    return good, faults


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What became of a folder's episodes.

    good      those that have a copy now;  faults  files whose content is not good
    new       of `good` those without a copy before: changed is how many of them had one of an earlier content
    outdated  copies of files that have changed or are gone;  freed  bytes that were given back, where asked for
    """

    good: list[Episode]
    faults: list[Fault]
    new: list[Episode]
    changed: int
    outdated: Outdated
    outdated_bytes: int
    freed: int


def pack_folder(
    frames: PackedFrames,
    episodes: Sequence[Episode],
    roots: Sequence[Path],
    *,
    processes: int | None = None,
    prune: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Pack what has no copy yet; `prune` removes the copies of files below `roots` that have changed or are gone."""
    outdated = find_outdated(frames.folder, roots, episodes)
    num_bytes = outdated.count_bytes()
    known = {episode.id for episode in episodes if _known(frames, episode) is not None}
    good, faults = examine_all(frames, episodes, progress, processes)
    new = [episode for episode in good if episode.id not in known]
    if prune:
        outdated.remove()
    return Packed(
        good=good,
        faults=faults,
        new=new,
        changed=sum(find_file(episode) in outdated.changed for episode in new),
        outdated=outdated,
        outdated_bytes=num_bytes,
        freed=num_bytes + remove_abandoned(frames.folder) if prune else 0,
    )


@contextmanager
def _open_pool(num_processes: int) -> Iterator[Executor | None]:
    """None for one process. What ends early does not wait for work that has not begun."""
    if num_processes <= 1:
        yield None
        return
    # Processes, not threads: HDF5 reads, and decompresses, under one lock.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(num_processes, context, initializer=_end_with_parent)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a pool"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _known(reader: Reader, episode: Episode) -> Examination | None:
    """What an earlier pass has left; None if the episode must be read."""
    try:
        if isinstance(reader, Examinations):
            return reader.find(episode)
        known = reader.examinations.find(episode)
        return known if known and (known.fault or reader.has(episode)) else None
    except BrokenEpisode:  # gone since the scan: reading it says why
        return None


def _read(reader: Reader, episode: Episode) -> Examination:
    """One pass over the episode; one that cannot be read is an examination with its fault."""
    try:
        return reader.examine(episode) if isinstance(reader, Examinations) else reader.pack(episode)
    except BrokenEpisode as error:
        return Examination("", str(error))
    except OSError as error:
        raise cannot_write(reader.folder, error) from error
