"""Does the policy act on what it is told and shown? Interventions, measured along what an expert would do differently.

In: a store whose rows hold predicted chunks, as recorded and with an input replaced. Out: a `Verdict` with two parts,
`instruction` and `image`, each on F of `following` or `shown`: 0 ignores the replacement, 1 follows it as an expert.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.actionable.following import IMAGE, INSTRUCTION, PARAPHRASE, match_variant
from mobile_vla.analysis.verdicts.actionable.image_part import judge_image
from mobile_vla.analysis.verdicts.actionable.instruction_part import judge_instruction
from mobile_vla.analysis.verdicts.actionable.part import MARGIN, MEASURE
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import Answer, Verdict, undecided

VARIANTS = {"image": IMAGE, "instruction": INSTRUCTION}  # of each part, the rows that it is found in


def judge_actionable(sample: Sample, tap: str = "context", rigour: Rigour | None = None) -> Verdict:
    """tap: whose contexts say what a scene calls for, and whether an input arrives at all."""
    store = sample.store
    if not np.isfinite(store.column("predicted")).any() or store.manifest.info.steps is None:
        why = "the store holds no predicted chunks: the head was never trained, or the rows come from elsewhere"
        parts = {name: undecided(name, MEASURE, MARGIN, sample.num_episodes, why) for name in VARIANTS}
        return replace(undecided("both", MEASURE, MARGIN, sample.num_episodes, why), parts=parts)
    found = {name: match_variant(sample, variant) for name, variant in VARIANTS.items()}
    stored = [name for name in VARIANTS if len(found[name].own)]
    parts = {name: _missing(name, variant) for name, variant in VARIANTS.items()}
    if "image" in stored:
        parts["image"] = judge_image(sample, found["image"], tap, rigour or Rigour())
    if "instruction" in stored:
        parts["instruction"] = judge_instruction(sample, found["instruction"], tap)
    return _combine(parts, stored or list(parts))


def _combine(parts: Mapping[str, Verdict], asked: Collection[str]) -> Verdict:
    """Yes where every part that is asked is, no where one is; the part that decides speaks for the whole."""
    order: tuple[Answer, ...] = ("no", "undecided", "yes")
    decisive = min((parts[name] for name in asked), key=lambda part: order.index(part.verdict))
    lowest: dict[str, Answer] = {
        at: min((getattr(parts[name], at) for name in asked), key=order.index) for at in ("at_half", "at_double")
    }
    why = "; ".join(f"by {name} {parts[name].verdict}: {parts[name].why}" for name in asked)
    left = [f"by {name}: {part.why}" for name, part in parts.items() if name not in asked]
    return replace(decisive, **lowest, why=why, parts=parts, notes=(*decisive.notes, *left))


def _missing(target: str, variant: str) -> Verdict:
    why = f"no rows of {variant} are stored; probe with probe.variants=[{INSTRUCTION},{PARAPHRASE},{IMAGE}]"
    return undecided(target, MEASURE, MARGIN, 0, why)
