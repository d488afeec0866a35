"""Which text takes the place of an episode's own, whatever the order of the episodes."""

import numpy as np

from mobile_vla.data.meaning import Meanings
from mobile_vla.data.requests import WindowRequest
from mobile_vla.interventions.instructions import empty_texts, shuffle_texts, with_texts
from tests.interventions.texts import MEANINGS, words


def test_empty_is_no_text_at_all(lab, episodes):
    assert empty_texts([*episodes, lab.make_episode("dumb", 9, "")]) == [*[""] * len(episodes), None]


def test_a_shuffle_has_the_own_words_in_another_order(episodes):
    texts = shuffle_texts(episodes, MEANINGS, words, 0)
    for episode, text in zip(episodes, texts, strict=True):
        if words(episode.instruction) == 1:
            assert text is None
        else:
            assert text != episode.instruction
            assert sorted(text.split()) == sorted(episode.instruction.split())
    assert len({t for e, t in zip(episodes, texts) if e.instruction == "stay on the right"}) > 1


def test_a_shuffle_prefers_an_order_of_as_many_tokens_and_is_no_other_instruction(lab):
    """`b c a` alone has the own length; `a c b` has it too, but is an instruction with a meaning of its own."""
    lengths = {"a b c": 9, "b c a": 9, "a c b": 9}
    meanings = Meanings({"a b c": "x", "a c b": "y"}, known=True)
    many = [lab.make_episode(f"e{i}", 9, "a b c") for i in range(10)]
    assert set(shuffle_texts(many, meanings, lambda text: lengths.get(text, 4), 0)) == {"b c a"}


def test_words_that_are_all_the_same_have_no_other_order(lab):
    once = Meanings({"go go go": "go"}, known=False)
    assert shuffle_texts([lab.make_episode("e", 9, "go go go")], once, words, 0) == [None]


def test_a_choice_depends_on_seed_id_and_text_alone(episodes):
    texts = dict(zip([e.id for e in episodes], shuffle_texts(episodes, MEANINGS, words, 3)))
    order = np.random.default_rng(0).permutation(len(episodes))[:20]  # others are not there, the rest is mixed
    some = [episodes[i] for i in order]
    assert dict(zip([e.id for e in some], shuffle_texts(some, MEANINGS, words, 3))) == {e.id: texts[e.id] for e in some}
    assert dict(zip([e.id for e in episodes], shuffle_texts(episodes, MEANINGS, words, 4))) != texts


def test_every_window_of_an_episode_gets_its_text(episodes):
    change = with_texts(["a", None])
    assert [change(WindowRequest(episode=0, start=s)).instruction for s in range(3)] == ["a"] * 3
    assert change(WindowRequest(episode=1, start=0)) is None
