"""A checkpoint is of one model: what a stored configuration leaves unsaid is what there was no choice of then."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.models.heads.flow import FlowConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.heads.mlp import MLPConfig
from mobile_vla.opening.same_model import refuse_other_model
from mobile_vla.runs.settings import find_changes, list_settings
from tests.training.run_training import make_config, plain_of


def stored(name: str | None) -> dict:
    """As a run keeps it; one from before heads had names has none."""
    plain = plain_of(make_config("episodes"))
    if name is None:
        del plain["model"]["head"]["name"]
    return plain


@pytest.mark.parametrize("name", [None, "lstm"])
def test_a_head_without_a_name_is_an_lstm(name):
    config = make_config("episodes")
    assert isinstance(config.model.head, LSTMDecoderConfig)
    refuse_other_model(stored(name), config)
    other = replace(config, model=replace(config.model, head=MLPConfig()))
    with pytest.raises(UserError, match=r"is of another model: model\.head\.name \(lstm -> mlp\)"):
        refuse_other_model(stored(name), other)


def test_an_old_and_a_new_run_of_one_head_do_not_differ():
    assert find_changes(stored(None), stored("lstm")) == {}
    assert list_settings(stored(None)) == list_settings(stored("lstm"))


def test_how_chunks_are_drawn_may_change_after_training():
    config = make_config("episodes", model={"head": FlowConfig()})
    plain = plain_of(config)
    for changed, allowed in (({"spread": 0.5, "steps": 4}, True), ({"samples": 1}, False)):
        head = replace(config.model.head, **changed)
        other = replace(config, model=replace(config.model, head=head))
        with nullcontext() if allowed else pytest.raises(UserError, match=r"model\.head\.samples \(4 -> 1\)"):
            refuse_other_model(plain, other)
