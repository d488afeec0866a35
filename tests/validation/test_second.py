"""The second generator: what is planted is there, and reaches a store on disk unchanged."""

import ast
from pathlib import Path

import numpy as np
import pytest

from mobile_vla.analysis.sample import take_sample
from validation.second.chunks import SCENE_AT, Driven, make
from validation.second.chunks import dump_of as driven_dump
from validation.second.copies import COUNTED, Copying, copied
from validation.second.disk import stored
from validation.second.driving import STEPS, fade
from validation.second.dumps import Dump
from validation.second.labels import REPLACED, Labelled, deal_label, find_scope, labelled, stray_value
from validation.second.labels import make as make_labelled
from validation.second.models import Models, compared, dumps_of
from validation.second.policies import IMAGE, INSTRUCTION, Follower, dump_of, pair_rows
from validation.second.recordings import Plan, record
from validation.second.spectrum import Spectrum, draw_components, draw_latent, mean_sd, turn
from validation.second.stability import Near, added, seeds

PACKAGE = Path(__file__).parents[2] / "validation" / "second"
LONG = Plan(episodes=300, lengths=(40, 60), stored=None)


def imported(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes}


def test_it_shares_no_code_with_the_first_generator():
    for file in PACKAGE.glob("*.py"):
        assert not [name for name in imported(file) if "planted" in name or name.startswith("validation.first")], file
    for name in ("recordings", "spectrum", "driving", "dumps"):  # what draws and plants: numpy alone
        assert not [one for one in imported(PACKAGE / f"{name}.py") if one.startswith(("mobile_vla", "scipy", "torch"))]


def test_frames_are_integers_of_episodes_of_different_lengths():
    of = record(Plan(episodes=60), np.random.default_rng(0))
    assert of.length.min() < 18 and of.length.max() > 54  # noqa: PT018
    assert of.frame.dtype.kind == "i"
    np.testing.assert_allclose(of.progress, of.frame / (of.length[of.episode] - 1))
    assert len(np.unique(of.progress[np.abs(of.progress - 0.25) < 0.1].round(3))) > 20
    assert np.bincount(of.episode).max() < 20


