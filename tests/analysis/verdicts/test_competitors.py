"""Labels that something else tells than the context: nothing that contexts hold besides makes them a yes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.verdicts.discriminative.competitors import compare, find_competitors
from mobile_vla.analysis.verdicts.discriminative.decoding import Asked
from mobile_vla.analysis.verdicts.discriminative.targets import Target
from mobile_vla.analysis.verdicts.discriminative.verdict import INSEPARABLE, judge_discriminative
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.verdicts.planted_sample import plant_asked

RIGOUR = Rigour(permutations=199, spikes=60)
STRONG = World(episodes=60, width=64, label=8.0)


def with_progress(sample, progress):
    changed = replace(sample)
    changed.__dict__["progress"] = progress
    return changed


def judge_names(sample, vectors, target):
    verdict, _ = judge_discriminative(sample, vectors, target, RIGOUR)
    beaten = {name: one["beaten"] for name, one in verdict.details["competitors"].items()}
    return verdict, beaten


def test_the_difference_is_paired_and_its_bound_is_students():
    labels = np.repeat([0, 1], 15)
    asked = Asked(
        chosen=np.arange(30),
        labels=labels,
        cells=np.zeros(30, int),
        texts=np.zeros(30, int),
        num=2,
        rigour=RIGOUR,
    )
    rng = np.random.default_rng(0)
    own, other = rng.random(30), rng.random(30)
    found = compare("x", own, other, asked)
    apart = own - other
    error = 1.5 * np.sqrt(sum(apart[labels == code].var(ddof=1) / 15 for code in (0, 1))) / 2
    assert found.difference == pytest.approx(apart.mean())
    assert found.bound == pytest.approx(apart.mean() - stats.t.ppf(0.95, 28) * error)


def test_bounds_of_equal_competitors_are_above_nothing_in_5_percent_at_most():
    """Held-out decisions of two classifiers that are right equally often, one as good as the other for each episode."""
    rng = np.random.default_rng(1)
    labels = np.arange(40) % 2
    asked = Asked(
        chosen=np.arange(40), labels=labels, cells=np.zeros(40, int), texts=np.zeros(40, int), num=2, rigour=RIGOUR
    )
    bounds = [compare("x", *(rng.random((2, 40)) < 0.8).astype(float), asked).bound for _ in range(400)]
    assert np.mean(np.array(bounds) > 0) <= 0.05


def test_a_label_that_says_which_half_of_an_episode_was_stored_is_no_yes():
    sample, vectors, target = plant_asked(STRONG)
    shift = np.where(target.codes == 1, 0.5, 0.0)[sample.episode]
    half = with_progress(sample, sample.progress / 2 + shift)
    assert judge_names(sample, vectors, target)[0].verdict == "yes"
    verdict, beaten = judge_names(half, vectors, target)
    assert (verdict.verdict, verdict.at_half, verdict.n_needed) == ("undecided", "undecided", None)
    assert verdict.baselines["progress"] == pytest.approx(1.0)
    assert "not shown to be better than progress alone, which reaches 1.00" in verdict.why
    assert [name for name, is_beaten in beaten.items() if not is_beaten] == ["progress"]


FILLERS = ["slowly", "please", "now", "again", "carefully", "then", "today", "quickly", "here", "so"]


@pytest.mark.parametrize("words", [("box", "basket"), ("상자로", "바구니로")])
def test_a_label_that_is_read_from_the_words_of_unique_sentences_is_no_yes(words):
    sample, vectors, target = plant_asked(STRONG)
    rng = np.random.default_rng(0)
    texts = tuple(
        " ".join([*rng.choice(FILLERS, 3, replace=False), words[code], f"number{place}"])
        for place, code in enumerate(target.codes)
    )
    verdict, beaten = judge_names(replace(sample, instruction=texts), vectors, target)
    assert verdict.verdict == "undecided"
    assert not beaten["key words"]
    shuffled = [texts[place] for place in rng.permutation(60)]
    assert judge_names(replace(sample, instruction=tuple(shuffled)), vectors, target)[0].verdict == "yes"


def test_words_that_a_classifier_reads_badly_are_no_yes_either():
    """Eight words a class: each is in few episodes, and the contexts do better than all that is learnt from them."""
    sample, vectors, target = plant_asked(replace(STRONG, episodes=80))
    rng = np.random.default_rng(1)
    texts = tuple(f"go {'ab'[code]}{rng.integers(8)} number{place}" for place, code in enumerate(target.codes))
    verdict, _ = judge_names(replace(sample, instruction=texts), vectors, target)
    assert max(verdict.baselines[name] for name in ("instruction", "key words")) >= 0.7
    assert verdict.verdict == "undecided"
    assert "the instruction alone decodes it" in verdict.why


def test_a_label_that_follows_the_order_of_recording_is_no_yes():
    sample, vectors, target = plant_asked(STRONG)
    order = np.argsort(np.argsort(target.codes, kind="stable"), kind="stable")  # recorded one class after the other
    verdict, _ = judge_names(replace(sample, order=order), vectors, target)
    assert verdict.verdict == "undecided"
    assert INSEPARABLE in verdict.why
    assert "no recording session is known" in verdict.notes[0]


def test_what_sessions_know_is_chance_inside_them():
    sample, vectors, target = plant_asked(STRONG)
    session = np.arange(60) % 3
    verdict, _ = judge_names(replace(sample, session=session, sessions_known=True), vectors, target)
    assert verdict.verdict == "yes"
    assert verdict.baselines["session"] == pytest.approx(0.5)
    assert verdict.details["recording_order_p"] is None
    assert not any("no recording session" in note for note in verdict.notes)


def test_a_label_confounded_with_the_session_and_coded_weakly_is_no_yes():
    """Nine in ten episodes of a day are of one class; days look different, the label itself is .7 sd."""
    yes = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        session = np.arange(80) % 4
        codes = np.where(rng.random(80) < 0.9, session % 2, 1 - session % 2)
        sample, vectors, _ = plant_asked(World(episodes=80, width=64, nuisance=False), seed)
        vectors = vectors + 4 * rng.standard_normal((4, 64))[session][sample.episode]
        vectors[:, 20] += 0.7 * (2 * codes - 1)[sample.episode]
        known = replace(sample, session=session, sessions_known=True)
        target = Target(name="scenario", classes=("a", "b"), codes=codes)
        yes += judge_discriminative(known, vectors, target, replace(RIGOUR, deals=5))[0].verdict == "yes"
    assert yes == 0


def test_stored_pixels_are_shown_and_change_no_answer():
    sample, vectors, target = plant_asked(STRONG)
    alone, _ = judge_discriminative(sample, vectors, target, RIGOUR)
    beside, _ = judge_discriminative(sample, vectors, target, RIGOUR, {"pixels": vectors})
    assert beside.baselines["pixels"] == pytest.approx(alone.statistic)
    assert (alone.verdict, alone.ci, alone.p_yes, alone.why) == (beside.verdict, beside.ci, beside.p_yes, beside.why)


def test_one_instruction_and_one_progress_are_chance():
    sample, _, target = plant_asked(STRONG)
    asked = Asked.of(sample, target, RIGOUR)
    same = replace(sample, instruction=("go",) * 60)
    found = {one.name: one.accuracy for one in find_competitors(np.ones(60), same, asked, sessions=False)}
    assert found["instruction"] == found["key words"] == found["progress"] == pytest.approx(0.5)
