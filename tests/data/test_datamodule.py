"""From files to batches: the same whatever the number of workers, every window once, and each epoch anew."""

from dataclasses import fields, replace
from multiprocessing import active_children

import numpy as np
import pytest
import torch

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.errors import UserError
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import DataConfig, open_dataset
from mobile_vla.data.splits import Split
from tests.data.test_assemble import Tokens

SPACE = ActionSpace(components=("linear_x", "linear_y"), low=(-1.2, -1.2), high=(1.2, 1.2))
SPLIT = Split({"train": ("a", "b", "c"), "validation": ("d", "e"), "test": ()})
NUM_FRAMES = {"a": 18, "b": 11, "c": 5, "d": 12, "e": 9}  # windows: 11, 4, 1; 5, 2


@pytest.fixture
def new_data(tmp_path, write_episode, small):
    for seed, (name, num_frames) in enumerate(NUM_FRAMES.items()):
        layout = "v5_jpeg" if name in "bd" else "v3"
        write_episode(tmp_path / "episodes" / f"{name}.h5", layout, num_frames, seed=seed)
    config = DataConfig(root=str(tmp_path / "episodes"), batch_size=4, span=2, pack_dir=str(tmp_path / "packed"))

    def build(accumulate=1, **settings):
        changed = replace(config, **settings)
        return EpisodeDataModule(
            changed, open_dataset(changed, small), SPLIT, SPACE, Tokens(), seed=3, accumulate=accumulate
        )

    return build


def same(left, right):
    for field in fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


def firsts(batches):
    """Who the windows are: episode and first frame."""
    return [batch.window_pairs(w)[0][:2] for batch in batches for w in range(batch.num_windows)]


def test_two_workers_give_the_batches_of_none(new_data):
    alone, shared = new_data().loader("train"), new_data(num_workers=2).loader("train")
    seen = []
    for epoch in (0, 1):
        for loader in (alone, shared):
            loader.sampler.set_epoch(epoch)
        batches = list(alone)
        for left, right in zip(batches, shared, strict=True):
            same(left, right)
        seen.append(firsts(batches))
    assert sorted(seen[0]) == sorted(seen[1])
    assert seen[0] != seen[1]  # workers that live on must not repeat an epoch


def test_packed_and_unpacked_give_the_same_batches(new_data):
    for left, right in zip(new_data().val_dataloader(), new_data(pack=False).val_dataloader(), strict=True):
        same(left, right)


class TestFilesThatGoBad:
    """Two workers, and a file that is gone by the time they read it."""

    @pytest.fixture(params=[0, 2], ids=["no workers", "two workers"])
    def workers(self, request):
        return request.param

    def test_error_is_one_line_that_names_the_file(self, new_data, tmp_path, workers):
        data = new_data(num_workers=workers, pack=False, faults="error")
        (tmp_path / "episodes" / "b.h5").unlink()
        with pytest.raises(UserError) as caught:
            list(data.train_dataloader())
        assert str(caught.value) == (
            f"{tmp_path}/episodes/b.h5 went bad while it was read: is not there any more; restore it, or leave it out "
            "with data.faults=skip"
        )
        assert not active_children()

    @pytest.mark.parametrize("pack", [True, False])
    def test_skip_masks_its_windows_and_goes_on(self, new_data, tmp_path, workers, pack):
        data = new_data(num_workers=workers, pack=pack)
        whole = list(data.train_dataloader())
        data = new_data(num_workers=workers, pack=pack)
        (tmp_path / "episodes" / "b.h5").unlink()
        batches = list(data.train_dataloader())
        assert firsts(batches) == firsts(whole)
        for batch, before in zip(batches, whole, strict=True):
            theirs = torch.tensor([id == "b" for id, _ in firsts([batch])])
            expected = before.chunk_mask & ~theirs[:, None, None]
            assert torch.equal(batch.chunk_mask, expected)
            assert batch.denominator == max(batch.num_valid, 1)
            gone = ((f"{tmp_path}/episodes/b.h5", "is not there any more"),)
            assert batch.broken == (gone if theirs.any() else ())
        assert any(batch.broken for batch in batches)


def test_an_epoch_holds_every_window_of_its_part_once(new_data):
    data = new_data()
    expected = {"train": {"a": 11, "b": 4, "c": 1}, "validation": {"d": 5, "e": 2}}
    for part, loader in {"train": data.train_dataloader(), "validation": data.val_dataloader()}.items():
        windows = [(episode, start) for episode, count in expected[part].items() for start in range(count)]
        assert sorted(firsts(loader)) == windows


def test_validation_comes_in_order_and_training_does_not(new_data):
    data = new_data()
    assert firsts(data.val_dataloader()) == sorted(firsts(data.val_dataloader()))
    assert firsts(data.train_dataloader()) != sorted(firsts(data.train_dataloader()))


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 4), (2, 2), (3, 2)])
def test_steps_of_an_epoch_count_the_last_incomplete_one(new_data, accumulate, steps):
    data = new_data(accumulate=accumulate)
    assert data.steps_per_epoch() == steps
    denominators = [batch.denominator for batch in data.train_dataloader()]
    valid = [batch.num_valid for batch in data.train_dataloader()]
    slow = [sum(valid[i : i + accumulate]) for i in range(0, 4, accumulate)]
    assert denominators == [slow[i // accumulate] for i in range(4)]
    assert [b.denominator for b in data.val_dataloader()] == [b.num_valid for b in data.val_dataloader()]


def test_chunks_are_normalised_actions_of_the_file(new_data):
    data = new_data(pack=False)
    batch = next(iter(data.val_dataloader()))
    (episode,) = [e for e in data.dataset.episodes if e.id == "d"]
    np.testing.assert_allclose(batch.chunks[0, 0].numpy(), episode.actions[:10, :2] / 1.2, atol=1e-6)


def test_the_padded_share_is_what_the_masks_say(new_data):
    data = new_data()
    masks = torch.cat([batch.chunk_mask for batch in data.val_dataloader()])
    assert data.share_padded("validation") == pytest.approx(1 - masks.double().mean().item())
