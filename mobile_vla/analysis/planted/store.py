"""A store in memory whose answers are known: planted contexts, recorded actions, and a policy that follows so much.

In: a `World`, a `Policy`. Out: a `Store` with the rows that a probe with interventions writes, and nothing on disk.

Half of the episodes are told one thing, half another, and their drivers turn to the one side or the other; this is
independent of the label. A swap tells an episode the other thing, a paraphrase the same in other words, a donor lends
it the image of another episode that was told the same; episodes lend to each other in pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.planted.worlds import ACTION_AR, PREDICTED_NOISE, Planted, World, _smooth, follow, plant
from mobile_vla.analysis.verdicts.actionable.following import IMAGE, INSTRUCTION, PARAPHRASE
from mobile_vla.contexts.manifest import Manifest, StoreInfo, TapSpec
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.rows import OWN, Row, RowId, make_table

SIDE = (0.0, 1.5)  # of the two action components, what the instruction adds or takes away half way
MOVED = 0.1  # how far a context moves when an input is replaced
PIXELS = 12
FRAMES = 18  # of a recorded episode, of which some are stored
COMPONENTS = ("linear_x", "angular_z")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """instruction, image  how far the head follows a change of it, give or take `F_SD`; None: no such rows
    told           whether drivers do what they are told: without, their actions do not depend on it
    to_left        of the instruction's F, how much is left for those told left in place of right: 0 turns one way only
    reworded       how far a paraphrase moves chunks towards what the other instruction calls for
    scene          share of what drivers do beyond progress and instruction that the picture calls for; a head follows
                   that share only, so that image = 1 is the best policy there is
    jitter         of every predicted action;  steps  of a chunk, all alike
    """

    instruction: float | None = None
    image: float | None = None
    told: bool = True
    to_left: float = 1.0
    reworded: float = 0.0
    scene: float = 1.0
    jitter: float = PREDICTED_NOISE
    steps: int = 1


class PlantedStore(Store):
    """Rows and vectors that were never on disk."""

    def __init__(self, rows: Sequence[Row], vectors: Mapping[str, Float[np.ndarray, "N ..."]], steps: int | None):
        taps = {name: TapSpec(shape=values.shape[1:]) for name, values in vectors.items()}
        info = StoreInfo(steps=steps, components=COMPONENTS if steps else ())
        count = len(rows)
        super().__init__(
            Path("(planted)"),
            Manifest(taps=taps, info=info, planned=count, plan="", shard_rows=max(count, 1), complete=True),
        )
        self.__dict__["rows"] = make_table(rows)  # in place of the cached property that reads the file
        self._vectors = vectors

    def vectors(self, tap: str = "context") -> Float[np.ndarray, "N ..."]:  # type: ignore[override]
        return self._vectors[tap]


def plant_store(world: World, seed: int, policy: Policy | None = None, *, pixels: bool = False) -> PlantedStore:
    """policy None: rows as recorded only, and no predicted chunks."""
    return as_store(plant(world, seed), seed, policy, pixels=pixels)


def as_store(
    planted: Planted,
    seed: int,
    policy: Policy | None = None,
    progress: Float[np.ndarray, "E T"] | None = None,
    *,
    pixels: bool = False,
) -> PlantedStore:
    """Planted contexts with labels `scenario` and `direction`. progress: where it differs between episodes.

    pixels  a tap of that name, too: pictures that show what the actions deviate by, with noise
    """
    rng = np.random.default_rng([seed, 5])
    asked = policy or Policy()
    num, frames = planted.vectors.shape[:2]
    told = rng.permutation(np.arange(num) % 2)
    half_way = np.sin(np.pi * np.clip(planted.progress, 0.1, 0.9))[:, None] * np.array(SIDE)  # (T, 2)
    side = np.where(told == 0, -1.0, 1.0)[:, None, None] * half_way * asked.told
    seen = np.sqrt(asked.scene) * (planted.actions - planted.course)
    reasons = np.sqrt(1 - asked.scene) * _smooth(np.random.default_rng([seed, 6]), seen.shape, ACTION_AR)
    actions = planted.course + seen + reasons + side
    predicted = actions - reasons + asked.jitter * rng.standard_normal(actions.shape)
    donor = _pair_within(told, rng)
    lent = np.flatnonzero(donor != np.arange(num))
    texts = np.array(["turn left", "turn right"], object)
    variants: list[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]] = [(OWN, texts[told], predicted, None)]
    if asked.instruction is not None:
        own = np.where(told == 0, -1.0, 1.0)[:, None, None] * half_way
        ways = np.where(told == 0, 1.0, asked.to_left)[:, None, None]
        moved = follow(predicted, predicted - 2 * ways * own, asked.instruction, seed, asked.jitter)[1]
        reworded = predicted - 2 * asked.reworded * own + asked.jitter * rng.standard_normal(actions.shape)
        variants.append((INSTRUCTION, texts[1 - told], moved, None))
        variants.append((PARAPHRASE, np.array(["please " + text for text in texts[told]], object), reworded, None))
    if asked.image is not None:
        moved = follow(predicted, predicted + seen[donor] - seen, asked.image, seed + 1, asked.jitter)[1]
        variants.append((IMAGE, texts[told], moved, donor))
    at_progress = np.broadcast_to(planted.progress, (num, frames)) if progress is None else progress
    frame = np.rint(at_progress * (FRAMES - 1)).astype(int)
    rows, vectors, pictures = [], [], []
    seen = _draw_pictures(planted.actions - planted.course, rng) if pixels else None
    for variant, asked_for, chunks, shown in variants:
        chosen = np.arange(num) if shown is None else lent
        vectors.append(planted.vectors[chosen] + np.float32(0 if variant == OWN else MOVED))
        if seen is not None:
            pictures.append(seen[chosen if shown is None else shown[lent]])
        rows += [
            Row(
                id=RowId(f"episode_{episode:04d}", int(frame[episode, at]), asked_for[episode], variant),
                progress=float(at_progress[episode, at]),
                shown=None if shown is None else (f"episode_{shown[episode]:04d}", int(frame[shown[episode], at])),
                labels={
                    "scenario": "box" if planted.label[episode] else "basket",
                    "direction": "left" if told[episode] == 0 else "right",
                },
                action=np.repeat(actions[episode, at][None], asked.steps, axis=0).astype(np.float32),
                action_mask=np.ones(asked.steps, bool),
                predicted=None
                if policy is None
                else np.repeat(chunks[episode, at][None], asked.steps, axis=0).astype(np.float32),
            )
            for episode in chosen.tolist()
            for at in range(frames)
        ]
    taps = {"context": np.concatenate(vectors).reshape(len(rows), -1)}
    if pictures:
        taps["pixels"] = np.concatenate(pictures).reshape(len(rows), -1)
    return PlantedStore(rows, taps, asked.steps)


def _draw_pictures(deviation: Float[np.ndarray, "E T A"], rng: np.random.Generator) -> Float[np.ndarray, "E T D"]:
    shown = deviation @ rng.standard_normal((deviation.shape[-1], PIXELS))
    return (shown + rng.standard_normal(shown.shape)).astype(np.float32)


def _pair_within(told: Int[np.ndarray, " E"], rng: np.random.Generator) -> Int[np.ndarray, " E"]:
    """Of each episode the one that it lends its images to and borrows them from; itself where one is left over."""
    donor = np.arange(len(told))
    for value in np.unique(told):
        members = rng.permutation(np.flatnonzero(told == value))
        even = members[: len(members) // 2 * 2]
        donor[even[0::2]], donor[even[1::2]] = even[1::2], even[0::2]
    return donor