def test_names_hold_day_and_time_in_the_order_of_recording():
    of = record(Plan(episodes=40, days=4), np.random.default_rng(0))
    assert list(of.names) == sorted(of.names)
    days = [name.split("_")[1] for name in of.names]
    assert [days.index(day) // 10 for day in days] == of.day.tolist()
    assert np.bincount(of.day).tolist() == [10] * 4
    assert not any("2025" in name for name in record(Plan(naming="number"), np.random.default_rng(0)).names)


def test_the_spectrum_is_a_power_law_along_axes_that_are_turned():
    spectrum, of = Spectrum(width=32), record(LONG, np.random.default_rng(0))
    x = draw_components(spectrum, of, np.random.default_rng(1))
    slope = np.polyfit(np.log(np.arange(1, 33)), np.log(x.var(axis=0)), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)
    assert x.var(axis=0).mean() == pytest.approx(1, abs=0.1)
    turned = turn(x, 0)
    assert turned.var(axis=0).max() < 6 * turned.var(axis=0).min()
    values = [np.linalg.svd(one, compute_uv=False) for one in (turned, x)]
    np.testing.assert_allclose(*values, rtol=1e-3)


def test_half_of_the_variance_is_the_episodes_and_the_rest_fades_with_the_frames_between():
    of = record(LONG, np.random.default_rng(0))
    z = draw_latent(of, np.random.default_rng(1), 20, 0.5, 0.9)
    for lag in (1, 5):
        rows = np.flatnonzero((of.place[:-lag] + lag == of.place[lag:]) & (of.episode[:-lag] == of.episode[lag:]))
        assert (z[rows] * z[rows + lag]).mean() == pytest.approx(0.5 + 0.5 * 0.9**lag, abs=0.03)
    means = np.stack([z[of.episode == index].mean(axis=0) for index in range(of.num)])
    assert means.std() == pytest.approx(mean_sd(Spectrum(), of), abs=0.02)


def test_a_label_follows_what_it_is_to_follow():
    of = record(Plan(episodes=100, days=4), np.random.default_rng(0))
    label = deal_label(of, Labelled(follows="day", agree=0.9), np.random.default_rng(1))
    assert [(label[of.day == day] == day % 2).mean() for day in range(4)] == pytest.approx([0.92] * 4)
    halves = deal_label(of, Labelled(follows="order"), np.random.default_rng(1))
    assert halves.tolist() == [0] * 50 + [1] * 50


def test_the_code_lies_at_the_strength_that_was_asked_for():
    world = Labelled(plan=Plan(episodes=400), strength=2.0, spectrum=Spectrum(width=32), at=20)
    of, dump = make_labelled(0, world)
    first = np.flatnonzero(of.place == 0)
    sign = np.array([1.0 if dump.annotations[row]["scenario"] == "kind_1" else -1.0 for row in first])
    means = np.stack([dump.taps["context"][of.episode == index].mean(axis=0) for index in range(of.num)])
    along = np.linalg.solve(np.cov(means.T), (means * sign[:, None]).mean(axis=0))  # Fisher's direction
    scores = means @ along
    apart = scores[sign > 0].mean() - scores[sign < 0].mean()
    within = np.sqrt((scores[sign > 0].var() + scores[sign < 0].var()) / 2)
    assert apart / within == pytest.approx(4.0, rel=0.15)  # minus 2 to plus 2 standard deviations


def test_chunks_go_on_from_frame_to_frame_and_end_with_the_episode():
    made = make(0, Driven(plan=Plan(episodes=6, stored=None), held=0.3))
    of, chunk = made.of, made.drive.chunk
    same = np.flatnonzero(of.episode[:-1] == of.episode[1:])
    np.testing.assert_allclose(chunk[same, 1:], chunk[same + 1, :-1])
    left = of.length[of.episode] - of.frame
    np.testing.assert_array_equal(np.isfinite(chunk).all(axis=2).sum(axis=1), np.minimum(left, STEPS))


def test_the_scene_explains_the_share_of_the_chunks_that_was_asked_for():
    made = make(0, Driven(plan=Plan(episodes=600, stored=4), held=0.3))
    own = made.drive.course[made.drive.text[made.of.episode], np.arange(len(made.of.episode))]
    rest = made.drive.chunk - own
    known = np.sqrt(made.drive.seen) * fade()[None, :, None] * made.drive.scene[:, None]
    whole = np.isfinite(rest)
    explained = 1 - ((rest - known)[whole] ** 2).sum() / (rest[whole] ** 2).sum()
    assert explained == pytest.approx(0.3, abs=0.03)
    bare = make(0, Driven(plan=Plan(episodes=100, stored=4), held=0.3, text=0.0, clock=0.0))
    coded = np.corrcoef(bare.components[:, SCENE_AT[0]], bare.drive.scene[:, 0])[0, 1]
    assert coded == pytest.approx(np.sqrt(0.9), abs=0.02)  # 3 standard deviations beside 1 of everything else


def chunks_of(dump: Dump, variant: str | None) -> np.ndarray:
    return np.array([one["predicted"] for one in dump.annotations if one.get("variant") == variant])


@pytest.mark.parametrize(("swap", "back"), [(0.8, None), (1.0, 0.0)])
def test_a_swap_moves_a_prediction_as_far_towards_the_other_course_as_was_asked(swap, back):
    policy = Follower(world=Driven(plan=Plan(episodes=12)), swap=swap, back=back, spread=0.0, jitter=0.0)
    dump, made = dump_of(3, policy, INSTRUCTION), make(3, policy.world)
    text, rows = made.drive.text[made.of.episode], np.arange(len(made.of.episode))
    apart = made.drive.course[1 - text, rows] - made.drive.course[text, rows]
    moved = chunks_of(dump, "swap") - chunks_of(dump, None)
    expected = np.where(text == 0, swap, swap if back is None else back)
    np.testing.assert_allclose(moved, expected[:, None, None] * apart, atol=1e-4)
    np.testing.assert_allclose(chunks_of(dump, "paraphrase"), chunks_of(dump, None), atol=1e-4)


def test_a_donor_is_another_episode_of_the_same_text_at_about_the_same_progress():
    policy = Follower(world=Driven(plan=Plan(episodes=13), held=0.5))
    made = make(3, policy.world)
    of, text = made.of, made.drive.text
    shown = pair_rows(of, text, np.random.default_rng(0))
    lent = np.flatnonzero(shown >= 0)
    assert len(np.unique(of.episode[lent])) == 12
    assert (of.episode[shown[lent]] != of.episode[lent]).all()
    assert (text[of.episode[shown[lent]]] == text[of.episode[lent]]).all()
    assert np.abs(of.progress[shown[lent]] - of.progress[lent]).max() < 0.2
    donors = [one for one in dump_of(3, policy, IMAGE).annotations if one.get("variant") == "donor"]
    assert len({one["episode"] for one in donors}) == 12
    assert all(one["shown_episode"] != one["episode"] for one in donors)


def test_a_dump_reaches_the_store_unchanged():
    dump = driven_dump(0, Driven(plan=Plan(episodes=10), predicted=True))
    with stored(dump) as store:
        folder = store.folder
        np.testing.assert_array_equal(store.vectors()[:], dump.taps["context"])
        chunk = np.array([one["action"] for one in dump.annotations], float)
        np.testing.assert_allclose(store.column("action"), chunk, atol=1e-5)
        assert store.column("instruction").tolist() == [one["instruction"] for one in dump.annotations]
        assert take_sample(store).num_episodes == 10
    assert not folder.exists()


def test_several_taps_and_variants_reach_the_store_too():
    dump = dump_of(0, Follower(world=Driven(plan=Plan(episodes=8), held=0.5)), IMAGE)
    with stored(dump) as store:
        assert set(store.taps) == {"context", "pixels"}
        np.testing.assert_array_equal(store.vectors("pixels")[:], dump.taps["pixels"])
        donors = store.select(variant="donor")
        assert store.column("shown_episode")[donors].tolist() == [
            one["shown_episode"] for one in dump.annotations if one.get("variant") == "donor"
        ]


def test_models_share_what_was_asked_for():
    plan = Driven(plan=Plan(episodes=200, stored=4), spectrum=Spectrum(width=24))
    for share, expected in ((1.0, 1.0), (0.0, 0.0)):
        one, other = (dump.taps["context"] for dump in dumps_of(0, Models(world=plan, share=share)))
        crossed, own = np.linalg.norm(one.T @ other), np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
        assert crossed**2 / own == pytest.approx(expected, abs=0.1)  # linear CKA, whatever the axes
    corrupted = [dump.taps["context"] for dump in dumps_of(0, Models(world=plan, share=0.0, corrupted=3))]
    rows = (corrupted[0] == corrupted[1]).all(axis=1)
    names = [one["episode"] for one in dumps_of(0, Models(world=plan))[0].annotations]
    assert len({name for name, is_so in zip(names, rows, strict=True) if is_so}) == 3


def test_labels_that_are_coded_are_found_and_strays_are_noticed_as_events():
    small = Spectrum(width=32)
    found = labelled(0, Labelled(plan=Plan(episodes=24), spectrum=small, strength=8.0, at=2))
    assert {"yes", "p <= .05"} <= found.events
    assert found.intervals["statistic"].estimate > 0.9
    assert stray_value(0, Labelled(plan=Plan(episodes=24), spectrum=small)).events & {REPLACED, "no", "undecided"}


def test_a_no_is_false_only_where_it_is_said_of_the_direction_that_holds_the_code():
    assert find_scope({"chance": 0.5, "quadratic": {"p": 0.2}}) == 0.0
    assert find_scope({"planted": {"sigma": 0.04, "typical_direction": 0.05}}) == 0.04
    assert find_scope({"planted": {"sigma": None}}) == np.inf


@pytest.mark.slow
def test_every_kind_of_store_is_judged():
    small = Driven(plan=Plan(episodes=16), spectrum=Spectrum(width=24), held=0.5)
    models = Models(world=small)
    assert copied(0, Copying(width=32)).events & {"yes", "no", "undecided", COUNTED}
    assert compared(0, models, permutations=39).intervals["cka"].estimate > 0.2
    assert len(seeds(0, Near(verdict="discriminative", models=models, between=(0.0, 4.0)), number=2).events) <= 2
    assert all(event.startswith("changes with") for event in added(0, models).events)
