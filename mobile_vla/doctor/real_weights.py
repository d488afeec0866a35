"""The first time with real weights: is what is computed here what transformers computes from the same folder?

In: a model's `Source` whose weights are a folder's or the hub's. Out: one finding a check, passed or not, each with its
numbers; docs/real_weights.md says what each means. The two readings are made one after the other, so that memory holds
one model at a time.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from mobile_vla.core.errors import UserError
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.doctor.finding import Finding
from mobile_vla.doctor.two_readings import CAMERA, Reading, draw_frames, read_ours, read_theirs
from mobile_vla.models.backbones.loading import Source, find_special_ids
from mobile_vla.models.backbones.pretrained import first_line
from mobile_vla.models.backbones.reference import Reference

SENTENCES = (  # plain words, which a language model expects
    "This is a picture of a dog that is sitting on the grass in front of a house.",
    "A man and a woman are walking down the street on a sunny day.",
    "There is a red car parked on the side of the road next to a tree.",
)
SAME_PIXELS = 1e-4  # largest difference, in standard deviations: float32 rounding
NEAR_PIXELS = 0.1  # root mean square, in standard deviations: another filter stays below it, another crop does not
SAME_STATES = 1e-3  # root mean square of the difference over that of the states: float32 through all layers gives 1e-6
CHANCE = 0.8  # share of a guess's loss, the log of the number of words, from which on nothing is known of the words


@torch.no_grad()
def judge_real_weights(source: Source) -> list[Finding]:
    """Empty where there is nobody to compare with."""
    written = source.config.as_processor_writes()
    try:
        special = find_special_ids(source.tokenizer, written)
    except UserError as error:
        return [_judge_preprocessing(source), _missing_tokens(str(error))]
    frames = draw_frames(source.weights_preprocessing.size)
    ours, token = read_ours(source, replace(source, config=written, special_ids=special), frames)
    try:
        reference: Reference | None = source.config.open_reference(source.architecture)
    except (OSError, ValueError, ImportError) as error:
        return [_judge_preprocessing(source), _no_reference(source, error)]
    if reference is None:
        return []
    theirs = read_theirs(source, reference, frames, token)
    return [
        _judge_preprocessing(source),
        *_judge_pixels(source, ours, theirs),
        _judge_ids(reference, ours, theirs),
        _judge_words(reference, theirs),
        *_judge_states(ours, theirs),
    ]


def _judge_preprocessing(source: Source) -> Finding:
    there, known = source.weights_preprocessing, source.config.default_preprocessing(source.architecture)
    numbers = {"folder": asdict(there), "published": asdict(known)}
    if there == known:
        return _passed(
            "preprocessing", f"frames are read as {source.config.title} was published: {_describe(there)}", numbers
        )
    return Finding(
        name="preprocessing_differs",
        severity="warning",
        what=f"preprocessor_config.json reads frames otherwise than {source.config.title} was published: "
        f"{_describe(there)}; published: {_describe(known)}",
        means="if these weights were not trained so, their features are worse",
        remedy="compare the file with the one on the hub; weights that were trained so need it as it is",
        numbers=numbers,
    )


def _judge_pixels(source: Source, ours: Reading, theirs: Reading) -> list[Finding]:
    far = float((ours.exact - theirs.exact).abs().max()) if ours.exact.shape == theirs.exact.shape else np.inf
    near = ours.resized.shape == theirs.resized.shape
    rms = float((ours.resized - theirs.resized).square().mean().sqrt()) if near else np.inf
    shapes = {"ours": list(ours.resized.shape), "theirs": list(theirs.resized.shape)}
    exact = {"largest": far, "allowed": SAME_PIXELS}
    resized = {"root_mean_square": rms, "allowed": NEAR_PIXELS, "shapes": shapes}
    found = []
    if far <= SAME_PIXELS:
        what = f"pixel values are those of its image processor (largest difference {far:.1g} standard deviations)"
        found.append(_passed("pixels", what, exact))
    else:
        found.append(
            Finding(
                name="pixels_differ",
                severity="error",
                what=f"pixel values differ from its image processor's by up to {far:.2g} standard deviations",
                means="the vision tower is shown other colours than transformers shows it",
                remedy="look at scale, mean and deviation in preprocessor_config.json, and at core/preprocessing.py",
                numbers=exact,
            )
        )
    if rms <= NEAR_PIXELS:
        what = f"a frame of {CAMERA[1]} x {CAMERA[0]} is resized as by its image processor (difference {rms:.2g})"
        found.append(_passed("resizing", what, resized))
    else:
        found.append(
            Finding(
                name="resizing_differs",
                severity="error",
                what=f"a frame of {CAMERA[1]} x {CAMERA[0]} differs by {rms:.2g} standard deviations from what its "
                f"image processor makes of it ({shapes['ours']} and {shapes['theirs']})",
                means="its processor crops, pads or resizes to another size, where frames are squashed here",
                remedy="look at size and do_center_crop in preprocessor_config.json; a square without crop is meant",
                numbers=resized,
            )
        )
    return found


def _judge_ids(reference: Reference, ours: Reading, theirs: Reading) -> Finding:
    """Special tokens and prompt, in order; and the ids that the architecture gives."""
    fixed = reference.list_fixed_ids()
    wrong = {name: pair for name, pair in fixed.items() if pair[0] != pair[1]}
    numbers: dict[str, Any] = {"ours": list(ours.ids), "theirs": list(theirs.ids), "fixed": dict(fixed)}
    if wrong:
        told = ", ".join(f"{name} is {got}, config.json says {said}" for name, (said, got) in wrong.items())
        return Finding(
            name="token_ids_differ",
            severity="error",
            what=f"special tokens of the tokenizer have other ids than the weights were trained with: {told}",
            means="the tokenizer is of another model: every word is read as another one",
            remedy="copy tokenizer.json and tokenizer_config.json anew, from where the weights came",
            numbers=numbers,
        )
    if ours.ids != theirs.ids:
        both = zip((*ours.ids, -1), (*theirs.ids, -1), strict=False)
        place = next(i for i, (mine, other) in enumerate(both) if mine != other)
        return Finding(
            name="prompt_differs",
            severity="error",
            what=f"special tokens and prompt are written otherwise than by its processor, from token {place} on "
            f"({_tell(reference, ours.ids)} here, {_tell(reference, theirs.ids)} there)",
            means="the weights see a sequence unlike those that they were trained on",
            remedy="compare model.prompt and the layout with the chat template or processor of the folder",
            numbers=numbers,
        )
    what = f"special tokens and prompt are those of its processor, in order: {_tell(reference, ours.ids)}"
    return _passed("tokens", what, numbers)


def _judge_words(reference: Reference, theirs: Reading) -> Finding:
    guess = float(np.log(reference.model.get_input_embeddings().num_embeddings))
    if not reference.has_head:
        return Finding(
            name="words_unknown",
            severity="warning",
            what="the folder holds no language-model head, so nothing shows whether its vocabulary is the weights' own",
            means="a tokenizer of another model would go unnoticed",
            remedy="check with the folder as published",
        )
    losses = [reference.measure_loss(theirs.exact, sentence) for sentence in SENTENCES]
    loss = float(np.mean(losses))
    numbers = {"loss": loss, "losses": losses, "guess": guess, "allowed": CHANCE * guess}
    if loss < CHANCE * guess:
        what = f"plain sentences are expected: {loss:.2f} nats a token, where a guess has {guess:.2f}"
        return _passed("words", what, numbers)
    return Finding(
        name="words_not_known",
        severity="error",
        what=f"plain sentences are as good as guessed: {loss:.2f} nats a token, where a guess has {guess:.2f}",
        means="the tokenizer's vocabulary is not the weights' own, or they were never trained",
        remedy="copy tokenizer.json anew from where the weights came; ignore it if the weights are meant to be random",
        numbers=numbers,
    )


def _judge_states(ours: Reading, theirs: Reading) -> list[Finding]:
    pairs = {
        "image tokens": (ours.image_tokens, theirs.image_tokens),
        "hidden states": (ours.states, theirs.states),
        **{f"context ({name})": (mine, theirs.contexts[name]) for name, mine in ours.contexts.items()},
    }
    found = []
    for name, (mine, other) in pairs.items():
        if other.isnan().all():
            continue
        key = name.partition(" (")[0].replace(" ", "_")
        same = mine.shape == other.shape
        share = float((mine - other).square().mean().sqrt() / other.square().mean().sqrt()) if same else np.inf
        numbers = {"share": share, "allowed": SAME_STATES, "shapes": [list(mine.shape), list(other.shape)]}
        if share <= SAME_STATES:
            found.append(_passed(key, f"{name}: those of transformers, but for {share:.1g} of their size", numbers))
            continue
        found.append(
            Finding(
                name=f"{key}_differ",
                severity="error",
                what=f"{name}: {share:.2g} of their size away from those of transformers ({numbers['shapes']})",
                means="what is computed here is not the published model",
                remedy="see the findings on pixels and tokens first; else tell its maintainers, with doctor.json",
                numbers=numbers,
            )
        )
    return found


def _no_reference(source: Source, error: Exception) -> Finding:
    return Finding(
        name="no_reference",
        severity="warning",
        what=f"transformers cannot read its own processor from {source.config.weights} ({first_line(error)})",
        means="what is computed here cannot be held against it",
        remedy="copy preprocessor_config.json and the tokenizer's files from where the weights came",
    )


def _missing_tokens(message: str) -> Finding:
    return Finding(
        name="special_tokens_missing",
        severity="error",
        what=message,
        means="image and prompt cannot be marked as the weights were trained with",
        remedy="copy tokenizer.json, tokenizer_config.json and special tokens anew, from where the weights came",
    )


def _passed(name: str, what: str, numbers: dict[str, Any]) -> Finding:
    return Finding(name=name, severity="passed", what=what, means="", remedy="", numbers=numbers)


def _tell(reference: Reference, ids: tuple[int, ...]) -> str:
    return " ".join(reference.tokenizer.convert_ids_to_tokens(list(ids)))


def _describe(preprocessing: Preprocessing) -> str:
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (preprocessing.mean, preprocessing.std))
    return f"{preprocessing.size} pixels, {preprocessing.interpolation}, mean {mean}, deviation {std}"
