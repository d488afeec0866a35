"""Other pictures in the place of a window's frames: another episode's at the same progress, or one for all frames.

A `donor` was given the same instruction, so that only the picture differs. Donors come in pairs that lend to each other
and to nobody else: what two pairs of episodes show is independent, which a test over episodes counts on.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mobile_vla.data.meaning import Meanings
from mobile_vla.data.requests import WindowRequest
from mobile_vla.data.schema import Episode
from mobile_vla.data.stills import Still
from mobile_vla.training.evaluation import Intervention
from mobile_vla.training.interventions.drawing import draw_for


def pair_donors(episodes: Sequence[Episode], meanings: Meanings, seed: int) -> dict[int, int]:
    """Index of an episode -> index of its donor, and back. Of the identical text; of texts that mean the same for those
    that are left over; nobody for who is left over then."""
    index = {episode.id: i for i, episode in enumerate(episodes)}
    by_text: dict[str, list[str]] = defaultdict(list)
    for episode in episodes:
        by_text[episode.instruction].append(episode.id)
    pairs, left = [], defaultdict(list)
    for text, ids in by_text.items():
        found, rest = _deal(ids, seed, "text", text)
        pairs += found
        left[meanings.of[text]] += rest
    for meaning, ids in left.items():
        pairs += _deal(ids, seed, "meaning", meaning)[0]
    return {index[a]: index[b] for one, other in pairs for a, b in ((one, other), (other, one))}


def with_donors(donors: Mapping[int, int]) -> Intervention:
    def change(request: WindowRequest) -> WindowRequest | None:
        donor = donors.get(request.episode)
        return None if donor is None else replace(request, donor=donor)

    return change


def with_still(still: Still) -> Intervention:
    return lambda request: replace(request, still=still)


def _deal(ids: Sequence[str], seed: int, *names: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Random disjoint pairs, and who is left over."""
    order = draw_for(seed, "donor", *names).permutation(sorted(ids)).tolist()
    even = len(order) // 2 * 2
    return list(zip(order[0:even:2], order[1:even:2], strict=True)), order[even:]
