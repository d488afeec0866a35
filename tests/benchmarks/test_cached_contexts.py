"""The first epoch computes the training episodes' contexts, and no later one sees a frame."""

from benchmarks import cached_contexts
from benchmarks.cached_contexts import FROZEN, measure
from benchmarks.setting import prepare_training
from mobile_vla.models.backbones.kosmos2 import Kosmos2Backbone
from tests.benchmarks.conftest import EPISODES, TINY

LATER = 2


def test_what_is_filled_is_each_training_episode_with_its_own_instruction(tmp_path):
    training = prepare_training(tmp_path, [*TINY, *FROZEN], EPISODES)
    wanted = {one.episode.id: one.texts for one in cached_contexts.own_texts(training)}
    tokenize = training.data.tokenize
    expected = {
        episode.id: (tuple(tokenize([episode.instruction])[0][0].tolist()),)
        for episode in training.data.episodes("train")
    }
    assert wanted == expected
    assert len(wanted) < len({one.episode.id for one in training.cache.wanted})


def test_the_backbone_runs_for_the_first_epoch_alone(monkeypatch):
    """Each episode of 18 frames is computed in two blocks."""
    calls, decode = [], Kosmos2Backbone.decode

    def count(self, *inputs):
        calls.append(len(inputs[0]))
        return decode(self, *inputs)

    monkeypatch.setattr(Kosmos2Backbone, "decode", count)
    monkeypatch.setattr(cached_contexts, "EPISODES", EPISODES)
    monkeypatch.setattr(cached_contexts, "LATER", LATER)
    ratio, *lines = measure("tiny", TINY)
    window = 8  # of the first, whose operations are counted
    assert sum(calls) == 2 * window + 2 * EPISODES.frames  # whatever the number of windows a step
    assert ratio.spread.median > 0
    assert [line.rounds for line in lines[1::3]] == [LATER] * len(cached_contexts.BATCHES)
