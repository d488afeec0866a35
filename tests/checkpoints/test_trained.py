"""A checkpoint holds what was trained, comes back exactly, and goes into nothing else."""

import pickle
from dataclasses import replace

import pytest
import torch

from mobile_vla.checkpoints.trained import SCHEMA, action_space, load_trained, read_checkpoint
from mobile_vla.core.errors import UserError

BYTES = 4 + 4 + 4  # of a trained parameter: its value and AdamW's two moments, all float32


def test_it_holds_what_was_trained_and_nothing_frozen(trained):
    content = torch.load(trained.file, weights_only=True)
    assert content["state_dict"].keys() == trained.policy.trained().keys()
    for name, weight in trained.policy.trained().items():
        assert torch.equal(content["state_dict"][name], weight), name
    moments = content["optimizer_states"][0]["state"]
    assert len(moments) == len(trained.policy.trained())
    assert {entry["exp_avg"].dtype for entry in moments.values()} == {torch.float32}


@pytest.mark.parametrize("preset", ["none", "text"])
def test_frozen_parts_of_other_presets_stay_out(maker, tmp_path, preset):
    policy = maker.make_policy(lora={"preset": preset})
    names = torch.load(maker.fit(policy, tmp_path), weights_only=True)["state_dict"].keys()
    assert names == policy.trained().keys()
    assert ("backbone.action_token" in names) == (preset == "text")


def test_its_size_is_that_of_the_trained_weights_and_their_moments(trained):
    num_trained = trained.policy.num_parameters()["trainable"]
    assert trained.file.stat().st_size <= 1.05 * BYTES * num_trained
    assert num_trained < 0.8 * trained.policy.num_parameters()["total"]


def test_its_metadata_are_plain_values(maker, trained):
    """Whatever reads them needs no class of ours; and they say what the weights mean."""

    def kinds(value):
        if isinstance(value, dict):
            return {kind for part in value.values() for kind in kinds(part)}
        if isinstance(value, list):
            return {kind for part in value for kind in kinds(part)}
        return {type(value)}

    known = read_checkpoint(trained.file)["mobile_vla"]
    assert kinds(known) <= {str, int, float, bool, type(None)}
    assert known["schema"] == SCHEMA
    assert known["layout"] == "robovlms"
    assert known["prompt"] == trained.policy.backbone.config.prompt
    assert known["preprocessing"]["size"] == 28
    assert known["parameters"] == trained.policy.num_parameters()
    assert known["config"] == maker.config
    assert action_space(known) == maker.space


@torch.no_grad()
def test_a_fresh_policy_becomes_the_trained_one(maker, trained):
    fresh = maker.make_policy(seed=9)
    batch = maker.make_batch(fresh)
    expected = trained.policy.eval()(batch)
    assert not torch.allclose(fresh(batch), expected, atol=1e-4)
    load_trained(fresh, trained.file)
    assert torch.equal(fresh(batch), expected)
    assert all(torch.equal(fresh.trained()[name], weight) for name, weight in trained.policy.trained().items())


class TestRefusals:
    """Nothing is loaded halfway: the policy is as it was."""

    @staticmethod
    def refused(policy, file, match):
        before = {name: weight.clone() for name, weight in policy.named_parameters()}
        with pytest.raises(UserError, match=match) as caught:
            load_trained(policy, file)
        assert "\n" not in str(caught.value)
        assert all(torch.equal(weight, before[name]) for name, weight in policy.named_parameters())

    @staticmethod
    def changed(trained, folder, change):
        content = torch.load(trained.file, weights_only=True)
        change(content)
        torch.save(content, folder / "changed.ckpt")
        return folder / "changed.ckpt"

    def test_another_base(self, maker, trained):
        self.refused(maker.make_policy(weights_seed=1), trained.file, "trained on other base weights")

    def test_a_missing_weight(self, maker, trained, tmp_path):
        file = self.changed(trained, tmp_path, lambda c: c["state_dict"].pop("backbone.action_token"))
        self.refused(
            maker.make_policy(), file, r"1 trained weights missing \(first: \['backbone.action_token'\]\), 0 un"
        )

    def test_an_unexpected_weight(self, maker, trained, tmp_path):
        file = self.changed(trained, tmp_path, lambda c: c["state_dict"].update({"head.extra": torch.zeros(2)}))
        self.refused(maker.make_policy(), file, r"0 trained weights missing .*1 unexpected \(first: \['head.extra'\]\)")

    def test_other_adapters(self, maker, trained):
        self.refused(
            maker.make_policy(lora={"preset": "none"}), trained.file, r"0 trained weights missing .*unexpected"
        )
        self.refused(maker.make_policy(lora={"dora": True}), trained.file, r"trained weights missing .*0 unexpected")

    @pytest.mark.parametrize("settings", [{"lora": {"r": 4}}, {"hidden": 64}, {"num_components": 3}])
    def test_another_shape(self, maker, trained, settings):
        self.refused(maker.make_policy(**settings), trained.file, r"has shape \(.*\), expected \(.*\)")

    @pytest.mark.parametrize(
        ("settings", "word"), [({"layout": "kosmos2"}, "layout"), ({"prompt": "Now {instruction}"}, "prompt")]
    )
    def test_another_way_of_reading(self, maker, trained, settings, word):
        """The same weights behind another layout or prompt are another model."""
        self.refused(maker.make_policy(**settings), trained.file, word)

    def test_another_preprocessing(self, maker, trained):
        policy = maker.make_policy()
        policy.preprocessing = replace(policy.preprocessing, mean=(0.0, 0.0, 0.0))
        self.refused(policy, trained.file, "preprocessing")

    def test_no_such_file(self, maker, tmp_path):
        self.refused(maker.make_policy(), tmp_path / "none.ckpt", "no such checkpoint")

    def test_a_folder(self, maker, tmp_path):
        self.refused(maker.make_policy(), tmp_path, "is no readable checkpoint")

    @pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
    def test_a_damaged_file(self, maker, trained, tmp_path, kept):
        whole = trained.file.read_bytes()
        (tmp_path / "damaged.ckpt").write_bytes(whole[: kept if kept in (0, 100) else int(len(whole) * kept)])
        self.refused(maker.make_policy(), tmp_path / "damaged.ckpt", "is no readable checkpoint")

    def test_text(self, maker, tmp_path):
        (tmp_path / "text.ckpt").write_text("hello")
        self.refused(maker.make_policy(), tmp_path / "text.ckpt", "is no readable checkpoint")

    @pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], {"mobile_vla": {"schema": 99}, "state_dict": {}}])
    def test_a_file_of_something_else(self, maker, tmp_path, content):
        torch.save(content, tmp_path / "other.ckpt")
        self.refused(maker.make_policy(), tmp_path / "other.ckpt", r"is no checkpoint of this package \(schema")

    def test_code_in_a_file_is_not_run(self, maker, tmp_path):
        ran = tmp_path / "ran"
        torch.save({"mobile_vla": {"schema": SCHEMA}, "state_dict": Trap(str(ran))}, tmp_path / "trap.ckpt")
        self.refused(maker.make_policy(), tmp_path / "trap.ckpt", "is no readable checkpoint")
        (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Trap(str(ran))))
        self.refused(maker.make_policy(), tmp_path / "bare.ckpt", "is no readable checkpoint")
        assert not ran.exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: str):
        self.file = file

    def __reduce__(self):
        return open, (self.file, "w")
