"""All deals and orders at once, beside one fit a fold, deal and order by normal equations."""

import numpy as np
import pytest

from mobile_vla.analysis.verdicts.discriminative.balance import weigh_episodes
from mobile_vla.analysis.verdicts.discriminative.dealing import Deals, batched
from mobile_vla.analysis.verdicts.folds import deal_often
from mobile_vla.analysis.verdicts.preserving.ridge import Ridge


def slow_classes(values, labels, cells, num, folds, penalty=0.03):
    """In each fold contexts and targets less their training cell's means; the target's mean is not added again."""
    targets = 2.0 * np.eye(num)[labels] - 1
    found = np.empty(len(labels), int)
    for fold in range(5):
        train = folds != fold
        means = {
            cell: (values[train & (cells == cell)].mean(axis=0), targets[train & (cells == cell)].mean(axis=0))
            for cell in np.unique(cells)
        }
        inputs = values - np.stack([means[cell][0] for cell in cells])
        wanted = targets - np.stack([means[cell][1] for cell in cells])
        gram = inputs[train].T @ inputs[train] + penalty * np.eye(values.shape[1])
        scores = inputs @ np.linalg.solve(gram, inputs[train].T @ wanted[train])
        found[~train] = scores[~train].argmax(axis=1)
    return found


@pytest.mark.parametrize(("num", "sessions"), [(2, 1), (2, 3), (3, 1), (3, 2)])
def test_classes_are_those_of_fits_without_the_fold_also_of_permuted_contexts(num, sessions):
    rng = np.random.default_rng(num * 10 + sessions)
    n = 43
    labels, cells = rng.permutation(np.arange(n) % num), rng.permutation(np.arange(n) % sessions)
    values = rng.standard_normal((n, 12)) / np.sqrt(12) + 0.3 * np.eye(12)[labels] + 2 * np.eye(12)[cells + 5]
    orders = np.stack([np.arange(n)] * 3)
    for order in orders[1:]:
        for cell in range(sessions):
            inside = np.flatnonzero(cells == cell)
            order[inside] = rng.permutation(inside)
    deals = Deals(labels, cells, num, seed=4, count=3)
    left = Ridge(values @ values.T, np.eye(sessions)[cells]).left(0.03)
    found = deals.classify(left, orders)
    assert found.shape == (3, 3, n)
    folds = deal_often(cells * num + labels, 4, 3)
    for place, order in enumerate(orders):
        for deal in range(3):
            slow = slow_classes(values[order], labels, cells, num, folds[deal])
            np.testing.assert_array_equal(found[place, deal], slow)
    weights = weigh_episodes(labels, cells, num)
    np.testing.assert_allclose(
        deals.score(left, orders, weights), [((one == labels).mean(axis=0) * weights).sum() for one in found]
    )


def test_the_session_itself_decides_nothing():
    """Contexts that hold the session and nothing else, a label that goes with it nine times in ten."""
    rng = np.random.default_rng(0)
    cells = np.repeat([0, 1], 40)
    labels = np.where(np.arange(80) % 10 == 0, 1 - cells, cells)
    values = np.eye(2)[cells] + 0.01 * rng.standard_normal((80, 2))
    deals = Deals(labels, cells, 2, seed=0, count=10)
    left = Ridge(values @ values.T, np.eye(2)[cells]).left(0.03)
    weights = weigh_episodes(labels, cells, 2)
    assert deals.score(left, np.arange(80)[None], weights)[0] < 0.65


def test_batches_grow_and_lose_nothing():
    sizes = [len(batch) for batch in batched(np.arange(70)[:, None], first=10)]
    assert sizes == [10, 20, 40]
