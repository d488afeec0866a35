"""Exchanged contexts beside explicit rotations and fits; and that equal models differ by chance alone."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from mobile_vla.analysis.pairs.swap_test import Refits, align, run_swap_test
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.folds import deal_often
from mobile_vla.analysis.verdicts.preserving.chunks import Chunks
from mobile_vla.analysis.verdicts.preserving.held_out import HeldOut
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.conftest import write_store
from tests.analysis.verdicts.test_held_out import EPISODES, draw, slow


def test_differences_are_those_of_rotated_and_exchanged_contexts():
    """Of unequal widths, with unknown entries."""
    left, free, episode, targets = draw()
    rng = np.random.default_rng(1)
    right = (left + 0.5 * rng.standard_normal(left.shape))[:, :20] @ np.linalg.qr(rng.standard_normal((20, 20)))[0]
    known = rng.random(targets.shape) < 0.9
    deals = deal_often(np.arange(EPISODES) % 2, 0, 2)
    held = [HeldOut(values, free, episode, deals) for values in (left, right)]
    refits = Refits(held, align(left, right), Chunks(targets, known, (1, 2), targets))
    padded = np.pad(right, ((0, 0), (0, 10)))
    turned = padded @ orthogonal_procrustes(padded, left)[0]
    for share in (0.0, 0.5, 1.0):
        exchanged = rng.random(EPISODES) < share
        of_row = exchanged[episode][:, None]
        r2 = []
        for values in (np.where(of_row, turned, left), np.where(of_row, left, turned)):
            rest = held[0].remove_free(values)
            rest /= np.sqrt((rest**2).sum(axis=1).mean())
            sse, base = slow(rest, free, episode, targets, known, deals, (refits.penalty,))
            r2.append(1 - sse.sum() / base.sum())
        assert refits.difference(exchanged) == pytest.approx(r2[0] - r2[1], abs=1e-5)
    none, every = (refits.difference(np.full(EPISODES, value)) for value in (False, True))
    assert none == pytest.approx(-every)
    assert abs(none) > 0.02


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """(sample, drawing of a model's contexts: axes of its own, and so much noise on what it holds of the actions)."""
    names, progress = np.repeat([f"e{index:02d}" for index in range(16)], 5), np.tile(np.linspace(0, 1, 5), 16)
    actions, common = (np.random.default_rng(0).standard_normal(shape) for shape in ((80, 1, 2), (80, 24)))
    folder = tmp_path_factory.mktemp("driven") / "store"
    store = write_store(folder, {"context": common}, names, np.tile(range(5), 16), progress, actions=actions)

    def contexts(rng, noise):
        held = actions[:, 0] + noise * rng.standard_normal((80, 2))
        own = np.concatenate([held, common + rng.standard_normal(common.shape)], axis=1)
        return own @ np.linalg.qr(rng.standard_normal((26, 26)))[0]

    return take_sample(store), contexts


def p_values(driven, noise, times):
    sample, contexts = driven
    rng = np.random.default_rng(2)
    for seed in range(times):
        rigour = Rigour(permutations=39, spikes=60, seed=seed, deals=1)
        yield run_swap_test(sample, contexts(rng, noise[0]), contexts(rng, noise[1]), rigour).p


def test_equal_models_differ_by_chance_alone(driven):
    found = np.array(list(p_values(driven, (0.5, 0.5), 12)))
    assert (found <= 0.05).sum() <= 2
    assert np.median(found) > 0.2


def test_the_order_of_the_two_changes_the_sign_alone(driven):
    sample, contexts = driven
    rng = np.random.default_rng(3)
    both = contexts(rng, 0.5), contexts(rng, 0.5)
    rigour = Rigour(permutations=39, spikes=60, deals=1)
    found, turned = (run_swap_test(sample, *pair, rigour) for pair in (both, both[::-1]))
    assert 0.05 < found.p < 0.95
    assert turned.p == found.p
    assert turned.turn().value == pytest.approx(found.value)


def test_a_model_that_holds_more_is_found(driven):
    assert max(p_values(driven, (0.2, 3.0), 2)) <= 0.05


def test_contexts_without_anything_are_a_reason(driven):
    sample, contexts = driven
    found = run_swap_test(sample, contexts(np.random.default_rng(0), 1.0), np.ones((80, 3)), Rigour())
    assert found.p is None
    assert "hold nothing beyond progress" in found.sentence
