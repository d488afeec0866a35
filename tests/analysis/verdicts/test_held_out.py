"""Held-out errors over many deals, and transplanted codes, beside one fit a fold and penalty by normal equations."""

import numpy as np
import pytest

from mobile_vla.analysis.verdicts.folds import deal_often
from mobile_vla.analysis.verdicts.preserving.chunk_transplant import Plants, find_sensitivity
from mobile_vla.analysis.verdicts.preserving.held_out import PENALTIES, HeldOut

EPISODES, ROWS, WIDTH = 15, 4, 30


def draw(seed: int = 0):
    """Vectors, free columns of two texts and progress, targets that the vectors hold in part."""
    rng = np.random.default_rng(seed)
    episode = np.repeat(np.arange(EPISODES), ROWS)
    progress = np.tile(np.linspace(0, 1, ROWS), EPISODES)
    free = np.concatenate([(episode % 2 == text)[:, None] * progress[:, None] ** np.arange(2) for text in (0, 1)], 1)
    values = np.repeat(rng.standard_normal((EPISODES, WIDTH)), ROWS, 0) + rng.standard_normal((len(episode), WIDTH))
    targets = values[:, :2] + rng.standard_normal((len(episode), 2)) + 5 * free[:, :2]
    return values, free, episode, targets


def slow(values, free, episode, targets, known, deals, penalties=PENALTIES):
    """(sse, base) by episode: slopes and penalties by explicit fits."""
    base, cross, gain = (np.zeros((len(penalties), len(deals), EPISODES)) for _ in range(3))
    for number, penalty in enumerate(penalties):
        for deal, folds in enumerate(deals):
            for fold in range(5):
                test = folds[episode] == fold
                design = np.concatenate([values, free], axis=1)
                sizes = np.diag([penalty] * values.shape[1] + [1e-9] * free.shape[1])
                gram = design[~test].T @ design[~test] + sizes
                full = design[test] @ np.linalg.solve(gram, design[~test].T @ targets[~test])
                alone = free[test] @ np.linalg.lstsq(free[~test], targets[~test], rcond=None)[0]
                error, gained = (np.where(known[test], one, 0) for one in (targets[test] - alone, full - alone))
                for total, one in ((base, error**2), (cross, error * gained), (gain, gained**2)):
                    np.add.at(total[number, deal], episode[test], one.sum(axis=1))
    sse = np.zeros(EPISODES)
    for deal, folds in enumerate(deals):
        for fold in range(5):
            inside = folds == fold
            one, other = (total.mean(axis=1)[:, ~inside].sum(axis=1) for total in (cross, gain))
            slopes = np.clip(one / other, 0, 1)
            best = (slopes**2 * other - 2 * slopes * one).argmin()
            errors = base[best, deal] - 2 * slopes[best] * cross[best, deal] + slopes[best] ** 2 * gain[best, deal]
            sse[inside] += errors[inside] / len(deals)
    return sse, base[0].mean(axis=0)


def scaled(held: HeldOut, values: np.ndarray) -> np.ndarray:
    return held.scale * held.remove_free(values)


def test_errors_are_those_of_fits_without_the_fold():
    values, free, episode, targets = draw()
    deals = deal_often(np.arange(EPISODES) % 2, 0, 3)
    known = np.random.default_rng(1).random(targets.shape) < 0.9
    held = HeldOut(values, free, episode, deals)
    found, chosen = held.score(targets[:, None], known[:, None])
    sse, base = slow(scaled(held, values), free, episode, targets, known, deals)
    np.testing.assert_allclose(found.sse[:, 0], sse, rtol=1e-5)
    np.testing.assert_allclose(found.base[:, 0], base, rtol=1e-5)
    assert found.r2[0] > 0.1
    errors, whole = held.by_entry(targets, known, chosen)
    np.testing.assert_allclose(np.bincount(episode, errors.sum(axis=1)), sse, rtol=1e-5)
    np.testing.assert_allclose(np.bincount(episode, whole.sum(axis=1)), base, rtol=1e-5)


def test_versions_do_not_know_of_each_other():
    values, free, episode, targets = draw()
    held = HeldOut(values, free, episode, deal_often(np.zeros(EPISODES, int), 0, 2))
    other = np.random.default_rng(2).standard_normal(targets.shape)
    both = held.score(np.stack([targets, other], axis=1))[0]
    for version, one in enumerate((targets, other)):
        np.testing.assert_allclose(both.sse[:, version], held.score(one[:, None])[0].sse[:, 0])


def test_contexts_that_the_free_columns_give_tell_nothing():
    """Rounding aside: what is left of them must not be blown up to the scale of a context."""
    _, free, episode, targets = draw()
    held = HeldOut(np.tile(free, 5), free, episode, deal_often(np.arange(EPISODES) % 2, 0, 2))
    assert held.scale == 0
    np.testing.assert_allclose(held.score(targets[:, None])[0].r2, 0, atol=1e-9)


def test_a_row_whose_text_no_training_episode_has_is_not_scored():
    values, free, episode, targets = draw()
    free = np.column_stack([free, (episode == 3).astype(float)])
    held = HeldOut(values, free, episode, deal_often(np.arange(EPISODES) % 2, 0, 2))
    found = held.score(targets[:, None])[0]
    assert found.base[3, 0] == found.sse[3, 0] == 0
    assert (np.delete(found.base[:, 0], 3) > 0).all()


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_transplant_is_a_fit_of_the_transplanted_contexts(share):
    values, free, episode, _ = draw()
    deals = deal_often(np.arange(EPISODES) % 2, 0, 2)
    held = HeldOut(values, free, episode, deals)
    planted = held.remove_free(np.random.default_rng(3).standard_normal((len(episode), 2 * 2))).reshape(-1, 2, 2)
    plants = Plants(held, values, planted, np.ones(planted.shape, bool), np.random.default_rng(4))
    found = plants.r2(2 * plants.spreads, share)
    left = scaled(held, values)
    for spike in range(2):
        axes = plants.directions[spike]
        along = left @ axes
        codes = planted[:, spike, : axes.shape[1]] / planted[:, spike, : axes.shape[1]].std(axis=0)
        new = 2 * (along.std(axis=0) * np.sqrt(share) * codes + np.sqrt(1 - share) * along)
        known = np.ones((len(episode), 2), bool)
        sse, base = slow(left + (new - along) @ axes.T, free, episode, planted[:, spike], known, deals)
        assert found[spike] == pytest.approx(1 - sse.sum() / base.sum(), abs=1e-6)


def test_what_would_have_been_detected():
    """An R^2 of 0 excludes codes at the margin, one of .3 excludes none; strong codes fade with their spread."""
    rng = np.random.default_rng(5)
    episode = np.repeat(np.arange(40), 2)
    values, free = rng.standard_normal((80, 20)), np.ones((80, 1))
    held = HeldOut(values, free, episode, deal_often(np.zeros(40, int), 0, 2))
    planted = held.remove_free(rng.standard_normal((80, 60))).reshape(80, 60, 1)
    low, high = (
        find_sensitivity(held, values, planted, np.ones(planted.shape, bool), r2, 0.1, 0) for r2 in (-0.02, 0.3)
    )
    assert low.double <= low.p_no <= low.half
    assert low.double <= 0.05
    assert high.p_no > 0.9
    assert low.smallest is not None
    assert low.smallest < low.typical < 1
    assert high.smallest is None or high.smallest >= low.smallest
