"""Does the policy use its instruction and its image? Its loss with one of them replaced, divided by its loss.

1 means ignored. The instruction is swapped for one that asks for something else, of the same length in tokens where
there is one, since a context may move with the length alone; paraphrases, which should change nothing, are the
control. The image is replaced by another episode's at the same progress. Ratios come with a jackknife interval over
episodes, and are withheld, with the reason, where the data cannot show the effect.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mobile_vla.batch import OWN
from mobile_vla.data.meaning import Meanings
from mobile_vla.data.schema import Episode
from mobile_vla.training.evaluation import Intervention
from mobile_vla.training.intervals import ratio_with_interval
from mobile_vla.training.interventions.instructions import choose_nearest, with_texts
from mobile_vla.training.metrics import EpisodeSums

SWAP, PARAPHRASE, DONOR = "swap", "paraphrase", "donor"
ROUNDING = 1e-7  # a loss an entry that float32 cannot tell from none; keeps the ratio of a perfect policy finite


@dataclass(frozen=True, kw_only=True)
class Effect:
    """ratio: loss with the input replaced / loss, or None with a `reason`; ci: its interval over `episodes`.

    length_matched  share of these episodes whose replacing text has exactly as many tokens (None for images)
    """

    ratio: float | None
    ci: tuple[float, float] | None = None
    episodes: int = 0
    windows: int = 0
    length_matched: float | None = None
    reason: str | None = None

    @property
    def shown(self) -> bool:
        """Whether replacing the input hurts, beyond what these episodes would show by chance."""
        return self.ci is not None and self.ci[0] > 1

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "ci": list(self.ci) if self.ci else None}


class EffectPlan:
    """Which text and which frames replace an episode's own, fixed by seed; one choice for a whole episode."""

    def __init__(
        self,
        episodes: Sequence[Episode],
        meanings: Meanings,
        texts: Sequence[str],
        length: Callable[[str], int],
        no_dependence: str | None,
        seed: int = 0,
    ):
        """texts: all instructions of the dataset; length: of a text in tokens; no_dependence: why the data cannot
        show an effect of the instruction, if it cannot."""
        rng = np.random.default_rng([seed, len(episodes)])
        self.episodes = episodes
        self.length = length
        self.no_dependence = no_dependence
        self.texts: dict[str, list[str | None]] = {
            SWAP: [choose_nearest(e.instruction, meanings.swaps(e.instruction, texts), length, rng) for e in episodes],
            PARAPHRASE: [
                choose_nearest(e.instruction, meanings.paraphrases(e.instruction, texts), length, rng) for e in episodes
            ],
        }
        order = rng.permutation(len(episodes))
        self.donors = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))

    def interventions(self) -> dict[str, Intervention]:
        """By name; an intervention that no window allows is left out."""
        found: dict[str, Intervention] = {}
        for name, texts in self.texts.items():
            if self.no_dependence is None and any(text is not None for text in texts):
                found[name] = with_texts(texts)
        if len(self.episodes) > 1:
            found[DONOR] = lambda request: replace(request, donor=self.donors[request.episode])
        return found

    def effects(self, tables: Mapping[str, np.ndarray], sums: EpisodeSums) -> dict[str, Effect]:
        """`instruction`, `paraphrase` and `image` from the tables that `evaluate` returned."""
        return {
            "instruction": self._effect(tables, sums, SWAP, self.no_dependence or "no other instruction in the data"),
            "paraphrase": self._effect(
                tables, sums, PARAPHRASE, self.no_dependence or "no two instructions are known to mean the same"
            ),
            "image": self._effect(tables, sums, DONOR, "a single episode has no other episode's image"),
        }

    def _effect(self, tables: Mapping[str, np.ndarray], sums: EpisodeSums, name: str, otherwise: str) -> Effect:
        if name not in tables:
            return Effect(ratio=None, reason=otherwise)
        changed, entries = sums.loss_by_episode(tables[name])
        own, _ = sums.loss_by_episode(tables[OWN])
        there = entries > 0
        floor = ROUNDING * entries[there]
        ratio, ci = ratio_with_interval(changed[there] + floor, own[there] + floor)
        matched = None
        if name in self.texts:
            pairs = [
                (episode.instruction, text)
                for episode, text in zip(self.episodes, self.texts[name], strict=True)
                if text is not None
            ]
            matched = float(np.mean([self.length(a) == self.length(b) for a, b in pairs]))
        windows = int(tables[name][there][:, sums.columns["windows"]].sum())
        return Effect(ratio=ratio, ci=ci, episodes=int(there.sum()), windows=windows, length_matched=matched)


def warnings(effects: Mapping[str, Effect]) -> list[str]:
    """Plain words for what a user must not overlook."""
    found = []
    instruction, image, control = effects["instruction"], effects["image"], effects["paraphrase"]
    if instruction.ratio is None:
        found.append(f"This data cannot show whether the instruction is read: {instruction.reason}.")
    elif instruction.ci is None:
        found.append(_too_few("instruction", instruction))
    elif not instruction.shown:
        found.append(
            "The policy does the same whatever it is told: with the instruction swapped its loss is "
            f"{instruction.ratio:.2f} times its loss (95 % interval {_interval(instruction)}, "
            f"{instruction.episodes} episodes), although the recorded actions depend on the instruction."
        )
    elif control.ratio is not None and control.ratio >= instruction.ratio:
        found.append(
            f"A paraphrase changes the loss as much ({control.ratio:.2f}) as another instruction does "
            f"({instruction.ratio:.2f}): the policy reacts to the wording, not to the meaning."
        )
    if image.ratio is not None and image.ci is None:
        found.append(_too_few("image", image))
    elif image.ratio is not None and not image.shown:
        found.append(
            f"The policy does the same whatever it sees: with another episode's images its loss is {image.ratio:.2f} "
            f"times its loss (95 % interval {_interval(image)}, {image.episodes} episodes)."
        )
    return found


def _too_few(what: str, effect: Effect) -> str:
    return (
        f"Too few episodes ({effect.episodes}) to tell whether the {what} is used (loss x {effect.ratio:.2f} with it "
        "replaced, no interval); hold out more, or record more."
    )


def _interval(effect: Effect) -> str:
    return f"{effect.ci[0]:.2f} to {effect.ci[1]:.2f}" if effect.ci else "none"
