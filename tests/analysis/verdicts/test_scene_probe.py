"""Predictions of held-out chunks: against a fit that never saw them, and worth nothing where there is nothing."""

import numpy as np

from mobile_vla.analysis.verdicts.actionable.scene_probe import free_courses, predict_held_out


def draw(seed: int, num: int = 40, code: float = 2.0):
    rng = np.random.default_rng(seed)
    scene = rng.standard_normal((num, 1, 1)) + 0.3 * rng.standard_normal((num, 3, 1))
    chunks = (scene + 0.5 * rng.standard_normal((num, 3, 1))).reshape(-1, 1)
    contexts = rng.standard_normal((num, 3, 20)) + code * scene * np.eye(20)[0]
    progress = np.tile([0.0, 0.5, 1.0], num)
    episode = np.repeat(np.arange(num), 3)
    return contexts.reshape(-1, 20), chunks, progress, episode


def test_a_held_out_row_is_not_in_its_own_prediction():
    """Its chunk may be anything: only the choice of the penalty could see it, and it chooses by other folds."""
    contexts, chunks, progress, episode = draw(0)
    free = free_courses(np.zeros(len(progress), int), progress)
    deal = [episode % 5]
    found = predict_held_out(contexts, chunks, free, deal)
    changed = chunks.copy()
    changed[episode == 7] += 0.5
    again = predict_held_out(contexts, changed, free, deal)
    held = episode % 5 == 7 % 5
    np.testing.assert_allclose(again[held], found[held], atol=1e-6)
    assert np.abs(again[~held] - found[~held]).max() > 1e-3


def test_scenes_that_contexts_code_are_predicted_and_others_are_not():
    gained = {}
    for code in (0.0, 2.0):
        shares = []
        for seed in range(12):
            contexts, chunks, progress, episode = draw(seed, code=code)
            free = free_courses(np.zeros(len(progress), int), progress)
            found = predict_held_out(contexts, chunks, free, [episode % 5, episode // 2 % 5])
            aim, between = found[::6] - found[3::6], chunks[::6] - chunks[3::6]
            shares.append((aim * between).sum() / (between**2).sum())
        gained[code] = np.mean(shares)
    assert gained[2.0] > 0.5
    assert abs(gained[0.0]) < 0.1


def test_free_columns_are_a_cubic_of_progress_for_each_meaning():
    columns = free_courses(np.array([0, 1]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(columns, [[1, -1, 1, -1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]])


def test_unknown_steps_are_no_error():
    contexts, chunks, progress, episode = draw(1)
    chunks[:3] = np.nan
    free = free_courses(np.zeros(len(progress), int), progress)
    assert np.isfinite(predict_held_out(contexts, chunks, free, [episode % 5])).all()
