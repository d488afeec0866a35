"""Copies are found as a plain loop over all pairs finds them; what differs in anything but a little noise is none."""

import numpy as np

from mobile_vla.analysis.copies import NEAR, find_copies

EPISODES, BINS, WIDTH = 30, 5, 24
TEXT = np.arange(EPISODES) % 2
CELL = (TEXT[:, None] * BINS + np.arange(BINS)).reshape(-1)
ROWS = list(np.arange(EPISODES * BINS).reshape(EPISODES, BINS))
TOLD = TEXT.tolist()


def plant(noise):
    """Of 30 episodes the last ten are the first ten again, with each its own share of the noise."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((EPISODES, 1, WIDTH)) + 0.3 * rng.standard_normal((EPISODES, BINS, WIDTH))
    vectors *= np.geomspace(0.01, 100, WIDTH)  # dimensions of all loudnesses
    actions = rng.standard_normal((EPISODES, BINS, 3, 2))
    spread = vectors.std(axis=0) * np.linspace(0, noise, 10)[:, None, None]
    vectors[20:] = vectors[:10] + spread * rng.standard_normal((10, BINS, WIDTH))
    actions[20:] = actions[:10]
    return vectors.reshape(-1, WIDTH).astype(np.float32), actions.reshape(-1, 3, 2)


def find_by_pairs(vectors, actions):
    left = vectors.astype(np.float64).copy()
    for cell in set(CELL.tolist()):
        left[cell == CELL] -= left[cell == CELL].mean(axis=0)
    usual = (left**2).sum(axis=0) / (len(left) - len(set(CELL.tolist())))
    found = []
    for one in range(EPISODES):
        for other in range(one):
            same = TEXT[one] == TEXT[other] and np.allclose(actions[ROWS[one]], actions[ROWS[other]])
            apart = ((left[ROWS[one]] - left[ROWS[other]]) ** 2 / (2 * usual)).mean()
            if same and other not in found and np.sqrt(apart) < NEAR:
                found.append(one)
                break
    return found


def test_copies_are_those_of_a_loop_over_all_pairs():
    vectors, actions = plant(noise=0.3)
    found = find_copies(vectors, actions, CELL, ROWS, TOLD)
    assert found == find_by_pairs(vectors, actions)
    assert 20 in found  # exact
    assert 29 not in found  # too much noise
    assert 2 < len(found) < 9


def test_other_actions_labels_or_no_known_actions_leave_exact_copies_only():
    vectors, actions = plant(noise=0.01)
    assert find_copies(vectors, actions, CELL, ROWS, TOLD) == list(range(20, 30))
    assert find_copies(vectors, None, CELL, ROWS, TOLD) == [20]
    labelled = [(text, episode >= 25) for episode, text in enumerate(TOLD)]
    assert find_copies(vectors, actions, CELL, ROWS, labelled) == list(range(20, 25))
    actions[ROWS[22]] += 0.01
    assert 22 not in find_copies(vectors, actions, CELL, ROWS, TOLD)
