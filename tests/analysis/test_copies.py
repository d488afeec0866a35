"""Copies with the same commands are found as a plain loop over all pairs finds them; clusters and their labels."""

import numpy as np

from mobile_vla.analysis.copies import NEAR, Clusters, link_commanded_alike, link_equal, merge_labels

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


def find_copies(vectors, actions, told=TOLD):
    clusters = Clusters(EPISODES)
    link_commanded_alike(clusters, vectors, actions, CELL, ROWS, told)
    return [one for members in clusters.members() for one in members[1:]]


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
    found = find_copies(vectors, actions)
    assert found == find_by_pairs(vectors, actions)
    assert 20 in found  # exact
    assert 29 not in found  # too much noise
    assert 2 < len(found) < 9


def test_other_actions_or_labels_are_not_commanded_alike():
    vectors, actions = plant(noise=0.01)
    assert find_copies(vectors, actions) == list(range(20, 30))
    labelled = [(text, episode >= 25) for episode, text in enumerate(TOLD)]
    assert find_copies(vectors, actions, labelled) == list(range(20, 25))
    actions[ROWS[22]] += 0.01
    assert 22 not in find_copies(vectors, actions)


def test_clusters_are_chains_of_links():
    clusters = Clusters(6)
    clusters.link(5, 3)
    clusters.link(1, 5)
    link_equal(clusters, [None, None, "a", None, "a", None])
    assert clusters.members() == [[1, 3, 5], [2, 4]]


def test_what_copies_agree_on_is_known_of_the_one_that_is_kept():
    labels = {
        "scenario": np.array([None, "box", "box", "basket", "box"], object),
        "boxes": np.array(["1", "1", "1", "1", "1"], object),
    }
    merged, notes = merge_labels(labels, [[0, 1], [2, 3]], ["a", "b", "c", "d", "e"])
    assert merged["scenario"].tolist() == ["box", "box", None, "basket", "box"]
    assert labels["scenario"][2] == "box"
    assert list(notes) == ["scenario"]
    assert "in 1 of 2 cases" in notes["scenario"]
    assert "'box' in c, 'basket' in d" in notes["scenario"]
