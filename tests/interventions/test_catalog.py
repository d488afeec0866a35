"""Names become variants; what cannot be had is told with what can."""

import numpy as np
import pytest

from mobile_vla.core.errors import UserError
from mobile_vla.data.meaning import Meanings
from mobile_vla.data.requests import WindowRequest
from mobile_vla.interventions.catalog import KINDS, Spec, make_variants, parse_variants
from mobile_vla.probing.cost import count_costs, describe


def test_names_are_parsed_before_anything_is_loaded():
    assert parse_variants(["swap", "mask_tokens:8", "subspace:/a folder/with:colon.npy"]) == (
        Spec("swap"),
        Spec("mask_tokens", "8"),
        Spec("subspace", "/a folder/with:colon.npy"),
    )
    assert parse_variants([]) == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["swop"], r"^variants: there is no 'swop' \(did you mean swap\?\); expected swap, paraphrase, empty, "),
        (["own"], "there is no 'own'"),
        (["zzz"], r"there is no 'zzz'; expected .*donor, blank, mean, mask_tokens:<size>, subspace:<file\.npy>"),
        (["swap", "donor", "swap"], "names swap twice"),
        (["mask_tokens"], "'mask_tokens' has no argument; expected mask_tokens:<size>"),
        (["subspace"], r"'subspace' has no argument; expected subspace:<file\.npy>"),
        (["swap:3"], "'swap:3' has an argument; expected swap"),
        (["mask_tokens:0"], "at least 1 image token, got '0'"),
        (["mask_tokens:-2"], "got '-2'"),
        (["mask_tokens:2.5"], r"got '2\.5'"),
    ],
)
def test_a_mistake_is_told_with_what_is_known(names, message):
    with pytest.raises(UserError, match=message):
        parse_variants(names)


def make(bench, *names, **settings):
    assembler = bench.data.assembler(bench.episodes)
    return make_variants(parse_variants(names), assembler, bench.meanings, bench.policy, **settings)


def test_every_kind_makes_a_variant_of_its_own_name(bench):
    plain = [kind for kind in KINDS if kind not in ("mask_tokens", "subspace", "subspace_donor", "subspace_swap")]
    made = make(bench, *plain, "mask_tokens:2", f"subspace:{bench.file}", f"subspace_swap:{bench.file}")
    assert list(made) == [*plain, "mask_tokens_00-01", "mask_tokens_02-03", "subspace:few", "subspace_swap:few"]
    assert all(made[name].name == name for name in made)


def test_what_this_policy_or_a_file_does_not_allow_is_refused(bench, tmp_path):
    with pytest.raises(UserError, match=r"mask_tokens:5, but this model has 4 image tokens; expected 1 to 4"):
        make(bench, "mask_tokens:5")
    np.save(tmp_path / "few.npy", np.eye(7)[:2])
    with pytest.raises(UserError, match=r"holds \(2, 7\) float64, expected k directions"):
        make(bench, f"subspace:{tmp_path / 'few.npy'}")
    np.save(tmp_path / "few.npy", np.eye(32)[:2])
    with pytest.raises(UserError, match="names subspace:few twice"):
        make(bench, f"subspace:{bench.file}", f"subspace:{tmp_path / 'few.npy'}")
    with pytest.raises(UserError, match="names mask_tokens_03 twice"):
        make(bench, "mask_tokens:1", "mask_tokens:3")


def test_swaps_have_as_many_tokens_where_a_text_of_that_length_is_known(lab, bench):
    length = bench.data.tokenize.length
    assert length(lab.left) == length(lab.right) != length(lab.left_too)
    change = make(bench, "swap")["swap"]
    for index, episode in enumerate(bench.episodes):
        text = change(WindowRequest(episode=index, start=0)).instruction
        assert bench.meanings.of[text] != bench.meanings.of[episode.instruction]
        assert (length(text) == length(episode.instruction)) == (episode.instruction != lab.left_too)


def test_another_seed_gives_other_donors(bench):
    own = [WindowRequest(episode=i, start=0) for i in range(6)]
    donors = set()
    for seed in range(6):
        change = make(bench, "donor", seed=seed)["donor"]
        donors.add(tuple(changed and changed.donor for changed in map(change, own)))
    assert len(donors) > 1


class TestCost:
    """Episodes of 9, 12, 3, 7, 10 and 4 frames, windows of 4; rows at the first, the middle and the last frame."""

    # frames that the windows of these rows hold, counted by hand: e00 has rows 0, 5, 8 in windows 0-3, 2-5, 5-8
    PASSES = (9, 12, 3, 7, 10, 4)
    ROWS = (3, 3, 3, 3, 3, 3)

    def costs(self, bench, *names):
        found = count_costs(make(bench, *names), bench.plan, bench.episodes, 4)
        return {cost.spelled: (cost.variants, cost.episodes, cost.rows, cost.passes) for cost in found}

    def test_rows_and_passes_are_those_of_the_episodes_that_have_the_variant(self, bench):
        rows = {id: len(frames) for id, frames in bench.plan.frames.items()}
        assert tuple(rows.values()) == self.ROWS
        assert self.costs(bench, "empty", "mask_tokens:1") == {
            "empty": (1, 6, 18, 45),
            "mask_tokens:1": (4, 6, 72, 180),
        }
        donated = make(bench, "donor")["donor"]
        there = [i for i in range(6) if donated(WindowRequest(episode=i, start=0))]
        assert len(there) == 4
        assert self.costs(bench, "donor")["donor"] == (1, 4, 12, sum(self.PASSES[i] for i in there))

    def test_sources_are_counted_unless_they_are_there_already(self, bench):
        file = bench.file
        donor = self.costs(bench, "donor")["donor"][3]
        assert self.costs(bench, f"subspace_donor:{file}")[f"subspace_donor:{file}"][3] == 2 * donor
        assert self.costs(bench, "donor", f"subspace_donor:{file}")[f"subspace_donor:{file}"][3] == donor
        assert self.costs(bench, f"subspace:{file}")[f"subspace:{file}"] == (1, 6, 18, 90)

    def test_it_is_told_with_who_has_none_and_why(self, bench):
        lines = describe(make(bench, "donor", "mask_tokens:1"), bench.plan, bench.episodes, 4)
        passes = self.costs(bench, "donor")["donor"][3]
        assert lines == [
            f"variants add 84 rows and {180 + passes} decoder passes, in passes of at most probe.batch_size windows",
            f"  donor: 12 rows, {passes} decoder passes, of 4 of 6 episodes; 2 without: no other episode with this "
            "instruction is left",
            "  mask_tokens:1 (4 variants): 72 rows, 180 decoder passes, of 6 of 6 episodes",
        ]
        assert describe({}, bench.plan, bench.episodes, 4) == []

    @pytest.mark.parametrize(("name", "says"), [("blank", True), ("mean", True), ("donor", False)])
    def test_pictures_that_no_robot_saw_are_said_to_test_wiring(self, bench, name, says):
        (_, line) = describe(make(bench, name), bench.plan, bench.episodes, 4)
        assert ("tests wiring, not use" in line) == says

    def test_a_variant_that_no_episode_has_is_told(self, bench):
        alone = Meanings({text: text for text in bench.meanings.of}, known=False)
        made = make_variants(parse_variants(["paraphrase"]), bench.data.assembler(bench.episodes), alone, bench.policy)
        (_, line) = describe(made, bench.plan, bench.episodes, 4)
        assert line == (
            "  paraphrase: 0 rows, 0 decoder passes, of 0 of 6 episodes; 6 without: no other instruction of the same "
            "meaning"
        )
