"""From a source to episodes: asks it for everything but the frames, and says what was left out and why.

In: a source, the folders that it reads, and what recordings do not say of themselves. Out: a `Catalog`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mobile_vla.core.errors import UserError
from mobile_vla.sources.instructions import InstructionConfig, choose_instruction
from mobile_vla.sources.reader import Conventions, EpisodeReader, Root, check_facts, choose_text
from mobile_vla.sources.schema import BrokenEpisode, Episode, Fault, printable
from mobile_vla.sources.source import EpisodeSource


@dataclass(frozen=True)
class Catalog:
    """The good episodes, sorted by id, and what was left out."""

    episodes: tuple[Episode, ...]
    faults: tuple[Fault, ...] = field(default=())


def scan(
    source: EpisodeSource,
    roots: Sequence[Root],
    instructions: InstructionConfig,
    conventions: Conventions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Catalog:
    """Read every episode's facts and actions (a few milliseconds each); frames stay where they are.

    conventions  of a source without roots; each root has its own

    `UserError` if a root is missing or empty, or if no episode at all is good.
    """
    readers = source.find(roots)
    good: list[Episode] = []
    faults: list[Fault] = []
    for done, reader in enumerate(readers, start=1):
        try:
            good.append(read_episode(reader, instructions, conventions))
        except BrokenEpisode as error:
            faults.append(Fault(printable(str(reader.path)), str(error)))
        if progress:
            progress(done, len(readers))
    if not good:
        what = "data.root: all {} files" if source.reads_folders else "data.source: all {} episodes"
        first = f"{faults[0].file}: {faults[0].reason}" if faults else "there is none"
        raise UserError(f"{what.format(len(faults))} are broken; the first, {first}")
    episodes = sorted(_with_unique_ids(good), key=lambda episode: episode.id)
    return Catalog(tuple(episodes), tuple(faults))


def read_episode(
    reader: EpisodeReader, instructions: InstructionConfig, conventions: Conventions | None = None
) -> Episode:
    """One episode without its frames; `BrokenEpisode` says why it cannot be used."""
    known = reader.root or conventions or Conventions()
    facts = reader.read()
    check_facts(facts, known.max_action)
    instruction, source = choose_instruction(choose_text(facts), facts.labels, instructions)
    actions, is_known = shift_actions(np.asarray(facts.actions), known.action_shift)
    return Episode(
        id=reader.id,
        path=reader.path,
        layout=facts.layout,
        encoding=facts.encoding,
        num_frames=facts.num_frames,
        resolution=facts.resolution,
        actions=actions,
        action_known=is_known,
        action_names=facts.action_names,
        instruction=instruction,
        instruction_source=source,
        reader=facts.reader or reader,
        labels=facts.labels,
        step_s=facts.step_s if known.step_s is None else known.step_s,
        speed_scale=facts.speed_scale if known.speed_scale is None else known.speed_scale,
    )


def shift_actions(actions: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Row t of the result is the recorded row t + shift; rows that fall outside are zero and not known."""
    index = np.arange(len(actions)) + shift
    known = (index >= 0) & (index < len(actions))
    return np.where(known[:, None], actions[index.clip(0, len(actions) - 1)], 0).astype(np.float32), known


def _with_unique_ids(episodes: list[Episode]) -> list[Episode]:
    """Those that have the same id all take the next of their longer ones, until there is none."""
    level = 0
    while True:
        counts = Counter(episode.id for episode in episodes)
        longer = [episode.reader.longer_ids[level : level + 1] for episode in episodes]
        if not any(counts[e.id] > 1 and names for e, names in zip(episodes, longer, strict=True)):
            break
        episodes = [
            replace(e, id=names[0]) if counts[e.id] > 1 and names else e
            for e, names in zip(episodes, longer, strict=True)
        ]
        level += 1
    if twice := [id for id, number in counts.items() if number > 1]:
        raise UserError(f"data.source: {counts[twice[0]]} episodes are called '{twice[0]}'; each needs its own id")
    return episodes
