"""Which of the episodes at hand a run has seen, told by content: names change, and copies are made.

In: the split that was stored with a run, and the episodes that are there now. Out: the run's own episodes, or a
`UserError` that lists what stands in the way.
"""

from collections import defaultdict
from collections.abc import Sequence

from mobile_vla.core.errors import UserError
from mobile_vla.data.splits import PARTS, Part, StoredSplit
from mobile_vla.sources.schema import Episode

MOST_GONE, MOST_TRAINED = 5, 10  # that a message names
OTHER = "other"  # an episode that the run does not know


def locate(split: StoredSplit, episodes: Sequence[Episode], part: Part) -> list[Episode]:
    """The run's own episodes of a part, whatever they are called now, in the order of the split's ids."""
    _must_be_read(split, episodes)
    by_id = {episode.id: episode for episode in episodes}
    copies: dict[str, list[Episode]] = defaultdict(list)  # content -> who has it, by id
    for episode in sorted(episodes, key=lambda episode: episode.id):
        copies[episode.fingerprint].append(episode)
    found: dict[str, Episode] = {}
    own = {id: split.recorded[id].fingerprint for id in split.parts[part]}
    for id, fingerprint in own.items():  # who kept the name first, so that of two copies each stays itself
        if id in by_id and by_id[id] in copies[fingerprint]:
            found[id] = by_id[id]
            copies[fingerprint].remove(by_id[id])
    for id, fingerprint in own.items():
        if id not in found and copies[fingerprint]:
            found[id] = copies[fingerprint].pop(0)
    gone = [f"{id} (changed since)" if id in by_id else id for id in own if id not in found]
    if gone:
        raise UserError(
            f"{len(gone)} of the {len(own)} episodes of the run's {part} split are not in data.root any more, under "
            f"any name: {_list(gone, MOST_GONE)}; restore them, or add their folder to data.root"
        )
    return [found[id] for id in own]


def find_parts(split: StoredSplit, episodes: Sequence[Episode]) -> dict[str, str]:
    """Of each episode, by id, the part that the run had its content in; what it was trained on is never called else."""
    _must_be_read(split, episodes)
    part_of = {split.recorded[id].fingerprint: part for part in reversed(PARTS) for id in split.parts[part]}
    return {episode.id: part_of.get(episode.fingerprint, OTHER) for episode in episodes}


def refuse_trained(
    split: StoredSplit, episodes: Sequence[Episode], remedy: str = "evaluate the run's own split"
) -> None:
    """`UserError` with the list if the run was trained on any of these, whatever they are called now."""
    _must_be_read(split, episodes)
    trained_as = {split.recorded[id].fingerprint: id for id in reversed(split.parts["train"])}
    seen = [
        f"{episode.place} (trained on as {trained_as[episode.fingerprint]})"
        for episode in episodes
        if episode.fingerprint in trained_as
    ]
    if seen:
        raise UserError(
            f"{len(seen)} of {len(episodes)} episodes cannot be called held out, since the run was trained on them: "
            f"{_list(seen, MOST_TRAINED)}; move them away, or {remedy}"
        )


def check_unchanged(split: StoredSplit, episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes that the split does not know, which a resumed run ignores.

    `UserError` that lists those of the split's that are gone, or have another content or instruction.
    """
    by_id = {episode.id: episode for episode in episodes}
    now_called = {episode.fingerprint: episode.id for episode in episodes if episode.id not in split.recorded}
    changed = []
    for id in (id for part in PARTS for id in split.parts[part]):
        then, now = split.recorded[id], by_id.get(id)
        if now is None:
            called = now_called.get(then.fingerprint) if then.fingerprint else None
            changed.append(f"{id} (gone)" if called is None else f"{id} (now called {called})")
        elif now.fingerprint != then.fingerprint:
            changed.append(f"{id} (other content)")
        elif now.instruction != then.instruction:
            changed.append(f"{id} (instruction '{then.instruction}' is now '{now.instruction}')")
    if changed:
        raise UserError(
            f"{len(changed)} of the {len(split.recorded)} episodes of the run changed since it began: "
            f"{_list(changed, MOST_TRAINED)}; restore them, or start a new run with config=<run>/config.yaml"
        )
    return [episode for episode in episodes if episode.id not in split.recorded]


def _must_be_read(split: StoredSplit, episodes: Sequence[Episode]) -> None:
    """Without its content an episode cannot be told from another, and nothing about it may be promised."""
    prints = [*(recorded.fingerprint for recorded in split.recorded.values()), *(e.fingerprint for e in episodes)]
    assert all(prints), "a dataset that was opened has read every episode"


def _list(names: Sequence[str], most: int) -> str:
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])
