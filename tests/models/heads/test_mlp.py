"""The MLP reads what it should, in the order that it should."""

import pytest
import torch
from torch.nn import functional as F

from mobile_vla.core.draws import FrameDraws
from mobile_vla.models.heads.head import Target
from mobile_vla.models.heads.layers import with_history
from mobile_vla.models.heads.mlp import MLPConfig


def test_each_context_stands_behind_those_before_it():
    contexts = torch.arange(1.0, 7).view(1, 3, 2)  # (1, 2), (3, 4), (5, 6)
    expected = [[0, 0, 0, 0, 1, 2], [0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6]]
    assert with_history(contexts, 3)[0].tolist() == expected
    assert torch.equal(with_history(contexts, 1), contexts)


def test_it_minimises_what_it_is_told_to():
    contexts, chunks = torch.randn(2, 3, 4), torch.rand(2, 3, 5, 2) * 2 - 1
    target = Target(
        chunks=chunks, mask=torch.ones(2, 3, 5, dtype=torch.bool), draws=FrameDraws.unknown(contexts), huber_delta=0.3
    )
    for objective, expected in (
        ("l1", lambda found: (found - chunks).abs()),
        ("huber", lambda found: F.huber_loss(found, chunks, reduction="none", delta=0.3)),
    ):
        head = MLPConfig(hidden=(8,), objective=objective).build(4, 5, 2)
        found = head(contexts)
        torch.testing.assert_close(head.losses(found, target), expected(found))


@pytest.mark.parametrize("settings", [{"hidden": ()}, {"history": 0}, {"hidden": (8, 0)}])
def test_wrong_settings_are_named(settings):
    with pytest.raises(ValueError, match=r"model\.head: history and at least one width"):
        MLPConfig(**settings)
