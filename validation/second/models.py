"""Several models on the same episodes, of which it is known what they share and what can be decoded from each.

In: a seed, and `Models`. Out: what a comparison of them says. Each model's contexts are a part that all share, a part
of its own, and the code of the scene, in axes of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from mobile_vla.analysis.study import Study
from mobile_vla.contexts.reader import Store
from mobile_vla.core.levels import ALPHA
from validation.outcome import P_SMALL, Interval, Outcome
from validation.second.chunks import SCENE_AT, Driven, make
from validation.second.disk import stored
from validation.second.dumps import Dump, annotate
from validation.second.spectrum import draw_components, draw_latent, turn
from validation.strip import RIGOUR
from validation.studies import find_better, find_chunk, study

SOME_BETTER, CHUNK_BETTER, ALIKE = "some pair has a better one", "next chunk: better", "called alike"
FIRST_BETTER = "next chunk: the one that holds more is better"
SWAP_SMALL = "swap test: p <= .05"
CORRUPTED = 30.0  # how loud a corrupted episode is, in sd
LABEL = "scenario"


@dataclass(frozen=True, kw_only=True)
class Models:
    """share      of the variance that all models have in common, the scene left out
    number     of models
    faithful   share of the scene's code that is the scene, model by model; the rest is noise of its own
    corrupted  episodes whose vectors are one and the same loud point in all models
    label      strength of a two-class label that all code, in sd of its component
    """

    world: Driven = field(default_factory=partial(Driven, held=0.5))
    share: float = 0.5
    number: int = 2
    faithful: tuple[float, ...] = (1.0,)
    corrupted: int = 0
    label: float = 0.0


def dumps_of(seed: int, models: Models) -> list[Dump]:
    made = make(seed, models.world)
    rng = np.random.default_rng([seed, 61])
    of, spectrum = made.of, models.world.spectrum
    sd = spectrum.sd
    common = np.sqrt(models.share) * made.components
    label = rng.permutation(np.arange(of.num) % 2)
    bad = rng.permutation(of.num)[: models.corrupted]
    points = CORRUPTED * rng.standard_normal((of.num, spectrum.width)) * sd.mean()
    annotations = annotate(
        of,
        labels={LABEL: [f"kind_{value}" for value in label], **made.labels},
        texts=made.texts,
        action=made.drive.chunk,
    )
    found = []
    for index in range(models.number):
        own = draw_components(spectrum, of, rng)
        faithful = models.faithful[index % len(models.faithful)]
        x = common + np.sqrt(1 - models.share) * own
        if models.world.held:
            at = list(SCENE_AT)
            code_of = np.sqrt(faithful) * made.drive.scene + np.sqrt(1 - faithful) * own[:, at] / sd[at]
            noise = draw_latent(of, rng, len(at), spectrum.share, spectrum.correlation)
            x[:, at] = sd[at] * (models.world.scene * code_of + noise)
        x[:, 8] += models.label * sd[8] * np.where(label == 0, -1.0, 1.0)[of.episode]
        vectors = turn(x, seed + index)
        for episode in bad:
            rows = of.episode == episode
            vectors[rows] = points[episode].astype(np.float32)
        found.append(Dump(taps={"context": vectors}, annotations=annotations))
    return found


@contextmanager
def all_stored(dumps: Sequence[Dump]) -> Iterator[dict[str, Store]]:
    with ExitStack() as stack:
        yield {f"model_{index}": stack.enter_context(stored(dump)) for index, dump in enumerate(dumps)}


def compared(seed: int, models: Models, permutations: int = 59) -> Outcome:
    """Which model is called better, and what the two (first) are called."""
    with all_stored(dumps_of(seed, models)) as stores:
        found = study(stores, seed, targets=(LABEL,), rigour=replace(RIGOUR, permutations=permutations))
    return read(found)


def read(found: Study) -> Outcome:
    better, chunk = find_better(found), find_chunk(found)
    events = {SOME_BETTER} if better else set()
    first = found.pairings[0].to_plain()
    events.add(str(first["answer"]))
    intervals = {name: _interval(first.get(name)) for name in ("cka", "mutual_knn")}
    if chunk is not None:
        verdict = str(chunk["verdict"])
        events |= {CHUNK_BETTER} if verdict.endswith("better") else set()
        events |= {ALIKE} if verdict == "alike" else set()
        events |= {FIRST_BETTER} if verdict.endswith("better") and chunk["value"] > 0 else set()
        p = chunk.get("p_raw", chunk["p"])  # of this question alone, not adjusted for others
        events |= {P_SMALL} if p <= ALPHA else set()
        swap = chunk["swap_test"]["p"]
        events |= {SWAP_SMALL} if swap is not None and swap <= ALPHA else set()
        intervals["decoding difference"] = _interval(chunk)
    known = {name: one for name, one in intervals.items() if one is not None}
    return Outcome(events=frozenset(events), intervals=known)


def _interval(plain: Any) -> Interval | None:
    if not plain or plain.get("ci") is None or plain.get("value") is None:
        return None
    return Interval(float(plain["value"]), float(plain["ci"][0]), float(plain["ci"][1]))
