"""What a subspace is, and that a context is replaced inside it and nowhere else."""

import numpy as np
import pytest
import torch

from mobile_vla.core.errors import UserError
from mobile_vla.interventions.subspace import Subspace, load_basis


def save(folder, array, name="d.npy"):
    np.save(folder / name, array, allow_pickle=True)
    return folder / name


def test_the_span_is_that_of_the_rows_whatever_their_lengths(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 20)) * [[1], [1000], [1e-4], [2]]
    basis = load_basis(save(tmp_path, rows), 20).double()
    torch.testing.assert_close(basis @ basis.T, torch.eye(4).double(), atol=1e-6, rtol=0)
    inside = np.linalg.lstsq(basis.numpy().T, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T, rcond=None)[0]
    np.testing.assert_allclose(np.linalg.norm(inside, axis=0), 1, atol=1e-6)


def test_only_the_part_inside_is_replaced(tmp_path):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(3, 12))
    subspace = Subspace(basis=load_basis(save(tmp_path, rows), 12))
    own, other = rng.normal(size=(2, 5, 12))
    found = subspace.replace_part(torch.tensor(own).float(), torch.tensor(other).float()).double().numpy()
    projector = rows.T @ np.linalg.inv(rows @ rows.T) @ rows  # the textbook's, without a basis
    np.testing.assert_allclose(found, own @ (np.eye(12) - projector) + other @ projector, atol=1e-5)


def test_bfloat16_contexts_stay_bfloat16(tmp_path):
    subspace = Subspace(basis=load_basis(save(tmp_path, np.eye(12)[:3]), 12))
    own, other = torch.randn(2, 4, 12).bfloat16()
    found = subspace.replace_part(own, other)
    assert torch.equal(found, torch.cat([other[:, :3], own[:, 3:]], dim=1))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 7)), r"holds \(2, 7\) float64, expected k directions of contexts in rows: numbers \(k, 8\)"),
        (np.ones(8), r"holds \(8,\) float64, expected"),
        (np.array([["a"] * 8]), r"expected k directions"),
        (np.array([None]), r"cannot be read as \.npy"),
        (np.full((1, 8), np.nan), r"8 values not finite"),
        (np.ones((0, 8)), r"holds 0 rows"),
        (np.eye(8), r"holds 8 rows.*expected 1 to 7"),
        (np.ones((2, 8)), r"the 2 rows of .* span fewer directions"),
        (np.eye(8)[:2] * [[1], [0]], r"span fewer directions"),
    ],
)
def test_what_is_no_subspace_is_refused(tmp_path, array, message):
    with pytest.raises(UserError, match=message):
        load_basis(save(tmp_path, array), 8)


def test_a_file_that_is_not_there_or_no_array_is_refused(tmp_path):
    (tmp_path / "x.npy").write_text("hello")
    np.savez(tmp_path / "y.npz", a=np.eye(8))
    for name, message in (("none.npy", "No such file"), ("x.npy", "cannot be read"), ("y.npz", "several arrays")):
        with pytest.raises(UserError, match=message):
            load_basis(tmp_path / name, 8)
