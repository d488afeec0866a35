"""Values are found in data, chosen by the nearest, and decoded as they were stored."""

import numpy as np
import pytest
import torch

from mobile_vla.core.draws import FrameDraws
from mobile_vla.core.errors import UserError
from mobile_vla.core.losses import huber, masked_mean
from mobile_vla.models.heads.bins import BinsConfig
from mobile_vla.models.heads.head import Target

CONTEXTS = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
SMALL = {"hidden": 8, "layers": 1, "mlp": (8,)}
DRAWS = FrameDraws.unknown(CONTEXTS)


def test_the_commands_of_a_keyboard_are_found_whatever_their_rounding():
    rng = np.random.default_rng(0)
    keys = rng.choice(np.array([-1.0, 0.0, 1.0]), (200, 2)) + rng.normal(0, 1e-7, (200, 2))
    keys[:, 1] = np.where(keys[:, 1] > 0.5, 1 / 3, keys[:, 1])
    found = BinsConfig(values="commands").fit(keys)
    assert found.values == ((-1, 0, 1), (-1, 0, 0.3333))
    assert found.fit(keys * 0.5) is found, "once found, they stay"
    assert BinsConfig().fit(keys).values == "uniform"


def test_data_that_are_no_keyboards_are_refused_by_name():
    actions = np.column_stack([np.repeat([-1.0, 1.0], 50), np.linspace(-1, 1, 100)])
    with pytest.raises(UserError, match=r"component 2 of 2 takes 100 distinct values .*; use model\.head"):
        BinsConfig(values="commands").fit(actions)


def test_an_entry_costs_the_surprise_of_the_nearest_value():
    """By hand: -log of the probability that its distribution gives to it."""
    values = ((-1.0, -0.2, 1.0), (-1.0, 1.0))
    head = BinsConfig(values=values, **SMALL).build(8, 2, 2)
    prediction = head(CONTEXTS)
    chunks = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(1)) * 4 - 2  # beyond the ends, too
    target = Target(chunks=chunks, mask=torch.ones(2, 3, 2, dtype=torch.bool), draws=DRAWS, huber_delta=1.0)
    losses = head.losses(prediction, target)
    for place in np.ndindex(2, 3, 2):
        logits = prediction[place].detach().double().numpy()
        for a, part in enumerate((logits[:3], logits[3:])):
            probabilities = np.exp(part) / np.exp(part).sum()
            nearest = np.abs(np.array(values[a]) - float(chunks[(*place, a)])).argmin()
            assert float(losses[(*place, a)]) == pytest.approx(-np.log(probabilities[nearest]), rel=1e-5)


@pytest.mark.parametrize("decode", ["mean", "mode"])
def test_it_puts_out_the_mean_or_the_likeliest_value(decode):
    head = BinsConfig(number=4, decode=decode, **SMALL).build(8, 2, 2)
    assert head.values.tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1] * 2)
    prediction = 5 * head(CONTEXTS).detach()
    actions = head.actions(prediction, DRAWS)
    parts = prediction.unflatten(-1, (2, 4)).double().numpy()  # components, values
    probabilities = np.exp(parts) / np.exp(parts).sum(-1, keepdims=True)
    steps = np.linspace(-1, 1, 4)
    expected = probabilities @ steps if decode == "mean" else steps[probabilities.argmax(-1)]
    np.testing.assert_allclose(actions.numpy(), expected, atol=1e-6)


def test_without_data_it_says_what_is_missing():
    with pytest.raises(UserError, match="known once the training episodes are"):
        BinsConfig(values="commands").build(8, 2, 2)
    with pytest.raises(UserError, match=r"a list for each of 3 components expected, got 2"):
        BinsConfig(values=((-1, 1), (-1, 1))).build(8, 2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"values": ((1.0, -1.0),)}, "at least two for each component, ascending"),
        ({"values": ((0.0,),)}, "at least two for each component"),
        ({"number": 1}, r"model\.head\.number must be at least 2"),
        ({"dropout": 1.0}, r"model\.head\.dropout must lie in \[0, 1\)"),
        ({"layers": 0}, "widths and layers must be at least 1"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        BinsConfig(**settings)


def test_it_reads_contexts_that_are_nearly_alike():
    """As those of a fresh backbone. The first steps learn only how frequent each of 31 values is; an LSTM whose states
    are not normalised is saturated by then, and stays at the loss of a constant, which is 0.5.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    head = BinsConfig(hidden=32, layers=1).build(32, 3, 2)
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    shared = torch.randn(32, generator=generator)
    mask = torch.ones(64, 4, 3, dtype=torch.bool)
    loss = 0.5
    for _ in range(150):
        own = torch.randn(64, 4, 32, generator=generator)
        contexts = torch.layer_norm(shared + 0.3 * own, (32,))
        chunks = own[..., :6].sign().unflatten(-1, (3, 2))
        prediction = head(contexts)
        target = Target(chunks=chunks, mask=mask, draws=FrameDraws.unknown(contexts), huber_delta=1.0)
        optimizer.zero_grad()
        masked_mean(head.losses(prediction, target), mask).backward()
        optimizer.step()
        loss = float(huber(head.actions(prediction.detach(), target.draws), chunks, 1.0).mean())
    assert loss < 0.3
