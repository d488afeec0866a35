"""Whether an answer depends on what it should not: the seed of the folds, or what else is stored or compared.

In: a seed, and a world near its margin, where answers are easily changed. Out: an `Outcome` that says what changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mobile_vla.analysis.study import Study
from mobile_vla.analysis.verdicts.judgement import judge
from validation.outcome import Outcome, happened
from validation.second.disk import stored
from validation.second.dumps import Dump
from validation.second.models import LABEL, Models, all_stored, dumps_of
from validation.strip import FEW
from validation.studies import study

GOLDEN = 0.6180339887  # its multiples fill an interval evenly
SECOND_DIFFERS, ANY_DIFFERS = "a second seed changes the verdict", "one of ten seeds changes the verdict"
TAP, STORE, TARGET, PIXELS = (
    f"changes with {what}" for what in ("a further tap", "a third store", "a further label", "a tap of noisy pixels")
)


@dataclass(frozen=True, kw_only=True)
class Near:
    """verdict  that is asked for;  between  strengths of the label, or shares of the chunk that contexts hold, of which
    each store has another one: from nothing to what is always found"""

    verdict: str
    models: Models
    between: tuple[float, float]


def seeds(seed: int, near: Near, number: int) -> Outcome:
    with stored(_dump_near(seed, near)) as store:
        answers = [
            judge(store, rigour=replace(FEW, permutations=99, seed=1000 * index + seed)).verdicts[near.verdict].verdict
            for index in range(number)
        ]
    second = {SECOND_DIFFERS} if answers[1] != answers[0] else set()
    return happened(*second, *({ANY_DIFFERS} if len(set(answers)) > 1 else ()))


def added(seed: int, models: Models) -> Outcome:
    """The answers of two stores and of their pair; and again with more beside them."""
    first, second, third = dumps_of(seed, replace(models, number=3))
    rng = np.random.default_rng([seed, 71])
    noise = {name: rng.standard_normal((len(first.annotations), 32)) for name in ("text_layer_3", "pixels")}
    episodes = {one["episode"]: f"v{index % 2}" for index, one in enumerate(_firsts(first))}
    labelled = [{**one, "weather": episodes[one["episode"]]} for one in first.annotations]
    more = {
        TAP: replace(first, taps={**first.taps, "text_layer_3": noise["text_layer_3"]}),
        PIXELS: replace(first, taps={**first.taps, "pixels": noise["pixels"]}),
        TARGET: replace(first, annotations=labelled),
    }
    changed = set()
    with all_stored([first, second, third]) as stores:
        two = {name: stores[name] for name in ("model_0", "model_1")}
        before = _answers(study(two, seed), "model_0")
        if _answers(study(stores, seed), "model_0") != before:
            changed.add(STORE)
        for event, dump in more.items():
            with stored(dump) as store:
                if _answers(study({**two, "model_0": store}, seed), "model_0") != before:
                    changed.add(event)
    return happened(*changed)


def _answers(found: Study, name: str) -> tuple:
    """Verdicts of one store, and what its pair with model_1 is called."""
    judgement = found.accounts[name].judgement
    verdicts = tuple((key, one.verdict, one.target) for key, one in judgement.verdicts.items())
    pair = next(one for one in found.pairings if (one.left, one.right) == ("model_0", "model_1")).to_plain()
    parts: Mapping = (pair["decoding_difference"] or {}).get("parts", {})
    shared = tuple((target, parts[target]["verdict"]) for target in (LABEL, "next action chunk") if target in parts)
    return verdicts, pair["answer"], shared


def _firsts(dump: Dump) -> list[dict]:
    """One annotation an episode."""
    found: dict[str, dict] = {}
    for one in dump.annotations:
        found.setdefault(one["episode"], one)
    return list(found.values())


def _dump_near(seed: int, near: Near) -> Dump:
    low, high = near.between
    strength = low + (high - low) * (GOLDEN * seed % 1)
    models = replace(near.models, number=1)
    if near.verdict == "discriminative":
        models = replace(models, label=strength)
    else:
        models = replace(models, world=replace(models.world, held=strength))
    return _only(dumps_of(seed, models)[0], near.verdict)


def _only(dump: Dump, verdict: str) -> Dump:
    """Without what the other verdict is about."""
    dropped: Sequence[str] = ("action",) if verdict == "discriminative" else (LABEL, "direction")
    kept = [{name: value for name, value in one.items() if name not in dropped} for one in dump.annotations]
    return replace(dump, annotations=kept)
