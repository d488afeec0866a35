"""Contexts of which it is known what they hold of the next action chunk beyond instruction and progress.

In: a seed, and a `Driven`. Out: dumps, and what a store of them is called by the preserving verdict.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from mobile_vla.analysis.verdicts.judgement import judge
from mobile_vla.analysis.verdicts.verdict import Verdict
from validation.outcome import Outcome
from validation.second.disk import stored
from validation.second.driving import Drive, drive, sides
from validation.second.dumps import Dump, annotate
from validation.second.recordings import Plan, Recordings, record
from validation.second.spectrum import Spectrum, draw_components, turn
from validation.strip import rigour_of

DIRECTIONS = ("left", "right")
PIXELS = 24
SCENE_AT = (2, 3)  # components that code the two components of the scene


@dataclass(frozen=True, kw_only=True)
class Driven:
    """held     share of the chunk's variance about its course that contexts hold (0: the scene tells nothing)
    scene    strength of the scene's code, in sd of its components;  text, clock  of the text's and of progress's
    noise    of everything else, as a share of the spectrum: 1 where much else is in the contexts
    texts    number of instructions;  follow  whether drivers follow them
    deviation  sd of what actions deviate by from their course
    light    how far the light of a day moves contexts, in sd; each day's speed goes with it
    codes    seed of what text and progress are coded by; None: every store has codes of its own
    predicted  whether rows hold what a policy predicts
    pixels   whether a tap of pictures is stored, which show the scene
    """

    plan: Plan = field(default_factory=Plan)
    spectrum: Spectrum = field(default_factory=Spectrum)
    held: float = 0.0
    scene: float = 3.0
    text: float = 2.0
    clock: float = 3.0
    noise: float = 1.0
    texts: int = 2
    follow: bool = True
    deviation: float = 1.0
    light: float = 0.0
    codes: int | None = None
    predicted: bool = False
    pixels: bool = False


class Made(NamedTuple):
    of: Recordings
    drive: Drive
    components: np.ndarray
    texts: list[str]
    labels: dict[str, list[str]]


def make(seed: int, world: Driven) -> Made:
    """Contexts before they are turned, with what was done."""
    rng = np.random.default_rng([seed, 41])
    of = record(world.plan, rng)
    text, courses = sides(of.num, rng, world.texts)
    light = rng.standard_normal(int(of.day.max()) + 1)[of.day]
    speed = 1 + 0.5 * np.tanh(light) if world.light else None
    given = drive(
        of, rng, text, courses if world.follow else courses * [1, 0], held=world.held, speed=speed, sd=world.deviation
    )
    x, sd = world.noise * draw_components(world.spectrum, of, rng), world.spectrum.sd
    drawn = rng if world.codes is None else np.random.default_rng([world.codes, 43])
    codes = drawn.standard_normal((2, world.texts, world.spectrum.width)) * sd
    p = of.progress[:, None]
    own = text[of.episode]
    x += world.text * (codes[0][own] + (p - 0.5) * codes[1][own])
    shape = drawn.standard_normal((3, world.spectrum.width)) * sd
    x += world.clock * ((p - 0.5) * shape[0] + np.sin(np.pi * p) * shape[1] + p**2 * shape[2])
    x += world.light * light[of.episode][:, None] * rng.standard_normal(world.spectrum.width) * sd
    if world.held:
        x[:, SCENE_AT] += world.scene * sd[list(SCENE_AT)] * given.scene
    if world.texts > len(DIRECTIONS):
        return Made(of, given, x, [f"drive to place {code}" for code in text], {})
    return Made(of, given, x, [f"go {DIRECTIONS[code]}" for code in text], {"direction": [DIRECTIONS[c] for c in text]})


def dump_of(seed: int, world: Driven) -> Dump:
    made = make(seed, world)
    rng = np.random.default_rng([seed, 42])
    weights = np.eye(world.texts)[made.drive.text][made.of.episode]
    told = made.drive.predict(rng, weights, made.drive.scene) if world.predicted else None
    annotations = annotate(made.of, labels=made.labels, texts=made.texts, action=made.drive.chunk, predicted=told)
    taps = {"context": turn(made.components, seed)}
    if world.pixels:
        taps["pixels"] = draw_pixels(rng, made)
    return Dump(taps=taps, annotations=annotations)


def draw_pixels(rng: np.random.Generator, made: Made) -> np.ndarray:
    """(N, PIXELS) that bend what the scene and the way make of them."""
    seen = np.column_stack([made.drive.scene, made.of.progress])
    bent = np.tanh(0.4 * seen @ rng.standard_normal((seen.shape[1], PIXELS)))
    return (bent + 0.1 * rng.standard_normal(bent.shape)).astype(np.float32)


def judge_chunk(seed: int, dump: Dump) -> Verdict:
    with stored(dump) as store:
        return judge(store, rigour=rigour_of(seed)).preserving


def driven(seed: int, world: Driven, strength: float | None = None) -> Outcome:
    """strength  in place of the share that the contexts hold"""
    world = world if strength is None else replace(world, held=strength)
    return Outcome.of(judge_chunk(seed, dump_of(seed, world)))
