"""The step that ours is measured against computes the same: it is slower, and nothing else."""

import torch

from benchmarks.policy_step import as_upstream
from benchmarks.upstream_step import LANGUAGE_MODEL_HEAD, UpstreamPolicy, UpstreamStep
from mobile_vla.core.batch import gather_windows
from mobile_vla.evaluation.losses import masked_huber
from mobile_vla.models.backbones.loading import open_source
from tests.models.conftest import HEAD, make_batch, make_policy, model_config, stir

LORA = {"r": 32, "alpha": 16, "dropout": 0.0}
OVERLAPPING = [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def both():
    """Ours and upstream's with the same weights, and overlapping windows as each is given them."""
    ours = stir(make_policy(lora=LORA))
    source = open_source(model_config(lora=LORA))
    theirs = UpstreamPolicy(source.architecture, source.special_ids, HEAD, 3, 2, dropout=0.0)
    lacking = theirs.model.load_state_dict(ours.backbone.model.state_dict(), strict=False)
    assert not lacking.unexpected_keys  # the same layers have adapters
    assert all(LANGUAGE_MODEL_HEAD in name for name in lacking.missing_keys)
    theirs.head.load_state_dict(ours.head.state_dict())
    theirs.action_token.data.copy_(ours.backbone.action_token)
    batch = make_batch(ours, [(frame, 1) for frame in range(5)], OVERLAPPING)
    batch.chunk_mask.fill_(True)
    return ours, theirs, batch, as_upstream(ours, batch)


def test_contexts_loss_and_gradients_are_ours():
    ours, theirs, batch, their_batch = both()
    torch.testing.assert_close(theirs.contexts(their_batch), gather_windows(ours.contexts(batch), batch.windows))
    loss, their_loss = masked_huber(ours(batch), batch.chunks, batch.chunk_mask, 1.0), theirs.loss(their_batch)
    torch.testing.assert_close(their_loss, loss)
    loss.backward()
    their_loss.backward()
    trained = {name.removeprefix("backbone.model."): weight for name, weight in ours.trained().items()}
    found = dict(theirs.model.named_parameters())
    found |= {f"head.{name}": weight for name, weight in theirs.head.named_parameters()}
    found["backbone.action_token"] = theirs.action_token
    assert sum(weight.requires_grad for weight in found.values()) == len(trained)
    for name, weight in trained.items():
        assert weight.grad is not None
        torch.testing.assert_close(found[name].grad, weight.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_a_step_changes_what_is_trained_and_nothing_else():
    _, theirs, _, their_batch = both()
    before = {name: weight.clone() for name, weight in theirs.named_parameters()}
    UpstreamStep(theirs, their_batch)()
    changed = {name for name, weight in theirs.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {name for name, weight in theirs.named_parameters() if weight.requires_grad}
