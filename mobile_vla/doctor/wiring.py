"""From sensitivities to findings: what is not wired (exactly zero), and what moves the context little.

Not wired is an exact fact: the numbers are the same to the last bit. Little is a size, measured on a few pairs with
random tokens and patches, which are unlike any data: it tests wiring. How much of an input a policy uses is measured by
`eval`, with recorded texts and images. Two thresholds: an unrelated input moves the context (or the chunk) by less than
`IGNORED` of what unrelated inputs of every kind do together; and the inputs drown where all of them together move it by
less than `DROWNED` of the context's own size.
"""

from collections.abc import Sequence
from typing import Any

from mobile_vla.doctor.finding import Finding, list_numbers
from mobile_vla.doctor.sensitivity import REGIONS, Sensitivity, SingleInputs, WholeInputs
from mobile_vla.doctor.sequence import SequenceMap

IGNORED = 0.01
DROWNED = 0.1
PARTS = {"instruction": "the instruction", "image": "the image", "action_token": "the action token"}


def judge_whole(found: WholeInputs, sequence: SequenceMap, layout: str, trained: bool) -> list[Finding]:
    """Of instruction, image and action token. Whether one of them moves little is asked only after training."""
    findings = []
    share = found.everything.context / found.size if found.size else 0.0
    for name, said in PARTS.items():
        moved: Sensitivity = getattr(found, name)
        if moved.largest_context == 0:
            findings.append(_not_wired(name, said, sequence, layout))
    if findings:
        return findings
    if share < DROWNED:
        return [
            Finding(
                name="inputs_drowned",
                severity="warning",
                what=(
                    f"unrelated text and image together move the context by {share:.2%} of its size: wired, but small"
                ),
                means="contexts hardly differ between these inputs, and little can be learnt from so small differences",
                remedy=(
                    "in a random Kosmos-2 give model.architecture.text_config.init_std=0.15 (with 0.02 the signal "
                    "drowns in the positional embedding); else check preprocessing and base weights"
                ),
                numbers={"share": share, "threshold": DROWNED},
            )
        ]
    for name in ("instruction", "image") if trained else ():
        moved = getattr(found, name)
        in_context = moved.context / found.everything.context
        in_chunk = moved.chunk / found.everything.chunk if found.everything.chunk else 1.0
        if min(in_context, in_chunk) < IGNORED:
            findings.append(_ignored(name, in_context, in_chunk))
    return findings


def judge_single(
    found: SingleInputs,
    whole: Sequence[Finding],
    sequence: SequenceMap,
    reached: tuple[set[int], set[int]] | None = None,
) -> list[Finding]:
    """Of single tokens and regions, where the whole input is not already known not to be wired.

    reached  in half precision, prompt tokens and image tokens that a gradient reaches: rounding alone hides these
    """
    of_text, of_image = reached or (set(), set())
    known = {finding.name for finding in whole}
    findings = []
    silent = [i for i in silent_places(found.text_tokens) if i not in of_text]
    if silent and "instruction_not_wired" not in known:
        findings.append(
            Finding(
                name="instruction_tokens_not_wired",
                severity="error",
                what=(
                    f"{len(silent)} of {len(found.text_tokens)} prompt tokens (number {list_numbers(silent)}) change "
                    "the context by exactly 0"
                ),
                means=f"these words are not read{_tell_places(sequence)}",
                remedy="choose another model.layout, or look at its mask",
                numbers={"tokens": silent},
            )
        )
    silent = [i for i in silent_places(found.image_tokens) if i not in of_image]
    if silent and "image_not_wired" not in known:
        findings.append(
            Finding(
                name="image_tokens_not_wired",
                severity="error",
                what=(
                    f"{len(silent)} of {len(found.image_tokens)} image tokens (number {list_numbers(silent)}) change "
                    "the context by exactly 0"
                ),
                means=f"these parts of the image are not read{_tell_masked(sequence)}",
                remedy="choose another model.layout, or look at its mask",
                numbers={"tokens": silent},
            )
        )
    silent = silent_places(found.regions)
    if silent and not known & {"image_not_wired"}:
        findings.append(
            Finding(
                name="image_regions_not_wired",
                severity="error",
                what=(
                    f"{len(silent)} of {REGIONS**2} regions of the frame (number {list_numbers(silent)}, row by row) "
                    "change the context by exactly 0"
                ),
                means="what the camera sees there cannot change what the robot does",
                remedy="look at resizing and cropping, and at the vision tower's patches",
                numbers={"regions": silent},
            )
        )
    return findings


def silent_places(found: Sequence[Sensitivity]) -> list[int]:
    return [i for i, moved in enumerate(found) if moved.largest_context == 0]


def _not_wired(name: str, said: str, sequence: SequenceMap, layout: str) -> Finding:
    what = f"{said} changes the context by exactly 0 when it is replaced"
    numbers: dict[str, Any] = {"layout": layout}
    remedy = "look at the sequence in sequence.png, and at models/backbones/layouts.py"
    if name == "instruction" and layout == "legacy":
        remedy = "train with model.layout=robovlms or kosmos2; legacy only reads checkpoints that were trained with it"
    elif name == "image":
        remedy = "look at how frames reach the vision tower, and at the mask over image tokens"
    means = {
        "instruction": "no word reaches the context, so the policy cannot follow it, and training cannot change that",
        "image": "no pixel reaches the context, so the policy cannot react to it, and training cannot change that",
        "action_token": "the context is read at another position than the action token's",
    }[name]
    if name == "instruction":
        what += f" ({sequence.num_text - len(sequence.text_left)} of {sequence.num_text} prompt tokens are overwritten)"
        numbers["text_left"] = list(sequence.text_left)
    return Finding(name=f"{name}_not_wired", severity="error", what=what, means=means, remedy=remedy, numbers=numbers)


def _ignored(name: str, in_context: float, in_chunk: float) -> Finding:
    where = "context" if in_context < IGNORED else "chunk"
    return Finding(
        name=f"{name}_ignored",
        severity="warning",
        what=(
            f"an unrelated {name} moves the {where} by {min(in_context, in_chunk):.2%} of what unrelated inputs of "
            "every kind do: wired, but small"
        ),
        means=f"its {name} may count for little; random inputs test wiring, not use, so this alone does not show it",
        remedy=(
            "see its effect in mobile-vla eval, and whether the recorded actions depend on it (mobile-vla stats); if "
            "the effect is near 1 too, train longer, or with adapters on more layers"
        ),
        numbers={"context": in_context, "chunk": in_chunk, "threshold": IGNORED},
    )


def _tell_places(sequence: SequenceMap) -> str:
    lost = sequence.num_text - len(sequence.text_left)
    return f": {lost} of {sequence.num_text} are missing from the sequence" if lost else ""


def _tell_masked(sequence: SequenceMap) -> str:
    masked = sum(
        role == "image" and not attended for role, attended in zip(sequence.roles, sequence.attended, strict=True)
    )
    return f": the mask hides {masked} of them" if masked else ""
