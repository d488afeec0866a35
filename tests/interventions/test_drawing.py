"""Which text and whose frames an episode gets: one draw for effects and probes, in pairs that are independent."""

from collections import Counter

import numpy as np
import pytest

from mobile_vla.data.meaning import Meanings
from mobile_vla.data.requests import WindowRequest
from mobile_vla.evaluation.effects import EffectPlan
from mobile_vla.interventions.catalog import make_variants, parse_variants
from mobile_vla.interventions.drawing import (
    DONOR,
    PARAPHRASE,
    SWAP,
    draw_exchanges,
    pair_donors,
    paraphrase_texts,
    swap_texts,
)
from mobile_vla.interventions.images import with_donors
from tests.interventions.texts import MEANINGS, OF, words


class TestTexts:
    def test_a_swap_asks_for_something_else_and_has_the_nearest_length(self, episodes):
        texts = swap_texts(episodes, MEANINGS, words, 0)
        for episode, text in zip(episodes, texts, strict=True):
            others = [other for other in OF if OF[other] != OF[episode.instruction]]
            assert text in others
            gaps = {other: abs(words(other) - words(episode.instruction)) for other in others}
            assert gaps[text] == min(gaps.values())
        assert {t for e, t in zip(episodes, texts) if e.instruction == "go right"} == {"go left", "pass left"}

    def test_a_paraphrase_asks_for_the_same_in_other_words(self, episodes):
        for episode, text in zip(episodes, paraphrase_texts(episodes, MEANINGS, words, 0), strict=True):
            if episode.instruction == "stop":
                assert text is None
            else:
                assert OF[text] == OF[episode.instruction]
                assert text != episode.instruction

    @pytest.mark.parametrize("choose", [swap_texts, paraphrase_texts])
    def test_a_choice_depends_on_seed_id_and_text_alone(self, episodes, choose):
        texts = dict(zip([e.id for e in episodes], choose(episodes, MEANINGS, words, 3)))
        order = np.random.default_rng(0).permutation(len(episodes))[:20]  # others are not there, the rest is mixed
        some = [episodes[i] for i in order]
        assert dict(zip([e.id for e in some], choose(some, MEANINGS, words, 3))) == {e.id: texts[e.id] for e in some}
        assert dict(zip([e.id for e in episodes], choose(episodes, MEANINGS, words, 4))) != texts


def episodes_of(lab, counts: dict[str, int]):
    texts = [text for text, count in counts.items() for _ in range(count)]
    return [lab.make_episode(f"e{i:02d}", 5 + i % 4, text) for i, text in enumerate(texts)]


class TestDonors:
    @pytest.mark.parametrize("seed", range(4))
    def test_pairs_are_disjoint_and_of_one_instruction(self, lab, seed):
        episodes = episodes_of(lab, {"go left": 6, "go right": 10})
        donors, further = pair_donors(episodes, MEANINGS, seed)
        assert len(donors) == 16
        assert further == donors
        for own, donor in donors.items():
            assert own != donor
            assert donors[donor] == own
            assert episodes[own].instruction == episodes[donor].instruction

    def test_who_is_left_over_is_paired_within_the_meaning_and_then_with_anybody(self, lab):
        episodes = episodes_of(lab, {"go left": 5, "pass left": 3, "go right": 4, "stay on the right": 1, "stop": 1})
        donors, further = pair_donors(episodes, MEANINGS, 0)
        same = [a for a, b in donors.items() if episodes[a].instruction == episodes[b].instruction]
        mixed = [a for a, b in donors.items() if episodes[a].instruction != episodes[b].instruction]
        assert len(same) == 4 + 2 + 4
        assert sorted(episodes[i].instruction for i in mixed) == ["go left", "pass left"]
        assert {episodes[i].instruction for i in set(range(14)) - donors.keys()} == {"stay on the right", "stop"}
        assert with_donors(donors)(WindowRequest(episode=12, start=0)) is None
        assert further == donors | {12: 13, 13: 12}
        apart = Meanings({text: text for text in OF}, known=False)
        assert len(pair_donors(episodes, apart, 0)[0]) == 10

    def test_pairs_depend_on_the_seed_and_the_ids_alone(self, lab):
        episodes = episodes_of(lab, {"go left": 7, "pass left": 5, "go right": 9})

        def pairs(order, seed=0):
            mixed = [episodes[i] for i in order]
            return [
                {mixed[a].id: mixed[b].id for a, b in found.items()} for found in pair_donors(mixed, MEANINGS, seed)
            ]

        expected = pairs(range(21))
        for shuffle in range(3):
            assert pairs(np.random.default_rng(shuffle).permutation(21)) == expected
        assert pairs(range(21), seed=1) != expected
        partners = Counter(frozenset(p) for seed in range(200) for p in pairs(range(21), seed)[0].items() if "e00" in p)
        assert len(partners) >= 6  # anybody of the same text, or of the same meaning


def test_effects_and_probes_show_the_same(bench):
    """Every swap, paraphrase and donor that a probe stores is the one that the effects are measured with."""
    assembler = bench.data.assembler(bench.episodes)
    made = make_variants(parse_variants([SWAP, PARAPHRASE, DONOR]), assembler, bench.meanings, bench.policy)
    plan = EffectPlan(bench.episodes, bench.meanings, bench.data.tokenize.length, None)
    measured = plan.interventions()
    draw = draw_exchanges(bench.episodes, bench.meanings, bench.data.tokenize.length)
    compared = 0
    for index in range(len(bench.episodes)):
        request = WindowRequest(episode=index, start=1)
        for name in (SWAP, PARAPHRASE, DONOR):
            shown = made[name](request)
            if shown is not None:
                assert measured[name](request) == shown
                compared += 1
        assert made[DONOR](request) is None or made[DONOR](request).donor == draw.donors[index]
    assert compared > 12
