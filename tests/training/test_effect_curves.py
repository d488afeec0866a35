"""Effects at every validation: those of the changed windows one by one; training is what it is without them."""

import csv

import numpy as np
import pytest
import torch

from mobile_vla.data.meaning import Meanings
from mobile_vla.data.windows import WindowConfig
from mobile_vla.display.loggers import CsvMetrics
from mobile_vla.evaluation.effect_sample import MOST_WINDOWS, sample_windows
from mobile_vla.evaluation.losses import masked_huber
from mobile_vla.interventions.drawing import draw_units, pair_donors
from mobile_vla.training.callbacks.effects import EffectCurves, EffectsConfig

MEANINGS = Meanings({"go past the box on the left": "left", "go past the box on the right": "right"}, known=True)
NAMES = ("instruction", "paraphrase", "image")


@pytest.fixture(scope="module")
def data(lab):
    return lab.make_data(lab.make_episodes(16), num_validation=8)


def train(lab, data, folder, followed=4):
    """Rows of `metrics.csv`, the trained policy, the callback, and what was said."""
    said: list[str] = []
    policy = lab.make_policy(lora={"dropout": 0.3})
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
            elif "head" in name:  # a fresh one hardly looks at its contexts
                weight.mul_(4)
    module = lab.make_module(policy, data, max_epochs=2)
    curves = [EffectCurves(EffectsConfig(episodes=followed), data, 1.0, said.append)] if followed else []
    trainer = lab.make_trainer(
        folder, max_epochs=2, callbacks=curves, logger=CsvMetrics(folder / "metrics.csv"), num_sanity_val_steps=1
    )
    trainer.fit(module, data)
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream)), policy, curves, said


@pytest.fixture(scope="module")
def followed(lab, data, tmp_path_factory):
    return train(lab, data, tmp_path_factory.mktemp("followed"))


def validated(rows):
    return [row for row in rows if row["val_loss"]]


@torch.no_grad()
def test_the_numbers_are_losses_of_changed_windows_over_losses_as_recorded(data, followed):
    """Window by window, nothing shared; the last validation has seen the weights that training ended with."""
    rows, policy, (curves,), _ = followed
    assembler = data.assembler(curves.plan.episodes)
    sums = {name: np.zeros(2) for name in curves.plan.interventions()}

    def loss(request):
        batch = assembler([request])
        return float(masked_huber(policy.eval()(batch), batch.chunks, batch.chunk_mask, 1.0)) * batch.num_valid

    for window in (window for batch in curves.batches for window in batch):
        own = loss(window)
        for name, change in curves.plan.interventions().items():
            if (changed := change(window)) is not None:
                sums[name] += loss(changed), own
    last = validated(rows)[-1]
    for name, (changed, own) in zip(NAMES, sums.values(), strict=True):
        assert float(last[f"effects/{name}"]) == pytest.approx(changed / own, rel=2e-5)
        assert abs(changed / own - 1) > 1e-4


def test_they_are_there_at_every_validation_and_training_is_the_same_without(lab, data, followed, tmp_path):
    rows, policy, _, said = followed
    without, same, _, _ = train(lab, data, tmp_path, followed=0)
    assert len(validated(rows)) == 2  # the sanity check is none
    assert all(row[f"effects/{name}"] for row in validated(rows) for name in NAMES)
    assert said == [f"effects are followed on {said[0].split()[4]} windows of 4 validation episodes"]
    own = {"epoch", "step", *without[0]}
    assert [{name: row[name] for name in own} for row in rows] == without
    for name, weight in policy.trained().items():
        assert torch.equal(weight, same.trained()[name]), name


def test_what_cannot_be_known_has_no_curve_and_one_line(lab, tmp_path):
    data = lab.make_data([lab.make_episode(f"e{i}", 9, seed=i) for i in range(8)])
    rows, _, _, said = train(lab, data, tmp_path)
    assert all(row["effects/image"] for row in validated(rows))
    assert not {"effects/instruction", "effects/paraphrase"} & rows[0].keys()
    assert len(said) == 1
    assert "none of the instruction: " in said[0]


class TestSample:
    WINDOWS = WindowConfig(window=4, chunk=5)

    def sample(self, lab, order=slice(None), count=6, most_frames=100):
        """Batches of (episode's id, start), and the partner of each episode's id."""
        texts = (lab.left, lab.right)
        episodes = [lab.make_episode(f"e{i:02d}", 8 + 6 * i, texts[i % 2], seed=i) for i in range(9)][order]
        donors, _ = pair_donors(episodes, MEANINGS, 0)
        batches = sample_windows(episodes, donors, self.WINDOWS, count, most_frames)
        found = [[(episodes[one.episode].id, one.start) for one in batch] for batch in batches]
        return found, {episodes[i].id: episodes[j].id for i, j in donors.items()}, episodes

    def test_it_is_the_same_in_any_order_and_fits_into_batches(self, lab):
        batches, partner, episodes = self.sample(lab)
        again, _, _ = self.sample(lab, slice(None, None, -1))
        small, _, _ = self.sample(lab, most_frames=12)
        windows = sorted(one for batch in batches for one in batch)
        assert (
            windows
            == sorted(one for batch in again for one in batch)
            == sorted(one for batch in small for one in batch)
        )
        assert len(windows) == len(set(windows))
        for most, found in ((100, batches), (12, small)):
            for batch in found:
                assert len({(id, start + i) for id, start in batch for i in range(4)}) <= most
        chosen = {id for id, _ in windows}
        assert len(chosen) == 6
        assert {partner[id] for id in chosen} == chosen
        assert sum(len({id for id, _ in batch}) > 1 for batch in small) > len(small) / 2  # cut, and yet side by side
        for batch in batches:
            assert {partner[id] for id, _ in batch} == {id for id, _ in batch}
        lengths = {episode.id: episode.num_frames for episode in episodes}
        for id in chosen:
            starts = [start for other, start in windows if other == id]
            there = self.WINDOWS.starts(lengths[id])
            assert len(starts) == min(MOST_WINDOWS, len(there))
            assert (starts[0], starts[-1]) == (there[0], there[-1])
            assert np.ptp(np.diff(starts)) <= 1

    def test_episodes_without_a_partner_come_last(self, lab):
        _, _, episodes = self.sample(lab)
        assert draw_units(episodes, {0: 4, 4: 0}, 3)[0] == (0, 4)
        assert [len(unit) for unit in draw_units(episodes, {0: 4, 4: 0}, 3)] == [2, 1]
        assert draw_units(episodes, {}, 0) == []


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="episodes must not be negative, got -1; 0 follows none"):
        EffectsConfig(episodes=-1)
