"""Held-out predictions by products: the same as fitting anew without the held-out rows."""

import numpy as np

from mobile_vla.analysis.verdicts.preserving.ridge import Ridge, leave_out, orthonormal, project_on, standardise

PENALTY = 0.3


def draw(rows: int = 40, width: int = 60, seed: int = 0):
    """Vectors, two free columns that are no intercept alone, targets far from zero."""
    rng = np.random.default_rng(seed)
    free = np.eye(2)[rng.integers(2, size=rows)]
    return rng.standard_normal((rows, width)) / np.sqrt(width), free, 5 + rng.standard_normal((rows, 3))


def refit(train: np.ndarray, free: np.ndarray, targets: np.ndarray, test: np.ndarray, test_free: np.ndarray):
    """Normal equations of ridge regression with a penalty on the vectors only: predictions of the test rows."""
    design = np.concatenate([train, free], axis=1)
    penalty = np.diag([PENALTY] * train.shape[1] + [1e-9] * free.shape[1])
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ targets)
    return np.concatenate([test, test_free], axis=1) @ weights


def blocks_of(rows: int, size: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + size, rows)) for start in range(0, rows, size)]


def without(rows: int, *left_out: np.ndarray) -> np.ndarray:
    return np.setdiff1d(np.arange(rows), np.concatenate(left_out))


class TestLeaveOut:
    def test_it_is_a_fit_without_the_block_targets_centring_included(self):
        vectors, free, targets = draw()
        found = leave_out(Ridge(vectors @ vectors.T, free).hat(PENALTY), targets, blocks := blocks_of(40, 8))
        for block in blocks:
            rest = without(40, block)
            expected = targets[block] - refit(vectors[rest], free[rest], targets[rest], vectors[block], free[block])
            np.testing.assert_allclose(found[block], expected, atol=1e-5)

    def test_centring_the_targets_over_all_rows_would_leak(self):
        """Targets that are constant within folds and nothing else: a fit without a fold knows nothing of its mean."""
        rng = np.random.default_rng(0)
        scores = []
        for _ in range(40):
            vectors, targets = rng.standard_normal((40, 400)) / 20, np.repeat(rng.standard_normal(5), 8)[:, None]
            found = leave_out(Ridge(vectors @ vectors.T, np.ones((40, 1))).hat(PENALTY), targets, blocks_of(40, 8))
            scores.append(1 - (found**2).sum() / ((targets - targets.mean()) ** 2).sum())
        assert np.mean(scores) < -0.2  # the rest's mean lies on the other side; centred over all rows it would be 0

    def test_a_free_column_that_lies_all_in_the_held_out_rows_predicts_nothing(self):
        vectors, _, targets = draw()
        free = np.eye(2)[(np.arange(40) < 5).astype(int)]
        block = np.arange(8)
        found = leave_out(Ridge(vectors @ vectors.T, free).hat(PENALTY), targets, [block, without(40, block)])
        np.testing.assert_allclose((targets - found)[:5].mean(axis=0), 0, atol=1e-4)
        rest = without(40, block)
        expected = targets[5:8] - refit(vectors[rest], free[rest], targets[rest], vectors[5:8], free[5:8])
        np.testing.assert_allclose(found[5:8], expected, atol=1e-4)

    def test_a_projection_alone_is_the_mean_of_the_others(self):
        targets = np.array([[1.0], [2.0], [6.0], [7.0]])
        found = leave_out(project_on(orthonormal(np.ones((4, 1)))), targets, [np.array([0, 1]), np.array([2, 3])])
        np.testing.assert_allclose(found[:, 0], [1 - 6.5, 2 - 6.5, 6 - 1.5, 7 - 1.5], atol=1e-6)


class TestStandardise:
    def test_a_massive_dimension_weighs_as_much_as_any_other(self):
        vectors = np.random.default_rng(0).standard_normal((50, 4)) * [1, 1, 1, 1000] + [0, 0, 0, 34_000]
        values = standardise(vectors)
        np.testing.assert_allclose((values**2).sum(axis=0), 50 / 4)
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-12)

    def test_what_differs_by_rounding_only_is_constant(self):
        vectors = np.full((10, 2), 0.1)
        vectors[::2, 0] += 1e-17
        vectors[::2, 1] = np.nextafter(0.1, 1)
        assert not standardise(vectors).any()
