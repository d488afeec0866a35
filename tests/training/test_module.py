"""One optimizer step through Lightning's own loop: however it is divided, it is the same step."""

import copy
from unittest import mock

import lightning.pytorch as pl
import pytest
import torch
from torch.nn import functional as F

from mobile_vla.data.assemble import WindowRequest
from mobile_vla.training.augmentation import AugmentationConfig, augment
from mobile_vla.training.module import OptimizationConfig


class Gradients(pl.Callback):
    """Keeps the gradients as the optimizer gets them."""

    def __init__(self):
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.steps.append({name: weight.grad.clone() for name, weight in module.policy.trained().items()})


def train(lab, folder, policy, *, accumulate=1, callbacks=(), max_epochs=1, **data):
    module_data = lab.make_data(accumulate=accumulate, **data)
    module = lab.make_module(policy, module_data, max_epochs=max_epochs)
    seen = Gradients()
    trainer = lab.make_trainer(
        folder,
        accumulate_grad_batches=accumulate,
        max_epochs=max_epochs,
        callbacks=[seen, *callbacks],
        limit_val_batches=0,
    )
    trainer.fit(module, module_data)
    return seen.steps, trainer


def assert_same_steps(lab, first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for name, gradient in a.items():
            scale = gradient.abs().max()
            assert torch.allclose(b[name], gradient, atol=float(1e-5 + 1e-4 * scale), rtol=0), name


@pytest.mark.parametrize(("batch_size", "accumulate"), [(1, 8), (2, 4), (3, 3)])
def test_accumulated_batches_are_one_batch(lab, tmp_path, batch_size, accumulate):
    """Windows at an episode's end have fewer valid entries: a mean of means would weigh them more.

    24 training windows of 5 episodes; whole epochs, so that a last, incomplete step is among them.
    """
    start = lab.make_policy()
    whole = batch_size * accumulate
    one, trainer = train(lab, tmp_path, copy.deepcopy(start), batch_size=whole)
    many, divided = train(lab, tmp_path, copy.deepcopy(start), batch_size=batch_size, accumulate=accumulate)
    assert trainer.global_step == divided.global_step > 1
    assert_same_steps(lab, one, many)
    denominators = [b.denominator for b in lab.make_data(batch_size=1).plan("train").batches(0)]
    assert len(set(denominators)) > 2


def test_the_gradient_is_that_of_the_mean_over_valid_entries(lab, tmp_path):
    """One batch of the whole split, against torch's own Huber loss on the entries that count."""
    policy = lab.make_policy()
    reference = copy.deepcopy(policy).train()
    data = lab.make_data(batch_size=1000)
    (planned,) = data.plan("train").batches(0)
    assembler = data.assembler(data.episodes("train"))
    batch = assembler(assembler.requests(planned))
    mask = batch.chunk_mask
    F.huber_loss(reference(batch)[mask], batch.chunks[mask]).backward()
    expected = {name: weight.grad for name, weight in reference.trained().items()}
    found, _ = train(lab, tmp_path, policy, batch_size=1000)
    assert_same_steps(lab, [expected], found)


def test_training_runs_in_training_mode_and_validation_in_evaluation_mode(lab, tmp_path):
    """A policy comes in evaluation mode, and Lightning keeps the modes that it finds."""
    policy = lab.make_policy(lora={"dropout": 0.3})
    modes = []
    layer = policy.backbone.model.text_model.model.layers[0].ffn.fc1.lora_dropout["default"]
    layer.register_forward_hook(lambda module, *_: modes.append(module.training))
    data = lab.make_data(batch_size=1000)
    trainer = lab.make_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(lab.make_module(policy, data, 2), data)
    assert modes == [False, True, False, True, False]


def test_only_training_sees_changed_frames_and_the_batch_keeps_its_own(lab, tmp_path):
    """Each step sees what is drawn for where it stands; validation, and what callbacks get, stay as recorded."""
    policy, data = lab.make_policy(), lab.make_data(batch_size=12)
    jitter = AugmentationConfig(crop=0.2, brightness=0.3)
    module = lab.make_module(policy, data, max_epochs=2)
    module.augmentation = jitter
    shown, given = [], []
    forward = policy.forward

    class Given(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            given.append(((module.seed, trainer.current_epoch, batch_idx), batch))

    def watched(batch, **settings):
        shown.append((policy.training, batch))
        return forward(batch, **settings)

    with mock.patch.object(policy, "forward", watched):
        lab.make_trainer(tmp_path, max_epochs=2, callbacks=[Given()]).fit(module, data)
    trained = [batch for training, batch in shown if training]
    assert [place for place, _ in given] == [(0, epoch, i) for epoch in range(2) for i in range(3)]
    for (place, recorded), seen in zip(given, trained, strict=True):
        episodes = [shown.episode for shown in recorded.frame_id]
        assert torch.equal(seen.frames, augment(recorded.frames, episodes, jitter, place))
        assert_recorded(lab, recorded)
    validated = [batch for training, batch in shown if not training]
    assert validated
    for batch in validated:
        assert_recorded(lab, batch)


def assert_recorded(lab, batch):
    """Every frame is that of its episode, as the source of frames gives it."""
    episodes = {episode.id: episode for episode in lab.make_episodes()}
    for shown, frame in zip(batch.frame_id, batch.frames, strict=True):
        (expected,) = lab.RandomFrames().read(episodes[shown.episode], shown.frame, shown.frame + 1)
        assert torch.equal(frame, expected)


def test_layers_are_recomputed_in_every_epoch_of_a_training(lab, tmp_path):
    """Recomputing is off in evaluation mode, in which a policy comes, and which validation leaves behind."""
    runs = []
    for checkpointing in (False, True):
        policy = lab.make_policy(gradient_checkpointing=checkpointing)
        counted = []
        layer = policy.backbone.model.text_model.model.layers[0]
        layer.self_attn.register_forward_hook(lambda module, *_, counted=counted: counted.append(module.training))
        steps, _ = train(lab, tmp_path, policy, batch_size=1000, max_epochs=3)
        runs.append((counted, steps))
    (once, expected), (twice, found) = runs
    assert (once, twice) == ([True] * 3, [True] * 6)
    assert_same_steps(lab, expected, found)


def test_dropout_depends_on_where_training_stands_only(lab, tmp_path):
    """The same numbers whatever the global generator did before; other ones in every batch."""
    runs = []
    for seed in (1, 2):
        policy = lab.make_policy(lora={"dropout": 0.5})
        torch.manual_seed(seed)
        runs.append(train(lab, tmp_path, policy, batch_size=8)[0])
    for a, b in zip(*runs, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_val_loss_is_the_mean_over_all_valid_entries_of_the_split(lab, tmp_path):
    policy = lab.make_policy()
    data = lab.make_data(num_validation=5, batch_size=3)
    module = lab.make_module(policy, data)
    trainer = lab.make_trainer(tmp_path)
    (found,) = trainer.validate(module, data, verbose=False)
    assembler = data.assembler(data.episodes("validation"))
    predicted, target = [], []
    for episode, of in enumerate(data.episodes("validation")):
        for start in range(max(of.num_frames - lab.window, 0) + 1):
            batch = assembler([WindowRequest(episode=episode, start=start)])
            with torch.no_grad():
                predicted.append(policy(batch)[batch.chunk_mask])
            target.append(batch.chunks[batch.chunk_mask])
    assert found["val_loss"] == pytest.approx(float(F.huber_loss(torch.cat(predicted), torch.cat(target))), rel=1e-5)
    assert found["val/windows"] == len(predicted)
    assert found["val/episodes"] == 5


def test_each_validation_starts_anew(lab, tmp_path):
    """Neither the sanity check nor the epoch before is counted in."""
    data = lab.make_data(batch_size=8)
    trainer = lab.make_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(lab.make_module(lab.make_policy(), data, 2), data)
    assert trainer.callback_metrics["val/windows"] == data.plan("validation").num_windows


def test_matrices_decay_and_vectors_do_not(lab, tmp_path):
    policy = lab.make_policy()
    data = lab.make_data()
    module = lab.make_module(policy, data, weight_decay=0.3, head_lr=5e-4)
    module.trainer = lab.make_trainer(tmp_path)
    groups = {}
    for group in module.configure_optimizers()["optimizer"].param_groups:
        for weight in group["params"]:
            groups[id(weight)] = (group["initial_lr"], group["weight_decay"])
    assert len(groups) == len(policy.trained())
    for name, weight in policy.trained().items():
        expected = (5e-4 if name.startswith("head.") else 1e-3, 0.3 if weight.ndim > 1 else 0.0)
        assert groups[id(weight)] == expected, name


def test_the_default_rate_follows_the_width():
    config = OptimizationConfig()
    assert config.lr_at(2048) == pytest.approx(1e-4)
    assert config.lr_at(128) == pytest.approx(1.6e-3)
    assert OptimizationConfig(lr=3e-4).lr_at(128) == 3e-4


def test_the_schedule_moves_with_optimizer_steps_not_with_batches(lab, tmp_path):
    policy = lab.make_policy()
    data = lab.make_data(batch_size=2, accumulate=3)
    module = lab.make_module(policy, data, schedule="cosine", warmup_epochs=0.0, final_lr=0.0)
    rates = []

    class Rates(pl.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

    trainer = lab.make_trainer(tmp_path, accumulate_grad_batches=3, callbacks=[Rates()], limit_val_batches=0)
    trainer.fit(module, data)
    steps = data.steps_per_epoch()
    expected = [1e-3 * module_factor(i / (steps - 1)) for i in range(steps)]
    assert rates == pytest.approx(expected)


def module_factor(done: float) -> float:
    return float((1 + torch.cos(torch.tensor(torch.pi * done))) / 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, r"optimization\.lr must be positive, got 0"),
        ({"huber_delta": -1.0}, r"optimization\.huber_delta must be positive"),
        ({"final_lr": 1.5}, r"final_lr must lie in \[0, 1\]"),
        ({"warmup_epochs": -1.0}, "must not be negative"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        OptimizationConfig(**settings)
