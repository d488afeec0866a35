"""A policy under interventions gives the tables of the same policy on data that was changed beforehand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobile_vla.core.batch import OWN
from mobile_vla.data.meaning import find_meanings
from mobile_vla.evaluation.effects import EffectPlan
from mobile_vla.evaluation.passes import evaluate
from mobile_vla.interventions.drawing import DONOR, PARAPHRASE, SWAP


@pytest.fixture(scope="module")
def setting(lab):
    policy = lab.make_policy(lora={"dropout": 0.5})
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    data = lab.make_data(num_validation=5, batch_size=4)
    episodes = data.episodes("validation")
    meanings = find_meanings(data.dataset.episodes, "direction")
    plan = EffectPlan(episodes, meanings, data.tokenize.length, None)
    return policy, data, episodes, plan


def batches(data, part="validation"):
    return data.assembler(data.episodes(part)).batches(data.plan(part))


def test_own_equals_window_by_window(lab, setting):
    policy, data, episodes, _ = setting
    sums, alone = lab.make_sums(episodes), lab.make_sums(episodes)
    tables = evaluate(policy, data.assembler(episodes), batches(data), sums)
    assembler = data.assembler(episodes)
    for requests in batches(data):
        for request in requests:
            batch = assembler([request])
            with torch.no_grad():
                alone.update(policy(batch), batch)
    assert tables.keys() == {OWN}
    np.testing.assert_allclose(tables[OWN], alone.compute(), rtol=1e-4, atol=1e-4)


def test_interventions_equal_data_changed_beforehand(lab, setting):
    policy, data, episodes, plan = setting
    tables = evaluate(policy, data.assembler(episodes), batches(data), lab.make_sums(episodes), plan.interventions())
    assert tables.keys() == {OWN, SWAP, PARAPHRASE, DONOR}
    for name in (SWAP, PARAPHRASE):
        changed = [
            replace(episode, instruction=text or episode.instruction)
            for episode, text in zip(episodes, plan.texts[name], strict=True)
        ]
        expected = evaluate(policy, data.assembler(changed), batches(data), lab.make_sums(episodes))[OWN]
        there = np.array([text is not None for text in plan.texts[name]])
        np.testing.assert_allclose(tables[name][there], expected[there], rtol=1e-4, atol=1e-4)
        assert not tables[name][~there].any()
        assert np.abs(tables[name][there] - tables[OWN][there]).max() > 1e-3

    class Donated:
        """Frames of the donor at the same progress, under the episode's own name."""

        def read(self, episode, low, high):
            index = episodes.index(episode)
            donor = episodes[plan.donors.get(index, index)]
            frames = lab.RandomFrames().read(donor, 0, donor.num_frames)
            last = episode.num_frames - 1
            return torch.stack([frames[round(f / last * (donor.num_frames - 1))] for f in range(low, high)])

    assembler = data.assembler(episodes)
    assembler.frames = Donated()
    expected = evaluate(policy, assembler, batches(data), lab.make_sums(episodes))[OWN]
    there = np.array([i in plan.donors for i in range(len(episodes))])  # five episodes: one is left over
    assert there.sum() == 4
    np.testing.assert_allclose(tables[DONOR][there], expected[there], rtol=1e-4, atol=1e-4)
    assert not tables[DONOR][~there].any()


def test_dropout_is_off_and_modes_and_sums_are_put_back(lab, setting):
    policy, data, episodes, plan = setting
    sums = lab.make_sums(episodes)
    policy.train()
    first, second = (
        evaluate(policy, data.assembler(episodes), batches(data), sums, plan.interventions()) for _ in range(2)
    )
    assert policy.training
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not sums.table.any()
    policy.eval()


def test_interventions_share_the_image_tokens(lab, setting):
    """Another text costs no frame of the vision tower, the donor's only those that are not there yet."""
    policy, data, episodes, plan = setting
    seen = []
    hook = policy.backbone.model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    texts = {name: change for name, change in plan.interventions().items() if name != DONOR}
    for interventions in ({}, texts):
        evaluate(policy, data.assembler(episodes), batches(data), lab.make_sums(episodes), interventions)
    hook.remove()
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
